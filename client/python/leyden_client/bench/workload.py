"""What the requests of a load ask for: prompts that differ, step counts that mix."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from leyden_client.options import GenerateOptions, OutputFormat

_SUBJECTS = (
    "a mountain lake",
    "a lighthouse on a cliff",
    "rolling hills with a lone tree",
    "a river through a canyon",
    "a snowy pine forest",
    "sand dunes under a wide sky",
    "an island far out at sea",
    "a meadow below a glacier",
)
_LIGHTS = (
    "at sunrise",
    "at dusk",
    "under a full moon",
    "in morning fog",
    "in a thunderstorm",
    "at noon",
    "in the golden hour",
)
_STYLES = (
    "soft lighting, peaceful atmosphere",
    "dramatic clouds",
    "oil painting",
    "wide angle photograph",
    "watercolour",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Describes a load's requests; the same seed makes the same ones."""

    model: str = ""
    """Empty: the server's default model."""
    prompts: Sequence[str] = ()
    """Taken in turns. Empty: made up, no two alike, so that no cache of prompts helps."""
    steps: Sequence[int] = (0,)
    """Each request draws its number of denoise steps from these; 0: the model's default."""
    width_px: int = 0
    """0: the model's native width."""
    height_px: int = 0
    """0: the model's native height."""
    image_count: int = 1
    guidance_scale: float | None = None
    """None: the model's default."""
    output_format: OutputFormat | str = OutputFormat.UNSPECIFIED
    seed: int = 0
    """Decides prompts, step counts and the images' seeds."""

    def requests(self) -> Iterator[tuple[str, GenerateOptions]]:
        """Yield (prompt, options) without end."""
        draw = random.Random(self.seed)
        prompts = itertools.cycle(self.prompts) if self.prompts else _made_up(draw)
        for index, prompt in enumerate(prompts):
            yield (
                prompt,
                GenerateOptions(
                    model=self.model,
                    seed=self.seed + index * self.image_count,
                    width_px=self.width_px,
                    height_px=self.height_px,
                    num_inference_steps=draw.choice(self.steps),
                    guidance_scale=self.guidance_scale,
                    image_count=self.image_count,
                    output_format=self.output_format,
                    # A call that breaks is a failure to count, and nothing to repair.
                    linger_s=0.0,
                ),
            )


def _made_up(draw: random.Random) -> Iterator[str]:
    for number in itertools.count(1):
        parts = [draw.choice(words) for words in (_SUBJECTS, _LIGHTS, _STYLES)]
        yield ", ".join([*parts, f"number {number}"])
