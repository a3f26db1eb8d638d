"""tritonclient's own calls, one answer each: what the server says of itself, and images."""

from typing import Any

import numpy as np
import pytest
from triton_clients.with_tritonclient.calls import (
    MODEL,
    PATIENCE_S,
    SIDE,
    Replies,
    fp32,
    int32,
    picture,
    seeds,
    size,
    statistics,
    texts,
    wanted,
)
from tritonclient.grpc import InferenceServerClient as Client
from tritonclient.utils import InferenceServerException

INPUTS = {
    "prompt": ("BYTES", False),
    "negative_prompt": ("BYTES", True),
    "seed": ("INT64", True),
    "num_inference_steps": ("INT32", True),
    "width_px": ("INT32", True),
    "height_px": ("INT32", True),
    "image_count": ("INT32", True),
    "guidance_scale": ("FP32", True),
    "output_format": ("BYTES", True),
}


def infer(client: Client, *inputs: Any, model: str = MODEL, **options: Any) -> Any:
    return client.infer(model, list(inputs), client_timeout=PATIENCE_S, **options)


def refusal(client: Client, *inputs: Any, **options: Any) -> InferenceServerException:
    with pytest.raises(InferenceServerException) as raised:
        infer(client, *inputs, **options)
    return raised.value


def test_the_server_and_the_model_are_there(client: Client) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    for version in ("", "1"):
        assert client.is_model_ready(MODEL, version)
    assert not client.is_model_ready("nosuch")
    assert client.get_server_metadata().name == "leyden"


def test_the_model_describes_its_tensors(client: Client) -> None:
    metadata = client.get_model_metadata(MODEL)
    assert list(metadata.versions) == ["1"]
    assert {i.name: i.datatype for i in metadata.inputs} == {n: t for n, (t, _) in INPUTS.items()}
    config = client.get_model_config(MODEL).config
    assert {i.name: i.optional for i in config.input} == {n: o for n, (_, o) in INPUTS.items()}
    assert config.max_batch_size > 1
    assert config.model_transaction_policy.decoupled
    assert {"image", "generated_image", "seed", "progress"} <= {o.name for o in config.output}


def test_a_prompt_alone_is_enough(client: Client) -> None:
    answer = infer(client, texts("prompt", "a lake at dawn"))
    (image,) = answer.as_numpy("image").reshape(-1)
    assert picture(image).format == "PNG"
    pixels = answer.as_numpy("generated_image")
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels.reshape(pixels.shape[-3:]), np.asarray(picture(image)))


def test_all_inputs_are_taken(client: Client) -> None:
    answer = infer(
        client,
        texts("prompt", "a lake at dawn"),
        texts("negative_prompt", "fog"),
        seeds(7),
        int32("num_inference_steps", 4),
        *size(),
        int32("image_count", 2),
        fp32("guidance_scale", 1.5),
        texts("output_format", "JPEG"),
        outputs=wanted("image", "seed"),
    )
    assert answer.as_numpy("generated_image") is None, "it was not asked for"
    images = [picture(data) for data in answer.as_numpy("image").reshape(-1)]
    assert [(image.format, image.size) for image in images] == [("JPEG", (SIDE, SIDE))] * 2
    assert answer.as_numpy("seed").reshape(-1).tolist() == [7, 8]


def test_an_optional_input_of_none_is_left_out(client: Client) -> None:
    """Its text is what Python's None becomes on the wire."""
    plain = infer(client, texts("prompt", "a lake"), seeds(3), *size())
    none = infer(
        client, texts("prompt", "a lake"), texts("negative_prompt", None), seeds(3), *size()
    )
    assert np.array_equal(plain.as_numpy("generated_image"), none.as_numpy("generated_image"))


def test_rows_are_requests_of_their_own(client: Client) -> None:
    prompts = ["a lake", "a mountain", "a storm"]
    together = infer(client, texts("prompt", *prompts), seeds(1, 2, 3), *size(3))
    assert together.as_numpy("generated_image").shape == (3, SIDE, SIDE, 3)
    assert together.as_numpy("image").shape == (3, 1)
    assert together.as_numpy("seed").tolist() == [[1], [2], [3]]
    for row, (prompt, seed) in enumerate(zip(prompts, (1, 2, 3), strict=True)):
        alone = infer(client, texts("prompt", prompt), seeds(seed), *size())
        apart = np.abs(
            alone.as_numpy("generated_image")[0].astype(int)
            - together.as_numpy("generated_image")[row].astype(int)
        )
        assert apart.max() <= 2, "but for what sums in another order round"


def test_one_value_holds_for_all_rows(client: Client) -> None:
    error = refusal(
        client, texts("prompt", "a", "b"), int32("width_px", 64, 128), int32("height_px", 64, 64)
    )
    assert error.status() == "StatusCode.INVALID_ARGUMENT"
    assert "width_px" in error.message()


def test_the_statistics_count_it(client: Client) -> None:
    before = statistics(client)
    infer(client, texts("prompt", "a lake"), int32("image_count", 2), *size())
    refusal(client, texts("prompt", ""))
    after = statistics(client)
    assert (after.name, after.version) == (MODEL, "1")
    assert after.inference_count == before.inference_count + 2
    stats, stats_before = after.inference_stats, before.inference_stats
    assert stats.success.count == stats_before.success.count + 1
    assert stats.success.ns > stats_before.success.ns
    assert stats.fail.count == stats_before.fail.count + 1


@pytest.mark.parametrize("seed", [-1420042007188224409, -(2**63), 2**63 - 1, 0])
def test_any_seed_is_taken(client: Client, seed: int) -> None:
    used = infer(client, texts("prompt", "a lake"), seeds(seed), *size()).as_numpy("seed").item()
    assert 0 <= used < 2**53
    if seed == 0:
        assert used == 0


def test_an_id_and_parameters_go_along(client: Client) -> None:
    answer = infer(
        client,
        texts("prompt", "a lake"),
        *size(),
        request_id="mine-1",
        priority=1,
        timeout=300_000_000,
        parameters={"team": "blue"},
    )
    assert answer.get_response().id == "mine-1"


@pytest.mark.parametrize(
    ("inputs", "options", "code", "names"),
    [
        ([seeds(1)], {}, "INVALID_ARGUMENT", "prompt"),
        ([texts("prompt", "")], {}, "INVALID_ARGUMENT", "prompt"),
        ([texts("prompt", "a"), int32("width_px", 65)], {}, "INVALID_ARGUMENT", "width_px"),
        ([texts("prompt", "a"), texts("colour", "b")], {}, "INVALID_ARGUMENT", "colour"),
        ([texts("prompt", "a")], {"model": "nosuch"}, "NOT_FOUND", "nosuch"),
        ([texts("prompt", "a")], {"model_version": "7"}, "NOT_FOUND", "7"),
        ([texts("prompt", "a")], {"outputs": wanted("nosuch")}, "INVALID_ARGUMENT", "nosuch"),
        ([texts("prompt", "a")], {"priority": 10}, "INVALID_ARGUMENT", "priority"),
        ([texts("prompt", "a")], {"timeout": 1}, "DEADLINE_EXCEEDED", "deadline"),
    ],
)
def test_what_is_wrong_is_named(
    client: Client, inputs: list[Any], options: dict[str, Any], code: str, names: str
) -> None:
    error = refusal(client, *inputs, **options)
    assert error.status() == f"StatusCode.{code}"
    assert names in error.message()


def test_a_deadline_ends_a_call(client: Client) -> None:
    with pytest.raises(InferenceServerException) as raised:
        client.infer(MODEL, [texts("prompt", "a")], client_timeout=0.001)
    assert raised.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_a_call_in_the_background_is_answered_or_cancelled(client: Client) -> None:
    replies = Replies()
    client.async_infer(MODEL, [texts("prompt", "a lake"), *size()], replies)
    answer, error = replies.next()
    assert error is None
    assert answer.as_numpy("image") is not None
    inputs = [texts("prompt", "a lake"), *size(side=512), int32("image_count", 8)]
    client.async_infer(MODEL, inputs, replies).cancel()
    _, error = replies.next()
    assert error.status() == "StatusCode.CANCELLED"
