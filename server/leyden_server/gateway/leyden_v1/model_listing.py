"""The ModelService: which models there are and what each accepts."""

from collections.abc import Callable
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from leyden.v1 import model_service_pb2 as pb
from leyden_server.config import GatewayConfig
from leyden_server.gateway.answering import refuse
from leyden_server.gateway.leyden_v1.encoding import model_message
from leyden_server.gateway.method_handlers import unary_unary
from leyden_server.gateway.parsing import parse
from leyden_server.generations.registry import Generations

__all__ = ["SERVICE_NAME", "ModelListing"]

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ModelService"].full_name

Context = grpc.aio.ServicerContext[bytes, Message]
Response = TypeVar("Response", bound=Message)


class ModelListing:
    """Serves ListModels and GetModel."""

    def __init__(self, generations: Generations, config: GatewayConfig) -> None:
        self._generations = generations
        self._max_image_count = config.max_image_count

    def handler(self) -> "grpc.GenericRpcHandler[bytes, Message]":
        """Return the handler to add to a server; it takes bytes, as `parsing` says why."""
        methods = {
            "ListModels": unary_unary(self.list_models, pb.ListModelsResponse.SerializeToString),
            "GetModel": unary_unary(self.get_model, pb.GetModelResponse.SerializeToString),
        }
        return grpc.method_handlers_generic_handler(SERVICE_NAME, methods)

    async def list_models(self, data: bytes, context: Context) -> pb.ListModelsResponse:
        """List all models."""

        def models() -> pb.ListModelsResponse:
            parse(pb.ListModelsRequest, data)
            views = self._generations.catalog.view_all()
            return pb.ListModelsResponse(
                models=[model_message(view, self._max_image_count) for view in views]
            )

        return await self._answer(models, context)

    async def get_model(self, data: bytes, context: Context) -> pb.GetModelResponse:
        """Describe one model."""

        def model() -> pb.GetModelResponse:
            name = parse(pb.GetModelRequest, data).model
            view = self._generations.catalog.view(name)
            return pb.GetModelResponse(model=model_message(view, self._max_image_count))

        return await self._answer(model, context)

    async def _answer(self, describe: Callable[[], Response], context: Context) -> Response:
        try:
            return describe()
        except Exception as error:  # noqa: BLE001 - the table maps every one
            await refuse(self._generations.known(error), context)
