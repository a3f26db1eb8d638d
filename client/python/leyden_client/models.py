"""The models of a server, and what each accepts."""

import enum
from dataclasses import dataclass

from leyden_client.options import OutputFormat, Solver


class ModelState(enum.StrEnum):
    """Whether a model can be used now."""

    UNSPECIFIED = "unspecified"
    """One that this client does not know."""
    READY = "ready"
    """Serves requests; one that comes after a long rest may wait for a stage to start."""
    LOADING = "loading"
    """Being loaded."""
    UNAVAILABLE = "unavailable"
    """In the repository, but not loaded; `Model.files_present` says whether it could be."""
    UNLOADING = "unloading"
    """Being unloaded: new requests are refused, those that were accepted finish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model and what it accepts. All ranges are inclusive."""

    name: str
    """Name, as `stream_image` and `generate_image` take it."""
    description: str
    """One line on what it is."""
    state: ModelState
    """Whether it can be used now."""
    unavailable_reason: str
    """Where the state is `UNAVAILABLE`: what is missing and how to get it, or why its last
    load failed.

    Where it is `LOADING` although it was ready before: which stage has no running replica.
    """
    is_default: bool
    """Whether a request that names no model gets this one."""
    revision: str
    """What identifies its UNet, as `Summary.model_revision`; empty unless it is loaded."""
    license: str
    """Licence of the weights: an SPDX id where there is one."""
    default_width_px: int
    """Native width in pixels."""
    default_height_px: int
    """Native height in pixels."""
    min_size_px: int
    """Smallest width and height in pixels."""
    max_size_px: int
    """Largest width and height in pixels."""
    size_multiple_px: int
    """Width and height are multiples of this, in pixels."""
    default_num_inference_steps: int
    """Denoise steps of a request that does not say."""
    min_num_inference_steps: int
    """Fewest denoise steps."""
    max_num_inference_steps: int
    """Most denoise steps."""
    default_guidance_scale: float
    """Guidance scale of a request that does not say."""
    min_guidance_scale: float
    """Smallest guidance scale."""
    max_guidance_scale: float
    """Largest guidance scale."""
    solvers: tuple[Solver, ...]
    """Solvers that it can run, the default first."""
    output_formats: tuple[OutputFormat, ...]
    """Formats that it can send, the default first."""
    max_image_count: int
    """Most images of one request."""
    max_prompt_tokens: int
    """Length in tokens at which a prompt is cut; 0 where files of it are missing."""
    previews: bool
    """Whether it can send previews."""
    files_present: bool
    """Whether all of its files are at hand: if it is not loaded, nothing is left to fetch."""
    known_words: tuple[str, ...]
    """The words that it knows, where it was trained on few. Empty: they are not limited so."""
