"""The ModelService: which models there are and what each accepts."""

from collections.abc import Callable
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from leyden.v1 import model_service_pb2 as pb
from leyden_server.gateway.parsing import parse
from leyden_server.gateway.status import to_wire
from leyden_server.generations.catalog import ModelCatalog
from leyden_server.generations.records import RequestLog

__all__ = ["SERVICE_NAME", "ModelListing"]

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ModelService"].full_name

Context = grpc.aio.ServicerContext[bytes, Message]
Response = TypeVar("Response", bound=Message)


class ModelListing:
    """Serves ListModels and GetModel."""

    def __init__(self, catalog: ModelCatalog, log: RequestLog) -> None:
        self._catalog = catalog
        self._log = log

    def handler(self) -> "grpc.GenericRpcHandler[bytes, Message]":
        """Return the handler to add to a server."""
        methods = {
            "ListModels": grpc.unary_unary_rpc_method_handler(
                self.list_models, response_serializer=pb.ListModelsResponse.SerializeToString
            ),
            "GetModel": grpc.unary_unary_rpc_method_handler(
                self.get_model, response_serializer=pb.GetModelResponse.SerializeToString
            ),
        }
        return grpc.method_handlers_generic_handler(SERVICE_NAME, methods)

    async def list_models(self, data: bytes, context: Context) -> pb.ListModelsResponse:
        """List all models."""

        def models() -> pb.ListModelsResponse:
            parse(pb.ListModelsRequest, data)
            return pb.ListModelsResponse(models=self._catalog.describe_all())

        return await self._answer(models, context)

    async def get_model(self, data: bytes, context: Context) -> pb.GetModelResponse:
        """Describe one model."""

        def model() -> pb.GetModelResponse:
            name = parse(pb.GetModelRequest, data).model
            return pb.GetModelResponse(model=self._catalog.describe(name))

        return await self._answer(model, context)

    async def _answer(self, describe: Callable[[], Response], context: Context) -> Response:
        try:
            return describe()
        except Exception as error:  # noqa: BLE001 - the table maps every one
            wire = to_wire(error)
            if wire.code is grpc.StatusCode.INTERNAL:
                self._log.write_defect(wire.metadata["error_id"], error)
            await context.abort(wire.code, wire.message, wire.trailing_metadata())
