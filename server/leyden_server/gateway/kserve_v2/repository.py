"""The model repository as clients of Triton see it: its index, loading, unloading."""

from collections.abc import Collection, Iterable

from leyden_server.errors import RequestError, UnsupportedError
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.signature import VERSION
from leyden_server.gateway.parsing import invalid
from leyden_server.generations.catalog import ModelCatalog, ModelView

__all__ = ["ModelRepositoryMethods"]


class ModelRepositoryMethods:
    """Answers RepositoryIndex, RepositoryModelLoad and RepositoryModelUnload."""

    def __init__(self, catalog: ModelCatalog) -> None:
        self._catalog = catalog

    async def index(self, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        """List all models, by name.

        Raises:
            UnsupportedError: a repository is named.

        """
        _require_no_repository(request.repository_name)
        views = self._catalog.view_all()
        wanted = [view for view in views if view.state == "ready" or not request.ready]
        return pb.RepositoryIndexResponse(models=map(_entry, wanted))

    async def load(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        """Return where the model is ready; raises why it is not.

        Raises:
            InvalidRequestError: a parameter would say what the model is.
            UnsupportedError: a repository is named.
            RequestError: the model is not ready.

        """
        _require_no_repository(request.repository_name)
        _require_parameters(request.parameters, ())
        self._catalog.get(_name(request.model_name))
        return pb.RepositoryModelLoadResponse()

    async def unload(
        self, request: pb.RepositoryModelUnloadRequest
    ) -> pb.RepositoryModelUnloadResponse:
        """Return where the model is not loaded, or is none.

        Raises:
            InvalidRequestError: a parameter is unknown.
            UnsupportedError: a repository is named, or the model is loaded.

        """
        _require_no_repository(request.repository_name)
        _require_parameters(request.parameters, ("unload_dependents",))
        try:
            state = self._catalog.view(_name(request.model_name)).state
        except RequestError:
            state = "unavailable"
        if state != "unavailable":
            raise UnsupportedError(
                f"model {request.model_name!r} cannot be unloaded while this server runs"
            )
        return pb.RepositoryModelUnloadResponse()


def _entry(view: ModelView) -> pb.RepositoryIndexResponse.ModelIndex:
    is_wanted = view.state != "unavailable"
    return pb.RepositoryIndexResponse.ModelIndex(
        name=view.entry.name,
        version=VERSION if is_wanted else "",
        state=view.state.upper() if is_wanted else "",  # as of models that nobody asked to load
        reason=view.unavailable_reason,
    )


def _name(name: str) -> str:
    if not name:
        raise invalid("model_name", "is required")
    return name


def _require_no_repository(name: str) -> None:
    if name:
        raise UnsupportedError("repository_name: there is one repository, and it has no name")


def _require_parameters(names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name == "config" or name.startswith("file:"):
            raise invalid(
                name[:100],
                "what a model is stands in its folder of the repository, and is not taken from "
                "a request",
            )
        if name not in known:
            raise invalid(name[:100], "there is no such parameter")
