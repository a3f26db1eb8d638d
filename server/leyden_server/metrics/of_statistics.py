"""What is counted for Triton's ModelStatistics alone: too many series for a page."""

from leyden_server.metrics.metric import Metric

BY_ROWS = ("model", "rows")


def _unshown(name: str, labels: tuple[str, ...], text: str) -> Metric:
    return Metric(name, "counter", labels, text, "")


TEXT_RUNS = _unshown("text_runs", BY_ROWS, "Runs of the text encoders, a share for each prompt")
TEXT_RUN_SECONDS = _unshown("text_run_seconds", BY_ROWS, "Seconds of these, likewise")
VAE_RUNS = _unshown("vae_runs", BY_ROWS, "Runs of the VAE, a share for each image")
VAE_RUN_SECONDS = _unshown("vae_run_seconds", BY_ROWS, "Seconds of these, likewise")

RESPONSES = _unshown(
    "stream_responses",
    ("model", "index", "outcome"),
    "Responses of streams by their number in it: success, fail, empty_response or cancel",
)
RESPONSE_SECONDS = _unshown(
    "stream_response_seconds",
    ("model", "index", "outcome"),
    "Seconds since the response before",
)
PART_SECONDS = _unshown(
    "stream_part_seconds",
    ("model", "index", "part"),
    "Of the successes: seconds of compute_infer, where it tells of a step, or compute_output",
)
PARTS = _unshown("stream_parts", ("model", "index", "part"), "How many these are")
