"""The model repository as clients of Triton see it: its index, loading, unloading."""

from collections.abc import Collection, Iterable
from contextlib import suppress

from leyden_server.errors import ModelNotFoundError, UnsupportedError
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.signature import VERSION
from leyden_server.gateway.parsing import invalid
from leyden_server.generations.catalog import ModelCatalog, ModelView
from leyden_server.generations.model_control import ModelControl

__all__ = ["ModelRepositoryMethods"]


class ModelRepositoryMethods:
    """Answers RepositoryIndex, RepositoryModelLoad and RepositoryModelUnload."""

    def __init__(self, catalog: ModelCatalog, models: ModelControl) -> None:
        self._catalog = catalog
        self._models = models

    async def index(self, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        """List all models, by name.

        Raises:
            UnsupportedError: a repository is named.

        """
        _require_no_repository(request.repository_name)
        await self._models.refresh()
        views = self._catalog.view_all()
        wanted = [view for view in views if view.state == "ready" or not request.ready]
        return pb.RepositoryIndexResponse(models=map(_entry, wanted))

    async def load(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        """Return once the model is loaded, as its files are now.

        Raises:
            InvalidRequestError: a parameter would say what the model is.
            UnsupportedError: a repository is named.
            RequestError: it cannot be loaded, as `ModelControl.load` says.

        """
        _require_no_repository(request.repository_name)
        _require_parameters(request.parameters, ())
        await self._models.load(_name(request.model_name))
        return pb.RepositoryModelLoadResponse()

    async def unload(
        self, request: pb.RepositoryModelUnloadRequest
    ) -> pb.RepositoryModelUnloadResponse:
        """Return once the model is not loaded; at once where it is none.

        The stages that models share go with the last of them, whatever `unload_dependents` says.

        Raises:
            InvalidRequestError: a parameter is unknown.
            UnsupportedError: a repository is named.
            ModelsManagedError: others own what runs.

        """
        _require_no_repository(request.repository_name)
        _require_parameters(request.parameters, ("unload_dependents",))
        with suppress(ModelNotFoundError):  # as in Triton
            await self._models.unload(_name(request.model_name))
        return pb.RepositoryModelUnloadResponse()


def _entry(view: ModelView) -> pb.RepositoryIndexResponse.ModelIndex:
    is_loaded = view.state != "unavailable"
    # As in Triton, a model that could be loaded and that nobody asked for has no state at all.
    could_be = view.entry.model is not None and not view.load_failed
    return pb.RepositoryIndexResponse.ModelIndex(
        name=view.entry.name,
        version=VERSION if is_loaded else "",
        state=view.state.upper() if is_loaded or not could_be else "",
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
