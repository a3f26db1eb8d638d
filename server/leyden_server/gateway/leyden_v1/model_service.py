"""The ModelService: which models there are, what each accepts, and which are loaded."""

from collections.abc import Awaitable, Callable

from google.protobuf.message import Message

from leyden.v1 import model_service_pb2 as pb
from leyden_server.config import GatewayConfig
from leyden_server.errors import FieldViolation, InvalidRequestError
from leyden_server.gateway.call import Call
from leyden_server.gateway.leyden_v1.encoding import model_message
from leyden_server.gateway.leyden_v1.state_encoding import server_state_message
from leyden_server.gateway.parsing import Body, parse
from leyden_server.generations.model_control import ModelControl
from leyden_server.generations.registry import Generations
from leyden_server.generations.server_state import server_state

__all__ = ["SERVICE_NAME", "ModelService"]

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ModelService"].full_name


class ModelService:
    """Answers what concerns models, whatever the client speaks."""

    def __init__(
        self, generations: Generations, models: ModelControl, config: GatewayConfig
    ) -> None:
        self._generations = generations
        self._models = models
        self._max_image_count = config.max_image_count

    async def list_models(self, data: Body, call: Call) -> bytes:
        """List all models."""

        async def models() -> pb.ListModelsResponse:
            parse(pb.ListModelsRequest, data)
            await self._models.refresh()
            views = self._generations.catalog.view_all()
            return pb.ListModelsResponse(
                models=[model_message(view, self._max_image_count) for view in views]
            )

        return await self._answer(models, call)

    async def get_model(self, data: Body, call: Call) -> bytes:
        """Describe one model."""

        async def model() -> pb.GetModelResponse:
            name = parse(pb.GetModelRequest, data).model
            await self._models.refresh()
            return pb.GetModelResponse(model=self._described(name))

        return await self._answer(model, call)

    async def load_model(self, data: Body, call: Call) -> bytes:
        """Load a model, or load it anew."""

        async def load() -> pb.LoadModelResponse:
            call.account.require_operator("LoadModel")
            name = _named(parse(pb.LoadModelRequest, data).model)
            await self._models.load(name)
            return pb.LoadModelResponse(model=self._described(name))

        return await self._answer(load, call)

    async def unload_model(self, data: Body, call: Call) -> bytes:
        """Unload a model."""

        async def unload() -> pb.UnloadModelResponse:
            call.account.require_operator("UnloadModel")
            name = _named(parse(pb.UnloadModelRequest, data).model)
            await self._models.unload(name)
            return pb.UnloadModelResponse()

        return await self._answer(unload, call)

    async def get_server_state(self, data: Body, call: Call) -> bytes:
        """Say what the server does."""

        async def state() -> pb.GetServerStateResponse:
            call.account.require_operator("GetServerState")
            parse(pb.GetServerStateRequest, data)
            gateways = [self._generations.report(), *await self._models.other_gateways()]
            return server_state_message(await server_state(self._generations.catalog, gateways))

        return await self._answer(state, call)

    def _described(self, name: str) -> pb.Model:
        return model_message(self._generations.catalog.view(name), self._max_image_count)

    async def _answer(self, answer: Callable[[], Awaitable[Message]], call: Call) -> bytes:
        try:
            return (await answer()).SerializeToString()
        except Exception as error:  # noqa: BLE001 - the table maps every one
            call.fail(self._generations.known(error))
            return b""


def _named(name: str) -> str:
    """Return a model's name; that of the default is not left to be guessed here."""
    if not name:
        raise InvalidRequestError((FieldViolation("model", "required: the name of a model"),))
    return name
