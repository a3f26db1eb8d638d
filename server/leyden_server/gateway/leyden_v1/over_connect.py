"""`leyden.v1` over Connect and gRPC-Web: generating, and what there is to read of models."""

from typing import Any

from connectrpc.server import ConnectASGIApplication

from leyden.v1 import image_generation_service_pb2 as pb
from leyden.v1 import model_service_pb2 as model_pb
from leyden_server.gateway.access import Access
from leyden_server.gateway.connect_call import CODECS, stream_endpoint, unary_endpoint
from leyden_server.gateway.leyden_v1 import image_generation, model_service
from leyden_server.gateway.leyden_v1.image_generation import ImageGeneration
from leyden_server.gateway.leyden_v1.model_service import ModelService

__all__ = ["applications"]


COMPRESSED_ANSWERS = {b"accept-encoding", b"connect-accept-encoding", b"grpc-accept-encoding"}
"""Headers that ask for them."""


class _Application(ConnectASGIApplication[None]):
    """The methods of one service."""

    def __init__(self, service: str, endpoints: dict[str, Any], most_bytes: int) -> None:
        self._service_path = f"/{service}"
        super().__init__(
            service=None,
            endpoints=lambda _: endpoints,
            read_max_bytes=most_bytes,
            codecs=CODECS,
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request; never compressed, since images are compressed as they are."""
        kept = [header for header in scope["headers"] if header[0] not in COMPRESSED_ANSWERS]
        await super().__call__({**scope, "headers": kept}, receive, send)

    @property
    def path(self) -> str:
        """Where the service is; its methods are below."""
        return self._service_path


def applications(
    images: ImageGeneration, models: ModelService, access: Access, most_bytes: int
) -> dict[str, _Application]:
    """Return an ASGI application for each path that there is, by the path."""
    service = image_generation.SERVICE_NAME
    of_images = dict(
        (
            stream_endpoint(
                f"{service}/GenerateImage",
                (pb.GenerateImageRequest, pb.GenerateImageResponse),
                images.generate_image,
                access,
            ),
            stream_endpoint(
                f"{service}/WatchGeneration",
                (pb.WatchGenerationRequest, pb.GenerateImageResponse),
                images.watch_generation,
                access,
            ),
            unary_endpoint(
                f"{service}/CancelGeneration",
                (pb.CancelGenerationRequest, pb.CancelGenerationResponse),
                images.cancel_generation,
                access,
            ),
        )
    )
    service = model_service.SERVICE_NAME
    of_models = dict(
        (
            unary_endpoint(
                f"{service}/ListModels",
                (model_pb.ListModelsRequest, model_pb.ListModelsResponse),
                models.list_models,
                access,
            ),
            unary_endpoint(
                f"{service}/GetModel",
                (model_pb.GetModelRequest, model_pb.GetModelResponse),
                models.get_model,
                access,
            ),
            unary_endpoint(
                f"{service}/GetServerState",
                (model_pb.GetServerStateRequest, model_pb.GetServerStateResponse),
                models.get_server_state,
                access,
            ),
        )
    )
    generating = _Application(image_generation.SERVICE_NAME, of_images, most_bytes)
    listing = _Application(model_service.SERVICE_NAME, of_models, most_bytes)
    return dict.fromkeys(of_images, generating) | dict.fromkeys(of_models, listing)
