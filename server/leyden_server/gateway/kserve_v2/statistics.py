"""ModelStatistics: what each loaded model has been asked for since the server started."""

from leyden_server.errors import ModelNotFoundError
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.model_names import check_version
from leyden_server.gateway.kserve_v2.signature import VERSION
from leyden_server.gateway.parsing import invalid
from leyden_server.generations.catalog import ModelCatalog

__all__ = ["model_statistics"]


def model_statistics(
    request: pb.ModelStatisticsRequest, catalog: ModelCatalog
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
            pb.ModelStatistics(name=view.entry.name, version=VERSION)
            for view in views
            if view.state != "unavailable"
        ]
    )
