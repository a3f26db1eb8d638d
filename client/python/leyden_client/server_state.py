"""What a server does now."""

import enum
from dataclasses import dataclass


class StageKind(enum.StrEnum):
    """Which stage of a model."""

    UNSPECIFIED = "unspecified"
    """One that this client does not know."""
    TEXT_ENCODER = "text_encoder"
    """Both text encoders."""
    DENOISER = "denoiser"
    """The UNet."""
    VAE = "vae"
    """The VAE, and the encoding of image files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    """A stage over all of its replicas."""

    name: str
    """Of its Serve application; in a server of one process, what that would be."""
    kind: StageKind
    """Which stage of a model it is."""
    models: tuple[str, ...]
    """Names of the models that share it."""
    running_replicas: int
    """Replicas that run."""
    wanted_replicas: int
    """Replicas that there are to be now."""
    running_count: int
    """Prompts (of text encoders) or images that its replicas work on."""
    waiting_count: int
    """Prompts or images that wait for it; for a denoiser in the Gateways' lines too."""
    busy_share: float | None
    """The part of the last 10 s in which its model ran, from 0 to 1: the mean over its replicas.
    None: none of them has answered."""
    problem: str
    """Why it is gone; empty where it is there, is started, or rests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayState:
    """A process of the server that speaks gRPC."""

    replica: str
    """Its name, as `Bill.gateway_replica`."""
    uptime_s: float
    """For how many seconds it has been there."""
    draining: bool
    """Whether it refuses new requests because it ends."""
    open_stream_count: int
    """Calls that watch a generation."""
    waiting_image_count: int
    """Images that it has accepted and no denoise step has begun for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """What a server does now."""

    stages: tuple[StageState, ...]
    """The stages of all loaded models, each once."""
    gateways: tuple[GatewayState, ...]
    """The Gateways whose lines are counted, the one that has answered first."""
    bottleneck: str
    """Name of the stage that holds up the others; empty: none does."""
    bottleneck_reason: str
    """Why, or why none does."""
