"""What is simulated: how many replicas of each stage, where, and how they scale."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from leyden_server.config import DenoiserConfig, GatewayConfig, ServerConfig, StageConfig, VaeConfig
from leyden_server.sizing.costs import Costs

__all__ = ["STAGES", "Design", "Replicas"]

STAGES = ("text_encoder", "denoiser", "vae")
"""In the order in which an image passes them, by their sections of the config."""

DEFAULTS = ServerConfig()


@dataclass(frozen=True, slots=True)
class Replicas:
    """Of one stage."""

    at_rest: int
    most: int

    @property
    def scale(self) -> bool:
        """Whether Serve's autoscaler has a say."""
        return self.most > self.at_rest


@dataclass(frozen=True, slots=True)
class Design:
    """A server to be simulated; what it does not say is as in the config's defaults."""

    replicas: Mapping[str, Replicas]
    """Of each stage."""
    gateways: int
    together: bool = False
    """Whether each card has one replica of each stage; if not, a denoiser and a VAE have a card
    each, and the text encoders stand on the VAEs' cards."""
    gpus_per_node: int = 1
    max_waiting_images: int = GatewayConfig().max_waiting_images
    max_open_images: int = GatewayConfig().max_open_images
    stage_retries: int = GatewayConfig().stage_retries
    max_ongoing_requests: int = StageConfig().max_ongoing_requests
    upscale_delay_s: float = StageConfig().upscale_delay_s
    downscale_delay_s: float = StageConfig().downscale_delay_s
    encode_threads: int = VaeConfig().encode_threads
    target_ongoing: Mapping[str, float] = field(default_factory=dict)
    """Of each stage; else the config's default."""
    max_batch: Mapping[str, int] = field(default_factory=dict)
    """Of each stage: prompts, UNet rows, images."""

    def gpus(self, *, most: bool = False) -> int:
        """Return the cards of the replicas at rest, or of the most that there may be."""
        counts = {name: (r.most if most else r.at_rest) for name, r in self.replicas.items()}
        if self.together:
            return max(counts.values())
        return counts["denoiser"] + max(counts["vae"], 1)

    def with_more(self, stage: str, share: float) -> "Design":
        """Return it with some more replicas of a stage at rest: at least one."""
        old = self.replicas[stage]
        more = max(1, round(old.at_rest * share))
        new = Replicas(old.at_rest + more, max(old.most, old.at_rest + more))
        stages: tuple[str, ...] = STAGES if self.together else (stage,)
        if stage == "text_encoder" and new.at_rest > self.replicas["vae"].at_rest:
            stages = ("text_encoder", "vae")  # whose cards they stand on
        return replace(self, replicas={**self.replicas, **dict.fromkeys(stages, new)})


def largest_batches(costs: Costs, config: ServerConfig = DEFAULTS) -> dict[str, int]:
    """Return the config's largest batches, or the largest that were measured."""
    denoiser: DenoiserConfig = config.denoiser
    rows = min(run.most_rows for run in costs.denoiser.values())
    images = min(run.most_rows for run in costs.vae.values())
    return {
        "text_encoder": min(config.text_encoder.max_batch_prompts, costs.text_encoder.most_rows),
        "denoiser": min(denoiser.max_batch_rows, rows),
        "vae": min(config.vae.max_batch_images, images),
    }
