"""The metrics of our own."""

from leyden_server.metrics.metric import Metric

STAGES = ("text_encoder", "denoiser", "vae")
"""Label `stage`."""

HOW_LEFT = ("cancelled", "deadline", "by_request", "nobody_watched")
"""Label `how` of who has left."""

MODEL = ("model",)

FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Buckets of what is one run of a model or less."""

SLOW_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Buckets of what a client waits for."""

IMAGES_WAITING = Metric(
    "leyden_images_waiting",
    "gauge",
    MODEL,
    "Admitted images that no denoise step has begun for",
    "What a router or an autoscaler reads: `sum by (model) (leyden_images_waiting)`",
)
IMAGES_RUNNING = Metric(
    "leyden_images_running",
    "gauge",
    MODEL,
    "Images between their first and their last denoise step",
    "Beside the waiting ones: 0 here and many there is a Denoiser that stands still",
)
IMAGES_OPEN = Metric(
    "leyden_images_open",
    "gauge",
    MODEL,
    "Images of admitted requests that are not all sent, wherever they are",
    "Alert before gateway.max_open_images refuses: slow decoding or slow readers",
)
LINE_REQUESTS = Metric(
    "leyden_line_requests",
    "gauge",
    MODEL,
    "Length of the line: requests of which no denoise step has begun",
    "`sum(leyden_line_requests)` beside the rate of refusals",
)
EXPECTED_WAIT = Metric(
    "leyden_expected_wait_seconds",
    "gauge",
    MODEL,
    "What a request of one image and priority 5 would be told of its wait; absent: not known",
    "Route to the least: `max by (instance, model) (leyden_expected_wait_seconds)`; alert: `> 30`",
    merged_by="max",
)
IMAGES = Metric(
    "leyden_images_total",
    "counter",
    MODEL,
    "Images that were made, whoever got them",
    "Above nv_inference_count by what clients left behind",
)
QUEUE = Metric(
    "leyden_queue_duration_seconds",
    "histogram",
    MODEL,
    "From acceptance to the first denoise step, less the text encoding, of what ended well",
    "`histogram_quantile(0.95, sum by (le, model) "
    "(rate(leyden_queue_duration_seconds_bucket[5m])))`",
    SLOW_S,
)
GENERATION = Metric(
    "leyden_generation_duration_seconds",
    "histogram",
    MODEL,
    "From acceptance to the end, of what ended well",
    "The latency that clients see: `histogram_quantile(0.95, …)` as above",
    SLOW_S,
)
TEXT_ENCODE = Metric(
    "leyden_text_encode_duration_seconds",
    "histogram",
    MODEL,
    "Runs of the text encoders, one observation a prompt that was in it",
    "A quantile that rises alone: the TextEncoder lacks cores",
    FAST_S,
)
STEP = Metric(
    "leyden_step_duration_seconds",
    "histogram",
    MODEL,
    "Runs of the UNet, one observation a run",
    "`histogram_quantile(0.95, …)` against what was measured when the server was set up",
    FAST_S,
)
VAE_DECODE = Metric(
    "leyden_vae_decode_duration_seconds",
    "histogram",
    MODEL,
    "Runs of the VAE, one observation an image that was in it",
    "Large images are decoded in tiles: a tail here is theirs",
    FAST_S,
)
IMAGE_ENCODE = Metric(
    "leyden_image_encode_duration_seconds",
    "histogram",
    MODEL,
    "Encodings of an image as PNG, JPEG or WebP",
    "Above 0.1 s: WebP at high quality, or too few vae.encode_threads",
    FAST_S,
)
UNET_RUNS = Metric(
    "leyden_unet_runs_total",
    "counter",
    ("model", "rows"),
    "Runs of the UNet by the rows that they had, padding not counted",
    "How batches fill: `sum by (rows) (rate(leyden_unet_runs_total[5m]))`",
)
UNET_SECONDS = Metric(
    "leyden_unet_run_seconds_total",
    "counter",
    ("model", "rows"),
    "Seconds of these runs",
    "What a row more costs: `rate(leyden_unet_run_seconds_total[5m]) / "
    "rate(leyden_unet_runs_total[5m])`",
)
UNET_ROWS = Metric(
    "leyden_unet_rows_total",
    "counter",
    MODEL,
    "Rows of all runs of the UNet",
    "Rows a step: `rate(leyden_unet_rows_total[5m]) / rate(nv_inference_exec_count[5m])`",
)
PADDED_ROWS = Metric(
    "leyden_unet_padded_rows_total",
    "counter",
    MODEL,
    "Rows that were computed beside them to fill a batch size, for nobody",
    "Waste: divide its rate by that of leyden_unet_rows_total; above 0.3 a smaller "
    "denoiser.max_batch_rows may do",
)
PROMPTS = Metric(
    "leyden_prompts_total",
    "counter",
    ("model", "cached"),
    "Prompts and negative prompts that a TextEncoder has answered; cached: kept from before",
    'Hit rate of text_encoder.cache_prompts: the rate of `{cached="true"}` by that of all',
)
LEFT = Metric(
    "leyden_left_total",
    "counter",
    ("model", "how"),
    "Requests whose clients left, or ended them, before their end",
    "By `how`: many of `deadline` are clients with too little patience for the line",
)
ROWS_SAVED = Metric(
    "leyden_rows_saved_total",
    "counter",
    MODEL,
    "UNet rows that did not run since their requests had ended before",
    "What leaving is worth: beside the rate of leyden_unet_rows_total",
)
RETRIES = Metric(
    "leyden_stage_retries_total",
    "counter",
    ("model", "stage"),
    "Runs of a stage that began again since its replica died or stopped",
    "Alert: `increase(leyden_stage_retries_total[15m]) > 0` means replicas die",
)
REFUSED = Metric(
    "leyden_requests_refused_total",
    "counter",
    ("model", "code", "reason"),
    "Requests that were refused before any compute was spent, by the reason that they were told",
    'Overload: `rate(leyden_requests_refused_total{reason="QUEUE_FULL"}[5m])`',
)
FAILED = Metric(
    "leyden_requests_failed_total",
    "counter",
    ("model", "code", "reason"),
    "Admitted requests that did not end well, by how they ended",
    'Alert on `{code="INTERNAL"}`: the log has each by its error_id',
)
FAILED_SECONDS = Metric(
    "leyden_requests_failed_seconds_total",
    "counter",
    MODEL,
    "Seconds from arrival to the end of the requests that nv_inference_request_failure counts",
    "How long clients wait in vain: divide its rate by that of nv_inference_request_failure",
)
LAST_SUCCESS = Metric(
    "leyden_last_success_timestamp_seconds",
    "gauge",
    MODEL,
    "When a request of the model last ended well, in seconds since 1970",
    "A model that answers nobody: `time() - max(leyden_last_success_timestamp_seconds) > 3600`",
    merged_by="max",
)
REPLICAS = Metric(
    "leyden_stage_replicas",
    "gauge",
    ("stage", "application"),
    "Replicas of a stage that run",
    "Every page has it: `max by (application) (leyden_stage_replicas)`",
    merged_by="max",
)
REPLICAS_WANTED = Metric(
    "leyden_stage_replicas_wanted",
    "gauge",
    ("stage", "application"),
    "Replicas of a stage that are to run by now",
    "Alert: more than leyden_stage_replicas for minutes means that they do not start",
    merged_by="max",
)
OPEN_STREAMS = Metric(
    "leyden_open_streams",
    "gauge",
    (),
    "Calls that watch a generation now",
    "`sum(leyden_open_streams)`; 0 before a Gateway is taken down by hand",
)
SENT = Metric(
    "leyden_sent_bytes_total",
    "counter",
    ("protocol",),
    "Bytes of the messages with events and images that were written to clients",
    "Traffic: `sum by (protocol) (rate(leyden_sent_bytes_total[5m]))`",
)
PREVIEWS_DROPPED = Metric(
    "leyden_previews_dropped_total",
    "counter",
    (),
    "Previews that a reader was too slow for",
    "Rising: readers that are slower than the steps; ask for fewer by every_steps",
)
KEPT_BYTES = Metric(
    "leyden_kept_bytes",
    "gauge",
    (),
    "Images of ended generations that are kept for those who come back",
    "Against gateway.max_kept_bytes of each Gateway",
)
UNSENT_BYTES = Metric(
    "leyden_unsent_bytes",
    "gauge",
    (),
    "Images that readers have not taken yet, once for each reader",
    "Against gateway.max_unsent_bytes of each Gateway, where the slowest are cut off",
)
GPU_MEMORY = Metric(
    "leyden_gpu_memory_bytes",
    "gauge",
    ("replica", "kind"),
    "Memory of the GPU of a stage's replica when it last answered: reserved by it, used by all, "
    "total",
    '`leyden_gpu_memory_bytes{kind="used"}` by `{kind="total"}` above 0.95: near OUT_OF_MEMORY',
    merged_by="max",
)
GATEWAYS = Metric(
    "leyden_gateways",
    "gauge",
    (),
    "Gateways whose numbers are on this page",
    "`sum(leyden_gateways)` is to be gateway.replicas",
)
DRAINING = Metric(
    "leyden_gateways_draining",
    "gauge",
    (),
    "Gateways of these that refuse new requests and finish what they have",
    "Alert: above 0 for longer than gateway.drain_timeout_s is a Gateway that does not end",
)
CERTIFICATE_EXPIRY = Metric(
    "leyden_certificate_expiry_timestamp_seconds",
    "gauge",
    (),
    "When the first of the certificates that the server shows expires, in seconds since 1970; "
    "absent: no TLS",
    "Alert: `leyden_certificate_expiry_timestamp_seconds - time() < 14 * 86400`",
    merged_by="min",
)
BUILD_INFO = Metric(
    "leyden_build_info",
    "gauge",
    ("version",),
    "1, for the version that runs",
    "`count by (version) (leyden_build_info)` while an update rolls out",
    merged_by="max",
)
UPTIME = Metric(
    "leyden_uptime_seconds",
    "gauge",
    (),
    "Since the start of the oldest Gateway on this page",
    "Alert: `leyden_uptime_seconds < 300` again and again is a server that restarts",
    merged_by="max",
)
