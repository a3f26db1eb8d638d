"""The metrics that Triton has, under its names.

They lack `_total`, which Prometheus' libraries would add to a counter, since dashboards and alerts
made for Triton ask for them so.
"""

from leyden_server.metrics.metric import Metric

VERSION = "1"
"""Label `version`: a model has one."""

REASONS = ("CANCELED", "REJECTED", "BACKEND", "OTHER")
"""Label `reason` of a failure."""

OF_TRITON = ("model", "version")

SUCCESS = Metric(
    "nv_inference_request_success",
    "bare",
    OF_TRITON,
    "Requests that ended well",
    "Rate of good answers: `sum by (model) (rate(nv_inference_request_success[5m]))`",
)
FAILURE = Metric(
    "nv_inference_request_failure",
    "bare",
    (*OF_TRITON, "reason"),
    "Requests that failed; a cancelled one has the reason CANCELED",
    "Alert on defects: `rate(nv_inference_request_failure{reason="
    '"BACKEND"}[5m]) > 0`; REJECTED is overload, OTHER is what clients get wrong',
)
COUNT = Metric(
    "nv_inference_count",
    "bare",
    OF_TRITON,
    "Images of the requests that ended well",
    "Images a second: `rate(nv_inference_count[5m])`",
)
EXEC_COUNT = Metric(
    "nv_inference_exec_count",
    "bare",
    OF_TRITON,
    "Runs of the UNet, each a denoise step of all the images that shared it",
    "Steps a second of the engines: `rate(nv_inference_exec_count[5m])`",
)
REQUEST_US = Metric(
    "nv_inference_request_duration_us",
    "bare",
    OF_TRITON,
    "Microseconds from acceptance to the end, of the requests that ended well",
    "Mean latency: `rate(nv_inference_request_duration_us[5m]) / "
    "rate(nv_inference_request_success[5m])`",
)
QUEUE_US = Metric(
    "nv_inference_queue_duration_us",
    "bare",
    OF_TRITON,
    "Of these, microseconds of waiting for the first denoise step, less the text encoding",
    "Share of waiting: divide its rate by that of nv_inference_request_duration_us",
)
INPUT_US = Metric(
    "nv_inference_compute_input_duration_us",
    "bare",
    OF_TRITON,
    "Of these, microseconds of text encoding",
    "Share of text encoding, likewise",
)
INFER_US = Metric(
    "nv_inference_compute_infer_duration_us",
    "bare",
    OF_TRITON,
    "Of these, microseconds from the first denoise step's start to the last one's end",
    "Share of denoising, likewise",
)
OUTPUT_US = Metric(
    "nv_inference_compute_output_duration_us",
    "bare",
    OF_TRITON,
    "Of these, microseconds from there until all images were decoded and encoded",
    "Share of decoding, likewise",
)
PENDING = Metric(
    "nv_inference_pending_request_count",
    "gauge",
    OF_TRITON,
    "Requests of which no denoise step has begun",
    "What Triton's autoscaling recipes read; leyden_images_waiting counts images",
)
