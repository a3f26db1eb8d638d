"""The three stages in one process, without Ray: what the split is compared with.

They are the deployments' own services, with the threads that those have. What differs is what
carries a request from stage to stage: a function call here, Ray Serve there.
"""

from leyden_server.config import ServerConfig
from leyden_server.denoiser.service import DenoiseService
from leyden_server.model_repository import ResolvedModel
from leyden_server.text_encoder.service import TextEncodingService
from leyden_server.vae.service import VaeService

__all__ = ["FusedStages"]

REPLICA = "monolith"


class FusedStages:
    """A model's stages, loaded and warmed up."""

    def __init__(self, model: ResolvedModel, config: ServerConfig) -> None:
        self.model = model
        self.text_encoder = TextEncodingService(model, config.text_encoder, REPLICA)
        self.denoiser = DenoiseService(model, config.denoiser, REPLICA)
        self.vae = VaeService(model, config.vae, REPLICA)

    def stop(self) -> None:
        """Stop every stage's threads."""
        for stage in (self.text_encoder, self.denoiser, self.vae):
            stage.stop()
