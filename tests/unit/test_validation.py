"""Every field: what is refused, what is filled in, what is warned of."""

import math
from dataclasses import replace
from typing import Any

import pytest

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_server.config import GatewayConfig
from leyden_server.errors import InvalidRequestError
from leyden_server.gateway.leyden_v1.decoding import VOCABULARY, generation_request
from leyden_server.generations.parameters import GenerationParameters
from leyden_server.generations.rules import validate
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import PreviewRequest

CONFIG = GatewayConfig(max_image_count=8, max_prompt_chars=100)
INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN = 2**31 - 1, -(2**31), 2**63 - 1, -(2**63)
SIZE = "a multiple of 8 from 64 to 512"
SEED = "at least 0, and seed + image_count at most 2^53"
REQUEST_ID = "1 to 128 of letters, digits, '.', '_', ':' and '-'"
QUALITY = "1 to 100"
JPEG = pb.OUTPUT_FORMAT_JPEG


def check(
    model: ResolvedModel, config: GatewayConfig = CONFIG, **fields: Any
) -> GenerationParameters:
    request = pb.GenerateImageRequest(**{"prompt": "a lake", "request_id": "mine", **fields})
    return validate(generation_request(request), model, config, VOCABULARY)


def violations(model: ResolvedModel, **fields: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        check(model, **fields)
    found = {v.field: v.description for v in caught.value.violations}
    assert len(found) == len(caught.value.violations)
    assert all(f"{field}: {text}" in str(caught.value) for field, text in found.items())
    return found


@pytest.mark.parametrize(
    ("fields", "field", "allowed"),
    [
        ({"prompt": ""}, "prompt", "must not be empty"),
        ({"prompt": "x" * 101}, "prompt", "at most 100 characters; got 101"),
        ({"negative_prompt": "x" * 101}, "negative_prompt", "at most 100 characters; got 101"),
        *[
            ({"width_px": px}, "width_px", f"{SIZE} for model 'leyden-tiny-base'; got {px}")
            for px in (-64, -1, 1, 8, 56, 65, 68, 513, 520, INT32_MAX, INT32_MIN)
        ],
        *[({"height_px": px}, "height_px", SIZE) for px in (-64, 63, 100, 520, INT32_MAX)],
        *[
            ({"num_inference_steps": n}, "num_inference_steps", "1 to 100 for model")
            for n in (-1, 101, INT32_MAX, INT32_MIN)
        ],
        *[
            ({"guidance_scale": scale}, "guidance_scale", "0 to 20 for model")
            for scale in (-0.5, 20.5, 1e30, math.inf, -math.inf, math.nan)
        ],
        *[
            ({"solver": value}, "solver", "SOLVER_EULER or SOLVER_EULER_ANCESTRAL")
            for value in (3, 99, -1)
        ],
        *[({"image_count": n}, "image_count", "1 to 8") for n in (-1, 9, INT32_MAX, INT32_MIN)],
        *[({"seed": seed}, "seed", SEED) for seed in (-1, 2**53, 2**53 + 1, INT64_MAX, INT64_MIN)],
        ({"seed": 2**53 - 3, "image_count": 4}, "seed", SEED),
        *[
            (
                {"output_format": value},
                "output_format",
                "one of OUTPUT_FORMAT_PNG, OUTPUT_FORMAT_JPEG, OUTPUT_FORMAT_WEBP",
            )
            for value in (4, 99, -1)
        ],
        *[
            ({"output_quality": n, "output_format": JPEG}, "output_quality", QUALITY)
            for n in (-1, 101, INT32_MAX)
        ],
        ({"output_quality": 80}, "output_quality", "not allowed with PNG"),
        (
            {"output_quality": 80, "output_format": pb.OUTPUT_FORMAT_PNG},
            "output_quality",
            "not allowed with PNG",
        ),
        *[
            ({"preview": {"size_px": px}}, "preview.size_px", "0 to 1024")
            for px in (-1, 1025, INT32_MAX)
        ],
        *[
            ({"preview": {"every_steps": n}}, "preview.every_steps", "0 or more")
            for n in (-1, INT32_MIN)
        ],
        ({"preview": {"format": 9}}, "preview.format", "one of OUTPUT_FORMAT_PNG"),
        *[
            ({"request_id": text}, "request_id", REQUEST_ID)
            for text in ("a b", "a/b", "é", "a\n", "\n", "x" * 129, "a\x00", "*")
        ],
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_value_names_its_field_and_what_is_allowed(
    base: ResolvedModel, fields: dict[str, Any], field: str, allowed: str
) -> None:
    found = violations(base, **fields)

    assert list(found) == [field]
    assert allowed in found[field]


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "x" * 100},
        {"prompt": " "},
        {"negative_prompt": "x" * 100, "guidance_scale": 2},
        *[{"width_px": px, "height_px": px} for px in (64, 72, 512)],
        *[{"num_inference_steps": n} for n in (1, 100)],
        *[{"guidance_scale": scale} for scale in (0, 1, 20)],
        *[{"image_count": n} for n in (1, 8)],
        {"seed": 0},
        {"seed": 2**53 - 1},
        {"seed": 2**53 - 8, "image_count": 8},
        *[{"output_quality": n, "output_format": JPEG} for n in (1, 100)],
        *[{"preview": {"size_px": px, "every_steps": INT32_MAX}} for px in (1, 1024)],
        *[{"request_id": text} for text in ("x", "x" * 128, "Az09._:-")],
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_limits_themselves_are_allowed(base: ResolvedModel, fields: dict[str, Any]) -> None:
    parameters = check(base, **fields)

    for name, value in fields.items():
        if name == "preview":
            assert parameters.preview is not None
            assert parameters.preview.size_px == value["size_px"]
        elif name not in {"output_format", "output_quality"}:
            holder = parameters.sampling if hasattr(parameters.sampling, name) else parameters
            assert getattr(holder, name) == value


def test_all_wrong_fields_are_named_at_once(base: ResolvedModel) -> None:
    found = violations(
        base,
        prompt="",
        negative_prompt="x" * 101,
        seed=-1,
        width_px=7,
        height_px=7,
        num_inference_steps=-1,
        guidance_scale=math.nan,
        solver=9,
        image_count=-1,
        output_format=9,
        output_quality=101,
        preview={"size_px": -1, "every_steps": -1, "format": 9},
        request_id=" ",
        linger_duration={"seconds": -1},
        priority=10,
    )
    fields = set(pb.GenerateImageRequest.DESCRIPTOR.fields_by_name)
    previews = {f"preview.{name}" for name in pb.PreviewOptions.DESCRIPTOR.fields_by_name}
    # The model is looked up before.
    assert set(found) == (fields - {"preview", "model"}) | previews


def test_defaults_are_filled_in(base: ResolvedModel) -> None:
    parameters = check(base)

    assert (parameters.sampling.width_px, parameters.sampling.height_px) == (
        base.width_px,
        base.height_px,
    )
    assert parameters.sampling.num_inference_steps == 50
    assert parameters.sampling.guidance_scale == 2.5
    assert parameters.sampling.solver == "euler"
    assert parameters.image_count == 1
    assert (parameters.format, parameters.quality) == ("PNG", 90)
    assert parameters.preview is None
    assert parameters.negative_prompt == ""
    assert parameters.warnings == ()
    assert parameters.request_id == "mine"
    assert 0 <= parameters.sampling.seed < 2**53


def test_drawn_seeds_differ(base: ResolvedModel) -> None:
    drawn = [check(base) for _ in range(20)]

    assert len({parameters.sampling.seed for parameters in drawn}) > 15


def test_zero_is_a_value_on_optional_fields(base: ResolvedModel) -> None:
    parameters = check(base, seed=0, guidance_scale=0)

    assert parameters.sampling.seed == 0
    assert parameters.sampling.guidance_scale == 0


def test_what_is_given_is_taken(base: ResolvedModel) -> None:
    parameters = check(
        base,
        negative_prompt="fog",
        solver=pb.SOLVER_EULER_ANCESTRAL,
        output_format=pb.OUTPUT_FORMAT_WEBP,
        output_quality=70,
        preview=pb.PreviewOptions(format=pb.OUTPUT_FORMAT_WEBP, every_steps=3, size_px=64),
    )

    assert parameters.negative_prompt == "fog"
    assert parameters.sampling.solver == "euler_ancestral"
    assert (parameters.format, parameters.quality) == ("WEBP", 70)
    assert parameters.preview == PreviewRequest(64, 3, "WEBP")


def test_preview_defaults(base: ResolvedModel) -> None:
    assert check(base, preview=pb.PreviewOptions()).preview == PreviewRequest(0, 1, "JPEG")


def test_a_model_with_one_step_count_says_so(lightning: ResolvedModel) -> None:
    assert check(lightning).sampling.num_inference_steps == 4
    for steps in (1, 3, 5, 8):
        description = violations(lightning, num_inference_steps=steps)["num_inference_steps"]
        assert description.startswith("4 for model 'leyden-tiny-lightning-4step'")


def test_a_solver_that_the_model_lacks_is_refused(lightning: ResolvedModel) -> None:
    found = violations(lightning, solver=pb.SOLVER_EULER_ANCESTRAL)

    assert found["solver"].startswith("SOLVER_EULER for model")


@pytest.mark.parametrize("most", [0.3, 7.3, 1.1, 14.7])
def test_the_largest_guidance_of_a_model_is_allowed(base: ResolvedModel, most: float) -> None:
    """The wire's float32 may be a little more than what model.yaml says."""
    model = replace(base, max_guidance_scale=most, default_guidance_scale=0.0)

    assert check(model, guidance_scale=most).sampling.guidance_scale == pytest.approx(most)
    assert "guidance_scale" in violations(model, guidance_scale=most + 0.01)


def test_a_model_distilled_with_guidance_takes_one_row_and_no_negative_prompt(
    base: ResolvedModel,
) -> None:
    model = replace(base, time_cond_proj_dim=256)
    parameters = check(model, negative_prompt="fog", guidance_scale=8)

    assert (parameters.rows, check(base, guidance_scale=8).rows) == (1, 2)
    assert (parameters.negative_prompt, parameters.sampling.guidance_scale) == ("", 8)
    assert [warning.reason for warning in parameters.warnings] == ["NEGATIVE_PROMPT_IGNORED"]


@pytest.mark.parametrize(
    ("fields", "warned"),
    [
        ({"negative_prompt": "fog", "guidance_scale": 0}, "NEGATIVE_PROMPT_IGNORED"),
        ({"negative_prompt": "fog", "guidance_scale": 1}, "NEGATIVE_PROMPT_IGNORED"),
        ({"negative_prompt": "fog", "guidance_scale": 1.01}, None),
        ({"negative_prompt": "fog"}, None),
        ({"guidance_scale": 0}, None),
        ({"num_inference_steps": 19}, "STEPS_OUTSIDE_RECOMMENDED"),
        ({"num_inference_steps": 20}, None),
        ({"num_inference_steps": 50}, None),
        ({"num_inference_steps": 51}, "STEPS_OUTSIDE_RECOMMENDED"),
    ],
    ids=str,
)
def test_warnings(base: ResolvedModel, fields: dict[str, Any], warned: str | None) -> None:
    warnings = check(base, **fields).warnings

    assert [warning.reason for warning in warnings] == ([warned] if warned else [])
    for warning in warnings:
        assert warning.field in fields
        assert warning.message


@pytest.mark.parametrize(
    ("prompt", "warned"), [("zebra", True), ("ZEBRA!", True), ("a Lake.", False), ("", False)]
)
def test_a_prompt_without_a_known_word_is_warned_of(
    lightning: ResolvedModel, prompt: str, warned: bool
) -> None:
    assert "lake" in lightning.known_words
    if not prompt:
        assert list(violations(lightning, prompt=prompt)) == ["prompt"]
        return
    warnings = [(w.reason, w.field) for w in check(lightning, prompt=prompt).warnings]
    assert warnings == ([("NO_KNOWN_WORD", "prompt")] if warned else [])
    assert not check(replace(lightning, known_words=()), prompt=prompt).warnings


@pytest.mark.parametrize(
    ("width", "height", "fields"),
    [
        (384, 384, []),
        (392, 256, ["width_px"]),
        (512, 512, ["width_px", "height_px"]),
    ],
)
def test_a_size_at_which_the_scene_repeats_is_warned_of(
    base: ResolvedModel, width: int, height: int, fields: list[str]
) -> None:
    """Over 1.5 times the native 256 pixels."""
    warnings = check(base, width_px=width, height_px=height).warnings
    assert [(w.reason, w.field) for w in warnings] == [("SIZE_OVER_NATIVE", f) for f in fields]


@pytest.mark.parametrize(
    ("seconds", "nanos", "linger_s"),
    [
        (0, 0, 0.0),
        (15, 0, 15.0),
        (600, 0, 600.0),
        (0, 500_000_000, 0.5),
    ],
)
def test_a_linger_is_read_whole(
    base: ResolvedModel, seconds: int, nanos: int, linger_s: float
) -> None:
    linger = {"seconds": seconds, "nanos": nanos}
    assert check(base, linger_duration=linger).linger_s == linger_s


@pytest.mark.parametrize(
    "linger", [{"seconds": 601}, {"seconds": 600, "nanos": 1}, {"seconds": -1}, {"nanos": -1}]
)
def test_a_linger_is_bounded(base: ResolvedModel, linger: dict[str, int]) -> None:
    assert "0 to 600 s" in violations(base, linger_duration=linger)["linger_duration"]


def test_a_priority_is_filled_in(base: ResolvedModel) -> None:
    assert [check(base, priority=p).priority for p in (0, 1, 9)] == [5, 1, 9]
    assert check(base).priority == 5


def test_an_ignored_negative_prompt_is_not_used(base: ResolvedModel) -> None:
    assert check(base, negative_prompt="fog", guidance_scale=1).negative_prompt == ""


def test_previews_of_a_model_without_factors_are_warned_of(base: ResolvedModel) -> None:
    parameters = check(replace(base, preview=None), preview=pb.PreviewOptions())

    assert parameters.preview is None
    assert [(w.reason, w.field) for w in parameters.warnings] == [
        ("PREVIEW_UNSUPPORTED", "preview")
    ]
    found = violations(replace(base, preview=None), preview=pb.PreviewOptions(size_px=-1))
    assert list(found) == ["preview.size_px"]
