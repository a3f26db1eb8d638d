"""The ModelService: which models there are and what each accepts."""

import grpc
from google.protobuf.message import Message

from leyden.v1 import model_service_pb2 as pb
from leyden_server.gateway.catalog import ModelCatalog
from leyden_server.gateway.parsing import parse
from leyden_server.gateway.status import to_wire

__all__ = ["SERVICE_NAME", "ModelListing"]

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ModelService"].full_name

Context = grpc.aio.ServicerContext[bytes, Message]


class ModelListing:
    """Serves ListModels and GetModel."""

    def __init__(self, catalog: ModelCatalog) -> None:
        self._catalog = catalog

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
        del data, context
        return pb.ListModelsResponse(models=self._catalog.describe_all())

    async def get_model(self, data: bytes, context: Context) -> pb.GetModelResponse:
        """Describe one model."""
        try:
            return pb.GetModelResponse(
                model=self._catalog.describe(parse(pb.GetModelRequest, data).model)
            )
        except Exception as error:
            wire = to_wire(error)
            await context.abort(wire.code, wire.message, wire.trailing_metadata())
            raise
