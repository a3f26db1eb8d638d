"""What is refused, with which details; and what is served with a warning."""

import math
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from server.conftest import ABSENT, BASE, LIGHTNING, RANDOM
from support.patience import PATIENCE_S
from support.running_server import RunningServer, details_of

from leyden.v1 import image_generation_service_pb2 as pb
from leyden.v1 import model_service_pb2 as model_pb
from leyden_cli.main import main as leyden

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": ""}, "prompt", "empty"),
    ({"prompt": "x" * 4097}, "prompt", "4096"),
    ({"prompt": "a\0b"}, "prompt", "control characters"),
    ({"prompt": "a\x9b2Jb"}, "prompt", "control characters"),
    ({"negative_prompt": "a\x7fb"}, "negative_prompt", "control characters"),
    ({"negative_prompt": "x" * 4097}, "negative_prompt", "4096"),
    ({"num_inference_steps": 5}, "num_inference_steps", "4 for model"),
    ({"num_inference_steps": -1}, "num_inference_steps", "4 for model"),
    ({"model": BASE, "num_inference_steps": 101}, "num_inference_steps", "1 to 100"),
    ({"guidance_scale": 2.5}, "guidance_scale", "0 to 2"),
    ({"guidance_scale": math.nan}, "guidance_scale", "0 to 2"),
    ({"guidance_scale": -math.inf}, "guidance_scale", "0 to 2"),
    ({"width_px": 100}, "width_px", "multiple of 8"),
    ({"height_px": 2**30}, "height_px", "64 to 512"),
    ({"width_px": -128}, "width_px", "64 to 512"),
    ({"image_count": 9}, "image_count", "1 to 8"),
    ({"image_count": -1}, "image_count", "1 to 8"),
    ({"seed": -1}, "seed", "2^53"),
    ({"seed": 2**53 - 7, "image_count": 8}, "seed", "2^53"),
    ({"solver": pb.SOLVER_EULER_ANCESTRAL}, "solver", "SOLVER_EULER"),
    ({"solver": pb.SOLVER_DPMPP_2M}, "solver", "SOLVER_EULER"),
    ({"solver": 99}, "solver", "SOLVER_EULER"),
    ({"output_format": 99}, "output_format", "OUTPUT_FORMAT_WEBP"),
    ({"output_quality": 90}, "output_quality", "lossless"),
    ({"output_quality": 101, "output_format": 2}, "output_quality", "1 to 100"),
    ({"preview": pb.PreviewOptions(size_px=5000)}, "preview.size_px", "1024"),
    ({"preview": pb.PreviewOptions(every_steps=-1)}, "preview.every_steps", "0 or more"),
    ({"request_id": "no spaces"}, "request_id", "letters"),
]


@pytest.mark.parametrize(("fields", "field", "allowed"), WRONG)
def test_a_wrong_field_is_named_with_what_it_allows(
    server: RunningServer, fields: dict[str, Any], field: str, allowed: str
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        server.generate(**fields)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = details_of(raised.value)
    assert details[ErrorInfo].reason == "INVALID_FIELD"
    violations = {v.field: v.description for v in details[BadRequest].field_violations}
    assert list(violations) == [field]
    assert allowed in violations[field]


def test_every_wrong_field_is_named_at_once(server: RunningServer) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        server.generate(prompt="", width_px=7, seed=-5)
    fields = [v.field for v in details_of(raised.value)[BadRequest].field_violations]
    assert sorted(fields) == ["prompt", "seed", "width_px"]


def test_bytes_that_are_no_request_are_an_invalid_argument(server: RunningServer) -> None:
    method = "/leyden.v1.ImageGenerationService/GenerateImage"
    for junk in (b"\xff\xff\xff", b"\x12\x02\xff\xfe"):  # the second: a prompt that is not UTF-8
        with pytest.raises(grpc.RpcError) as raised:
            list(server.channel.unary_stream(method)(junk, timeout=PATIENCE_S))
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        details = str(raised.value.details())
        assert details.endswith("the bytes are not a leyden.v1.GenerateImageRequest")


def test_an_unknown_model_is_answered_with_those_that_exist(server: RunningServer) -> None:
    for call in (
        lambda: server.generate(model="sdxl-lightening"),
        lambda: server.models.GetModel(model_pb.GetModelRequest(model="sdxl-lightening")),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            call()
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        models = details_of(raised.value)[ErrorInfo].metadata["models"].split(",")
        assert {LIGHTNING, BASE, RANDOM} <= set(models)


@pytest.mark.parametrize(
    ("fields", "reasons"),
    [
        ({"negative_prompt": "blurry"}, ["NEGATIVE_PROMPT_IGNORED"]),
        ({"prompt": "mountain " * 100}, ["PROMPT_TRUNCATED"]),
        (
            {"model": BASE, "num_inference_steps": 2, "negative_prompt": "dull " * 100},
            ["STEPS_OUTSIDE_RECOMMENDED", "NEGATIVE_PROMPT_TRUNCATED"],
        ),
        (
            {"model": RANDOM, "num_inference_steps": 1, "preview": pb.PreviewOptions()},
            ["PREVIEW_UNSUPPORTED"],
        ),
        ({"guidance_scale": 0.0, "seed": 0}, []),
    ],
)
def test_what_is_ignored_or_cut_is_said(
    server: RunningServer, fields: dict[str, Any], reasons: list[str]
) -> None:
    reply = server.generate(**fields)
    assert [warning.reason for warning in reply.summary.warnings] == reasons
    truncated = "mountain" in fields.get("prompt", "")
    assert reply.of("text_encoded")[0].truncated == truncated
    assert (reply.of("text_encoded")[0].token_count > 77) == truncated


def test_list_models_tells_what_each_accepts(server: RunningServer) -> None:
    models = {m.name: m for m in server.models.ListModels(model_pb.ListModelsRequest()).models}
    lightning, base = models[LIGHTNING], models[BASE]
    assert lightning.is_default
    assert not base.is_default
    assert lightning.state == base.state == model_pb.MODEL_STATE_READY
    assert (lightning.min_num_inference_steps, lightning.max_num_inference_steps) == (4, 4)
    assert (base.min_num_inference_steps, base.max_num_inference_steps) == (1, 100)
    assert lightning.max_guidance_scale == 2
    assert (lightning.default_width_px, lightning.size_multiple_px) == (256, 8)
    assert lightning.previews
    assert not models[RANDOM].previews
    assert list(base.solvers) == [
        pb.SOLVER_EULER,
        pb.SOLVER_EULER_ANCESTRAL,
        pb.SOLVER_DPMPP_2M,
        pb.SOLVER_DPMPP_2M_SDE,
    ]
    default = server.models.GetModel(model_pb.GetModelRequest()).model
    assert default == lightning


def test_a_model_that_is_not_loaded_says_what_is_missing(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        server.generate(model=ABSENT)
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    info = details_of(raised.value)[ErrorInfo]
    assert info.reason == "MODEL_NOT_LOADED"
    assert "nowhere" in info.metadata["missing"]
    model = server.models.GetModel(model_pb.GetModelRequest(model=ABSENT)).model
    assert model.state == model_pb.MODEL_STATE_UNAVAILABLE
    assert model.unavailable_reason == info.metadata["missing"]
    for arguments in ([], [ABSENT]):  # what is not known is not shown as zero
        assert leyden(["models", *arguments, "--server", server.address]) == 0
        shown = capsys.readouterr().out
        assert ABSENT in shown
        assert "0 x 0" not in shown


def test_a_request_id_in_use_is_refused_and_free_again_afterwards(server: RunningServer) -> None:
    first = server.images.GenerateImage(
        pb.GenerateImageRequest(model=BASE, prompt="x", num_inference_steps=100, request_id="mine")
    )
    next(first)
    with pytest.raises(grpc.RpcError) as raised:
        server.generate(request_id="mine")
    assert raised.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert details_of(raised.value)[ErrorInfo].metadata["request_id"] == "mine"
    assert list(first)[-1].WhichOneof("event") == "summary"
    assert server.generate(request_id="mine").summary.model == LIGHTNING
