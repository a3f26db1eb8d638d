"""From a graph to a request: its line in the log and its trace, tied by their ids."""

from cluster.monitoring.prometheus import Prometheus
from cluster.monitoring.server import Server
from cluster.monitoring.waiting import wait_for
from cluster.report import Report
from support.scraping import scrape
from support.trace_collector import TraceCollector, attributes

from leyden_client import Client

__all__ = ["check_one_request"]

CALL = "leyden.v1.ImageGenerationService/GenerateImage"


def check_one_request(
    client: Client,
    server: Server,
    collector: TraceCollector,
    prometheus: Prometheus,
    report: Report,
) -> None:
    """Make a request and find it in the metrics, in the log and among the traces."""
    done = "sum(nv_inference_request_success)"
    # Of what has just ended, Prometheus may not know yet.
    before = scrape(f"http://{server.page}/metrics").total("nv_inference_request_success")
    wait_for("all before it in Prometheus", lambda: prometheus.query(done)[0][1] == before)
    started = client.generate_image("a mill in the fog", num_inference_steps=4, seed=5)
    request_id = started.request_id
    wait_for("its count in Prometheus", lambda: prometheus.query(done)[0][1] == before + 1)

    (line,) = wait_for(
        "its line in the log",
        lambda: [line for line in server.requests() if line["request_id"] == request_id],
    )
    root = collector.request(line["trace_id"])
    spans = collector.below(root)
    names = [span.name for span in spans]
    by_stage = {name: names.count(name) for name in dict.fromkeys(names)}
    took_s = (root.end_time_unix_nano - root.start_time_unix_nano) / 1e9
    seen = (
        f"request_id={request_id} trace_id={line['trace_id']} code={line['code']}: "
        f"{line['duration_s']:.3f} s by the log, {took_s:.3f} s by the trace; spans {by_stage}"
    )
    holds = (
        root.name == line["method"] == CALL
        and by_stage.get("denoise_step") == line["num_inference_steps"]
        and {"queue", "vae_decode", "image_encode"} <= set(by_stage)
        and attributes(root)["leyden.unet_rows"] == line["unet_rows"]
        and all(span.trace_id.hex() == line["trace_id"] for span in spans)
        and abs(took_s - line["duration_s"]) < 0.1
    )
    (report.holds if holds else report.fails)("a request's line and trace are tied", seen)

    ids = [line["trace_id"] for line in server.requests() if line["trace_id"]]
    of_spans = {span.trace_id.hex() for span in collector.requests(len(ids))}
    tied = len(ids) == len(set(ids)) and set(ids) <= of_spans
    seen = f"{len(ids)} lines, {len(of_spans)} traces"
    (report.holds if tied else report.fails)("each line of the log has a trace of its own", seen)
