"""What a request may say: it becomes parameters, or an error that names every wrong field."""

import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from leyden_server.config import GatewayConfig
from leyden_server.errors import FieldViolation, InvalidRequestError
from leyden_server.generations.parameters import (
    GenerationParameters,
    GenerationRequest,
    RequestWarning,
)
from leyden_server.model_repository import ResolvedModel
from leyden_server.model_repository.known_words import knows_any
from leyden_server.sampling import Sampling, SolverName
from leyden_server.service_order import DEFAULT_PRIORITY
from leyden_server.stages.contract import PIXELS, ImageFormat, PreviewRequest

__all__ = ["FORMATS", "MAX_PRIORITY", "MAX_SEED", "Vocabulary", "check_request_id", "validate"]

MAX_SEED = 2**53
"""Seeds are exact in JavaScript up to here."""
DRAWN_SEEDS = 2**32
DEFAULT_QUALITY = 90
MAX_PREVIEW_PX = 1024
MAX_PRIORITY = 9
REPEATS_OVER = 1.5
"""Over so many times its native width or height a model repeats the scene."""
CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
REQUEST_ID_RULE = "1 to 128 of letters, digits, '.', '_', ':' and '-'"

FORMATS: tuple[ImageFormat, ...] = ("PNG", "JPEG", "WEBP")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A protocol's own names, for messages to those who speak it; ours where it has none."""

    fields: Mapping[str, str] = field(default_factory=dict)
    solvers: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)


def check_request_id(request_id: str) -> None:
    """Raise InvalidRequestError where a generation cannot have this name."""
    if not REQUEST_ID.fullmatch(request_id):
        raise InvalidRequestError((FieldViolation("request_id", REQUEST_ID_RULE),))


def validate(
    request: GenerationRequest,
    model: ResolvedModel,
    config: GatewayConfig,
    vocabulary: Vocabulary = Vocabulary(),
) -> GenerationParameters:
    """Check every field and fill in the defaults; the request has its request_id already.

    Raises:
        InvalidRequestError: one or more fields are wrong; all of them are named.

    """
    check = _Check(model, config, vocabulary)
    guidance_scale = check.guidance_scale(request)
    image_count = check.image_count(request)
    parameters = GenerationParameters(
        request_id=check.request_id(request),
        model=model,
        prompt=check.prompt(request),
        negative_prompt=check.negative_prompt(request, guidance_scale),
        sampling=Sampling(
            seed=check.seed(request, image_count),
            width_px=check.side("width_px", request.width_px, model.width_px),
            height_px=check.side("height_px", request.height_px, model.height_px),
            num_inference_steps=check.num_inference_steps(request),
            guidance_scale=guidance_scale,
            solver=check.solver(request),
        ),
        image_count=image_count,
        format=check.image_format(request),
        quality=check.quality(request),
        preview=check.preview(request),
        linger_s=check.linger_s(request),
        priority=check.priority(request),
        warnings=tuple(check.warnings),
    )
    if check.violations:
        raise InvalidRequestError(tuple(check.violations))
    return parameters


class _Check:
    """Collects violations and warnings; each method checks one field and returns its value."""

    def __init__(self, model: ResolvedModel, config: GatewayConfig, vocabulary: Vocabulary) -> None:
        self.violations: list[FieldViolation] = []
        self.warnings: list[RequestWarning] = []
        self._model = model
        self._config = config
        self._vocabulary = vocabulary

    def request_id(self, request: GenerationRequest) -> str:
        if not REQUEST_ID.fullmatch(request.request_id):
            self._wrong("request_id", REQUEST_ID_RULE)
        return request.request_id

    def prompt(self, request: GenerationRequest) -> str:
        if not request.prompt:
            self._wrong("prompt", "must not be empty")
        self._check_text("prompt", request.prompt)
        if request.prompt and not knows_any(request.prompt, frozenset(self._model.known_words)):
            self._warn(
                "NO_KNOWN_WORD",
                "prompt",
                f"model {self._model.name!r} was trained on few words and knows none of these; "
                "GetModel lists those that it knows",
            )
        return request.prompt

    def negative_prompt(self, request: GenerationRequest, guidance_scale: float) -> str:
        self._check_text("negative_prompt", request.negative_prompt)
        if not request.negative_prompt or self._model.do_classifier_free_guidance(guidance_scale):
            return request.negative_prompt
        self._warn(
            "NEGATIVE_PROMPT_IGNORED",
            "negative_prompt",
            f"model {self._model.name!r} was distilled with guidance and takes no negative prompt"
            if self._model.time_cond_proj_dim is not None
            else "a negative prompt has an effect only with a guidance_scale above 1; it is "
            f"{guidance_scale:g}",
        )
        return ""

    def seed(self, request: GenerationRequest, image_count: int) -> int:
        if request.seed is None:
            return secrets.randbelow(DRAWN_SEEDS)
        if not 0 <= request.seed <= MAX_SEED - image_count:
            self._wrong(
                "seed",
                f"at least 0, and seed + image_count at most 2^53 = {MAX_SEED}; got {request.seed}",
            )
        return request.seed

    def side(self, field: str, value: int, default: int) -> int:
        model = self._model
        if value == 0:
            return default
        if value > REPEATS_OVER * default:
            self._warn(
                "SIZE_OVER_NATIVE",
                field,
                f"model {model.name!r} was trained at {default} pixels; at {value} it repeats "
                "the scene",
            )
        if not model.min_size_px <= value <= model.max_size_px or value % model.vae_scale_factor:
            self._wrong(
                field,
                f"a multiple of {model.vae_scale_factor} from {model.min_size_px} to "
                f"{model.max_size_px} for model {model.name!r}; got {value}",
            )
        return value

    def num_inference_steps(self, request: GenerationRequest) -> int:
        steps, value = self._model.steps, request.num_inference_steps
        if value == 0:
            return steps.default
        if not steps.min <= value <= steps.max:
            allowed = f"{steps.min}" if steps.min == steps.max else f"{steps.min} to {steps.max}"
            self._wrong(
                "num_inference_steps",
                f"{allowed} for model {self._model.name!r}, whose checkpoint was made for that; "
                f"got {value}",
            )
        low, high = steps.recommended_min or steps.min, steps.recommended_max or steps.max
        if not low <= value <= high:
            self._warn(
                "STEPS_OUTSIDE_RECOMMENDED",
                "num_inference_steps",
                f"model {self._model.name!r} gives its best at {low} to {high} steps; got {value}",
            )
        return value

    def guidance_scale(self, request: GenerationRequest) -> float:
        model = self._model
        if request.guidance_scale is None:
            return model.default_guidance_scale
        low, high = model.min_guidance_scale, model.max_guidance_scale
        # As it was written, 7.3 and not the wire's float32 7.300000190734863.
        value = float(str(np.float32(request.guidance_scale)))
        if not math.isfinite(value) or not low <= value <= high:
            self._wrong(
                "guidance_scale", f"{low:g} to {high:g} for model {model.name!r}; got {value:g}"
            )
        return value

    def solver(self, request: GenerationRequest) -> SolverName:
        if not request.solver:
            return self._model.solvers[0]
        for name in self._model.solvers:
            if name == request.solver:
                return name
        names = self._vocabulary.solvers
        allowed = [names.get(name, name) for name in self._model.solvers]
        got = names.get(request.solver, request.solver)
        self._wrong("solver", f"{' or '.join(allowed)} for model {self._model.name!r}; got {got}")
        return self._model.solvers[0]

    def image_count(self, request: GenerationRequest) -> int:
        value, most = request.image_count or 1, self._config.max_image_count
        if not 1 <= value <= most:
            self._wrong("image_count", f"1 to {most}; got {value}")
        return value

    def format(self, field: str, value: str, default: ImageFormat) -> ImageFormat:
        if not value:
            return default
        if value not in FORMATS:
            allowed = ", ".join(self._vocabulary.formats.get(known, known) for known in FORMATS)
            self._wrong(field, f"one of {allowed}; got {value}")
            return default
        return value

    def image_format(self, request: GenerationRequest) -> ImageFormat:
        asked = self.format("output_format", request.output_format, "PNG")
        return PIXELS if request.pixels else asked

    def quality(self, request: GenerationRequest) -> int:
        value = request.output_quality
        if value == 0:
            return DEFAULT_QUALITY
        if not 1 <= value <= 100:
            self._wrong("output_quality", f"1 to 100; got {value}")
        if request.output_format in {"", "PNG"}:
            self._wrong("output_quality", "not allowed with PNG, which is lossless")
        return value

    def preview(self, request: GenerationRequest) -> PreviewRequest | None:
        preview = request.preview
        if preview is None:
            return None
        if not 0 <= preview.size_px <= MAX_PREVIEW_PX:
            self._wrong("preview.size_px", f"0 to {MAX_PREVIEW_PX}; got {preview.size_px}")
        if preview.every_steps < 0:
            self._wrong("preview.every_steps", f"0 or more; got {preview.every_steps}")
        image_format = self.format("preview.format", preview.format, "JPEG")
        if self._model.preview is None:
            self._warn(
                "PREVIEW_UNSUPPORTED",
                "preview",
                f"model {self._model.name!r} has no preview factors; no previews were made",
            )
            return None
        return PreviewRequest(preview.size_px, max(1, preview.every_steps), image_format)

    def linger_s(self, request: GenerationRequest) -> float:
        value, most = request.linger_s, self._config.max_linger_duration_s
        if not 0 <= value <= most:
            self._wrong("linger_duration", f"0 to {most:g} s; got {value:g} s")
        return value

    def priority(self, request: GenerationRequest) -> int:
        value = request.priority
        if value == 0:
            return DEFAULT_PRIORITY
        if not 1 <= value <= MAX_PRIORITY:
            self._wrong(
                "priority", f"1 (first) to {MAX_PRIORITY}, or 0 for {DEFAULT_PRIORITY}; got {value}"
            )
        return value

    def _check_text(self, field: str, text: str) -> None:
        most = self._config.max_prompt_chars
        if len(text) > most:
            self._wrong(field, f"at most {most} characters; got {len(text)}")
        if CONTROL_CHARACTER.search(text):
            self._wrong(field, "text; of control characters only tab and line breaks")

    def _wrong(self, field: str, description: str) -> None:
        name = self._vocabulary.fields.get(field, field)
        self.violations.append(FieldViolation(name, description))

    def _warn(self, reason: str, field: str, message: str) -> None:
        name = self._vocabulary.fields.get(field, field)
        self.warnings.append(RequestWarning(reason, name, message))
