"""ModelStatistics: what each loaded model has been asked for since the server started."""

from collections.abc import Mapping

from leyden_server.errors import ModelNotFoundError
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.model_names import check_version
from leyden_server.gateway.kserve_v2.signature import VERSION
from leyden_server.gateway.parsing import invalid
from leyden_server.generations.catalog import ModelCatalog
from leyden_server.metrics import of_leyden as ours
from leyden_server.metrics import of_statistics as of
from leyden_server.metrics import of_triton as triton
from leyden_server.metrics.ledger import Ledger
from leyden_server.metrics.metric import Metric

__all__ = ["model_statistics"]

OUTCOMES = ("success", "fail", "empty_response", "cancel")
PARTS = ("compute_infer", "compute_output")

Shares = Mapping[int, tuple[float, float]]
"""By the rows of a run: how many there were, and their seconds."""


def model_statistics(
    request: pb.ModelStatisticsRequest, catalog: ModelCatalog, ledger: Ledger
) -> pb.ModelStatisticsResponse:
    """Return the statistics of a model, or of all that are loaded where none is named.

    Raises:
        InvalidRequestError: the model is not loaded, or is none; so it is with Triton.
        ModelVersionNotFoundError: it has no such version.

    """
    views = catalog.view_all()
    if request.name:
        try:
            views = [catalog.view(request.name)]
        except ModelNotFoundError as error:
            raise invalid("name", str(error)) from error
        check_version(request.name, request.version)
        if views[0].state == "unavailable":
            raise invalid("name", f"model {request.name!r} is not loaded")
    return pb.ModelStatisticsResponse(
        model_stats=[
            _statistics(view.entry.name, ledger) for view in views if view.state != "unavailable"
        ]
    )


def _statistics(model: str, ledger: Ledger) -> pb.ModelStatistics:
    last_s = ledger.value(ours.LAST_SUCCESS, model)
    return pb.ModelStatistics(
        name=model,
        version=VERSION,
        last_inference=round(last_s * 1000),
        inference_count=round(ledger.value(triton.COUNT, model, VERSION)),
        execution_count=round(ledger.value(triton.EXEC_COUNT, model, VERSION)),
        inference_stats=_of_requests(model, ledger),
        batch_stats=_of_batches(model, ledger),
        response_stats=_of_responses(model, ledger),
    )


def _of_requests(model: str, ledger: Ledger) -> pb.InferStatistics:
    successes = ledger.value(triton.SUCCESS, model, VERSION)
    failures = sum(
        ledger.value(triton.FAILURE, model, VERSION, reason) for reason in triton.REASONS
    )

    def of_success(metric: Metric) -> pb.StatisticDuration:
        return _duration(successes, ledger.value(metric, model, VERSION) / 1e6)

    return pb.InferStatistics(
        success=of_success(triton.REQUEST_US),
        fail=_duration(failures, ledger.value(ours.FAILED_SECONDS, model)),
        queue=of_success(triton.QUEUE_US),
        compute_input=of_success(triton.INPUT_US),
        compute_infer=of_success(triton.INFER_US),
        compute_output=of_success(triton.OUTPUT_US),
    )


def _of_batches(model: str, ledger: Ledger) -> list[pb.InferBatchStatistics]:
    inputs = _by_rows(model, ledger, of.TEXT_RUNS, of.TEXT_RUN_SECONDS)
    infers = _by_rows(model, ledger, ours.UNET_RUNS, ours.UNET_SECONDS)
    outputs = _by_rows(model, ledger, of.VAE_RUNS, of.VAE_RUN_SECONDS)
    nothing = (0.0, 0.0)
    return [
        pb.InferBatchStatistics(
            batch_size=rows,
            compute_input=_duration(*inputs.get(rows, nothing)),
            compute_infer=_duration(*infers.get(rows, nothing)),
            compute_output=_duration(*outputs.get(rows, nothing)),
        )
        for rows in sorted({*inputs, *infers, *outputs})
    ]


def _of_responses(model: str, ledger: Ledger) -> dict[str, pb.InferResponseStatistics]:
    indices = {labels[1] for labels in ledger.numbers(of.RESPONSES) if labels[0] == model}

    def durations(index: str) -> dict[str, pb.StatisticDuration]:
        return {
            **{
                outcome: _of_index(ledger, of.RESPONSES, of.RESPONSE_SECONDS, model, index, outcome)
                for outcome in OUTCOMES
            },
            **{
                part: _of_index(ledger, of.PARTS, of.PART_SECONDS, model, index, part)
                for part in PARTS
            },
        }

    return {
        index: pb.InferResponseStatistics(**durations(index)) for index in sorted(indices, key=int)
    }


def _of_index(
    ledger: Ledger, counts: Metric, seconds: Metric, *labels: str
) -> pb.StatisticDuration:
    return _duration(ledger.value(counts, *labels), ledger.value(seconds, *labels))


def _by_rows(model: str, ledger: Ledger, runs: Metric, seconds: Metric) -> Shares:
    return {
        int(labels[1]): (count, ledger.value(seconds, *labels))
        for labels, count in ledger.numbers(runs).items()
        if labels[0] == model
    }


def _duration(count: float, seconds: float) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=round(count), ns=round(seconds * 1e9))
