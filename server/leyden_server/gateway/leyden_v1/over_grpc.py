"""`leyden.v1` over gRPC."""

from typing import Any

import grpc

from leyden_server.gateway.grpc_call import UnaryHandler, stream_method, unary_method
from leyden_server.gateway.leyden_v1 import image_generation, model_service
from leyden_server.gateway.leyden_v1.image_generation import ImageGeneration
from leyden_server.gateway.leyden_v1.model_service import ModelService

__all__ = ["handlers"]


def handlers(
    images: ImageGeneration, models: ModelService, write_timeout_s: float
) -> "tuple[grpc.GenericRpcHandler[bytes, Any], ...]":
    """Return what to add to a server; it takes bytes, as `parsing` says why."""
    service = image_generation.SERVICE_NAME
    of_images = {
        "GenerateImage": stream_method(
            f"{service}/GenerateImage",
            images.generate_image,
            write_timeout_s,
            refused=images.refused,
        ),
        "WatchGeneration": stream_method(
            f"{service}/WatchGeneration", images.watch_generation, write_timeout_s
        ),
        "CancelGeneration": unary_method(f"{service}/CancelGeneration", images.cancel_generation),
    }
    answers: dict[str, UnaryHandler] = {
        "ListModels": models.list_models,
        "GetModel": models.get_model,
        "LoadModel": models.load_model,
        "UnloadModel": models.unload_model,
        "GetServerState": models.get_server_state,
    }
    of_models = {
        name: unary_method(f"{model_service.SERVICE_NAME}/{name}", answer)
        for name, answer in answers.items()
    }
    return (
        grpc.method_handlers_generic_handler(service, of_images),
        grpc.method_handlers_generic_handler(model_service.SERVICE_NAME, of_models),
    )
