"""ModelInfer and what describes models, by a plain client of KServe v2."""

import io
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image
from server.conftest import BASE, LIGHTNING, RANDOM
from support.kserve import array, infer_request, parameters_of, refusal, stub_of
from support.patience import PATIENCE_S
from support.running_server import RunningServer

from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb

PROMPT = "a red square"


@pytest.fixture
def inference(server: RunningServer) -> Any:
    return stub_of(server.channel)


def infer(inference: Any, *outputs: str, **inputs: Any) -> pb.ModelInferResponse:
    request = infer_request(LIGHTNING, outputs, **{"prompt": PROMPT, **inputs})
    response: pb.ModelInferResponse = inference.ModelInfer(request, timeout=PATIENCE_S)
    return response


def opened(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_batch_has_the_pixels_of_native_calls(server: RunningServer, inference: Any) -> None:
    prompts, seeds = ["a red square", "a blue circle", "a green star"], [11, 12, 400]

    response = infer(inference, "generated_image", "seed", prompt=prompts, seed=seeds)

    pixels = array(response, "generated_image")
    assert pixels is not None
    assert pixels.shape == (3, 256, 256, 3)
    for row, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        native = server.generate(model=LIGHTNING, prompt=prompt, seed=seed).pixels()
        # Who shares a batch with whom changes last bits.
        assert np.abs(pixels[row].astype(int) - native).max() <= 1
    assert array(response, "seed").tolist() == [[11], [12], [400]]  # type: ignore[union-attr]


def test_one_row_has_as_many_images_as_it_asks_for(server: RunningServer, inference: Any) -> None:
    response = infer(inference, seed=5, image_count=2)

    files, pixels = array(response, "image"), array(response, "generated_image")
    assert files is not None
    assert pixels is not None
    assert files.shape == (2, 1)
    for index in range(2):
        assert np.array_equal(opened(files[index, 0]), pixels[index])
    native = server.generate(model=LIGHTNING, prompt=PROMPT, seed=5, image_count=2)
    assert np.abs(pixels[1].astype(int) - native.pixels(1)).max() <= 1
    assert array(response, "seed").tolist() == [[5], [6]]  # type: ignore[union-attr]


def test_outputs_are_those_that_are_asked_for_each_with_its_raw_entry(inference: Any) -> None:
    def names(*outputs: str) -> list[str]:
        response = infer(inference, *outputs, seed=1)
        assert len(response.raw_output_contents) == len(response.outputs)
        assert not any(output.HasField("contents") for output in response.outputs)
        return [output.name for output in response.outputs]

    assert names() == ["image", "generated_image", "seed"]
    assert names("seed", "seed") == ["seed"]
    assert names("progress", "preview", "image") == ["image"]


def test_the_answer_names_model_version_and_request(inference: Any) -> None:
    request = infer_request(LIGHTNING, ["seed"], request_id="mine", prompt=PROMPT)
    response = inference.ModelInfer(request, timeout=PATIENCE_S)

    assert (response.model_name, response.model_version, response.id) == (LIGHTNING, "1", "mine")


def test_the_files_format_is_an_input(inference: Any) -> None:
    files = array(infer(inference, "image", output_format="jpeg"), "image")

    assert files is not None
    assert files[0, 0][:3] == b"\xff\xd8\xff"


@pytest.mark.parametrize("seed", [-1420042007188224409, -1, 2**53, 2**63 - 1])
def test_any_seed_is_taken_and_the_one_used_is_told(inference: Any, seed: int) -> None:
    used = seed % (2**53 - 8)

    response = infer(inference, "seed", "generated_image", seed=seed)
    again = infer(inference, "generated_image", seed=used)

    assert array(response, "seed").tolist() == [[used]]  # type: ignore[union-attr]
    first, second = array(response, "generated_image"), array(again, "generated_image")
    assert np.array_equal(first, second)  # type: ignore[arg-type]


def test_what_is_ignored_is_said(inference: Any) -> None:
    response = infer(inference, "seed", negative_prompt="blur")

    assert "negative_prompt" in parameters_of(response)["warnings"]


def test_an_optional_prompt_left_out_in_python_is_none(inference: Any) -> None:
    response = infer(inference, "seed", negative_prompt="None")

    assert "negative_prompt" not in str(parameters_of(response))


def test_a_large_image_is_put_together(server: RunningServer, inference: Any) -> None:
    request = infer_request(
        RANDOM,
        ["generated_image"],
        prompt="x",
        seed=3,
        width_px=1280,
        height_px=1024,
        num_inference_steps=1,
    )
    pixels = array(inference.ModelInfer(request, timeout=PATIENCE_S), "generated_image")

    assert pixels is not None
    assert pixels.shape == (1, 1024, 1280, 3)
    native = server.generate(
        model=RANDOM,
        prompt="x",
        seed=3,
        width_px=1280,
        height_px=1024,
        num_inference_steps=1,
        timeout=PATIENCE_S,
    )
    assert np.abs(pixels[0].astype(int) - native.pixels()).max() <= 1


@pytest.mark.parametrize(
    ("model", "version", "code"),
    [
        ("nosuch", "", grpc.StatusCode.NOT_FOUND),
        ("", "", grpc.StatusCode.NOT_FOUND),
        ("../" + LIGHTNING, "", grpc.StatusCode.NOT_FOUND),
        ("absent-sdxl", "", grpc.StatusCode.FAILED_PRECONDITION),
        (LIGHTNING, "7", grpc.StatusCode.NOT_FOUND),
        (LIGHTNING, "x", grpc.StatusCode.INVALID_ARGUMENT),
        (LIGHTNING, "-1", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_a_model_is_a_name_of_the_listing_with_one_version(
    inference: Any, model: str, version: str, code: grpc.StatusCode
) -> None:
    request = infer_request(model, prompt=PROMPT)
    request.model_version = version

    assert refusal(inference.ModelInfer, request).code() is code
    described = pb.ModelMetadataRequest(name=model, version=version)
    assert refusal(inference.ModelMetadata, described).code() is code
    asked = pb.ModelConfigRequest(name=model, version=version)
    assert refusal(inference.ModelConfig, asked).code() is code


def test_a_refused_row_refuses_the_request_before_any_row_begins(
    server: RunningServer, inference: Any
) -> None:
    error = refusal(inference.ModelInfer, infer_request(LIGHTNING, prompt=["a", "b", ""]))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "prompt[2]: must not be empty"
    # The whole line is free: as many images as may wait are taken.
    assert len(infer(inference, "seed", prompt=["a"] * 8).outputs) == 1


def test_a_deadline_of_the_request_holds_beside_the_calls(inference: Any) -> None:
    request = infer_request(
        BASE, parameters={"timeout": 20_000}, prompt="a", num_inference_steps=30
    )

    assert refusal(inference.ModelInfer, request).code() in {
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,  # known beforehand
    }


@pytest.mark.parametrize("timeout_us", [0, -5, 600_000_000])
def test_no_deadline_and_a_long_one_let_it_be(inference: Any, timeout_us: int) -> None:
    request = infer_request(LIGHTNING, ["seed"], {"timeout": timeout_us}, prompt="a")

    assert len(inference.ModelInfer(request, timeout=PATIENCE_S).outputs) == 1


def test_junk_is_an_invalid_argument(server: RunningServer) -> None:
    call = server.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    error = refusal(call, b"\xff\xff\xff")

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "inference.ModelInferRequest" in str(error.details())
