"""Tensors in system shared memory, by tritonclient's own functions."""

import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.utils.shared_memory as shm
from triton_clients.with_tritonclient.calls import (
    MODEL,
    PATIENCE_S,
    SIDE,
    Replies,
    is_final,
    names,
    picture,
    seeds,
    size,
    texts,
)
from tritonclient.grpc import InferenceServerClient as Client
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

SEGMENT_BYTES = 256 * 1024


@pytest.fixture
def region(client: Client) -> Iterator[tuple[str, str, Any]]:
    """A registered region: its name, the segment's key, and tritonclient's handle of it."""
    name, key = f"region-{uuid.uuid4()}", f"/test-{uuid.uuid4()}"
    handle = shm.create_shared_memory_region(name, key, SEGMENT_BYTES)
    client.register_system_shared_memory(name, key, SEGMENT_BYTES)
    yield name, key, handle
    client.unregister_system_shared_memory(name)
    shm.destroy_shared_memory_region(handle)


def prompt_in(handle: Any, name: str, text: str) -> grpcclient.InferInput:
    """Put a prompt at the beginning of a region."""
    serialized = serialize_byte_tensor(np.array([[text]], np.object_))
    shm.set_shared_memory_region(handle, [serialized])
    prompt = grpcclient.InferInput("prompt", [1, 1], "BYTES")
    prompt.set_shared_memory(name, len(serialized.item()))
    return prompt


def output_in(name: str, output: str, byte_size: int, offset: int) -> Any:
    wanted = grpcclient.InferRequestedOutput(output)
    wanted.set_shared_memory(name, byte_size, offset)
    return wanted


def code_of(call: Any) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as raised:
        call()
    return raised.value.status().removeprefix("StatusCode."), raised.value.message()


def test_regions_are_listed(client: Client, region: tuple[str, str, Any]) -> None:
    name, key, _ = region
    listed = client.get_system_shared_memory_status(name).regions[name]
    assert (listed.name, listed.key, listed.offset, listed.byte_size) == (
        name,
        key,
        0,
        SEGMENT_BYTES,
    )
    assert name in client.get_system_shared_memory_status().regions
    second = f"{name}-second"
    client.register_system_shared_memory(second, key, 100, offset=4096)
    client.unregister_system_shared_memory(second)
    assert code_of(lambda: client.get_system_shared_memory_status(second))[0] == "NOT_FOUND"


def test_inputs_and_outputs_lie_in_shared_memory(
    client: Client, region: tuple[str, str, Any]
) -> None:
    name, _, handle = region
    pixels_bytes, offset = SIDE * SIDE * 3, 4096
    answer = client.infer(
        MODEL,
        [prompt_in(handle, name, "a lake"), seeds(9), *size()],
        outputs=[
            output_in(name, "generated_image", pixels_bytes, offset),
            grpcclient.InferRequestedOutput("seed"),
        ],
        client_timeout=PATIENCE_S,
    )
    assert answer.as_numpy("seed").item() == 9, "beside it, over the wire"
    (raw, _) = answer.get_response().raw_output_contents
    assert raw == b""
    output = answer.get_output("generated_image")
    got = shm.get_contents_as_numpy(handle, np.uint8, list(output.shape), offset=offset)
    plain = client.infer(
        MODEL, [texts("prompt", "a lake"), seeds(9), *size()], client_timeout=PATIENCE_S
    )
    assert np.array_equal(got, plain.as_numpy("generated_image"))


def test_the_encoded_file_lies_there_as_a_string(
    client: Client, region: tuple[str, str, Any]
) -> None:
    name, _, handle = region
    answer = client.infer(
        MODEL,
        [prompt_in(handle, name, "a lake"), *size()],
        outputs=[output_in(name, "image", SEGMENT_BYTES - 4096, 4096)],
        client_timeout=PATIENCE_S,
    )
    shape = list(answer.get_output("image").shape)
    (image,) = shm.get_contents_as_numpy(handle, np.object_, shape, offset=4096).reshape(-1)
    assert picture(image).size == (SIDE, SIDE)


def test_a_stream_writes_there_too(client: Client, region: tuple[str, str, Any]) -> None:
    name, _, handle = region
    replies = Replies()
    client.start_stream(replies, stream_timeout=PATIENCE_S)
    client.async_stream_infer(
        MODEL,
        [prompt_in(handle, name, "a lake"), *size()],
        outputs=[output_in(name, "generated_image", SIDE * SIDE * 3, 4096)],
    )
    ((result, error),) = replies.until_final()
    assert error is None
    assert is_final(result)
    assert names(result) == ["generated_image"]
    shape = list(result.get_response().outputs[0].shape)
    assert shm.get_contents_as_numpy(handle, np.uint8, shape, offset=4096).std() > 5
    client.stop_stream()


def test_an_output_that_does_not_fit_says_what_it_needs(
    client: Client, region: tuple[str, str, Any]
) -> None:
    name, _, handle = region
    code, message = code_of(
        lambda: client.infer(
            MODEL,
            [prompt_in(handle, name, "a lake"), *size()],
            outputs=[output_in(name, "generated_image", 100, 4096)],
            client_timeout=PATIENCE_S,
        )
    )
    assert code == "INVALID_ARGUMENT"
    assert "generated_image" in message
    assert str(SIDE * SIDE * 3) in message
    assert "100" in message


def test_a_region_in_use_is_held(client: Client, region: tuple[str, str, Any]) -> None:
    name, _, handle = region
    replies = Replies()
    client.start_stream(replies, stream_timeout=PATIENCE_S)
    client.async_stream_infer(MODEL, [prompt_in(handle, name, "a lake"), *size(side=512)])
    result, error = replies.next()
    assert error is None
    assert "progress" in names(result)
    code, message = code_of(lambda: client.unregister_system_shared_memory(name))
    assert code == "FAILED_PRECONDITION"
    assert name in message
    client.stop_stream()


def test_wrong_registrations_are_refused(client: Client, region: tuple[str, str, Any]) -> None:
    name, key, handle = region
    register = client.register_system_shared_memory
    assert code_of(lambda: register(name, key, 10))[0] == "ALREADY_EXISTS"
    wrong = [
        ("nosuch", 10, 0, "key"),
        ("/../etc/passwd", 10, 0, "key"),
        ("/sem.mine", 10, 0, "key"),
        (key, SEGMENT_BYTES + 1, 0, "byte_size"),
        (key, 2**64 - 1, 2**64 - 1, "byte_size"),
        (key, 0, 0, "byte_size"),
    ]
    for each, byte_size, offset, field in wrong:
        code, message = code_of(
            lambda k=each, b=byte_size, o=offset: register("other", k, b, offset=o)
        )
        assert (code, field in message) == ("INVALID_ARGUMENT", True), message
    prompt = prompt_in(handle, name, "a lake")
    prompt.set_shared_memory("nosuch", 10)
    assert code_of(lambda: client.infer(MODEL, [prompt]))[0] == "NOT_FOUND"
    prompt.set_shared_memory(name, 10, SEGMENT_BYTES)
    code, message = code_of(lambda: client.infer(MODEL, [prompt]))
    assert (code, "prompt" in message) == ("INVALID_ARGUMENT", True)


def test_memory_of_a_gpu_is_not_taken(client: Client) -> None:
    for call in (
        client.get_cuda_shared_memory_status,
        lambda: client.register_cuda_shared_memory("a", b"eHg=", 0, 10),
        lambda: client.unregister_cuda_shared_memory("a"),
    ):
        code, message = code_of(call)
        assert code == "UNIMPLEMENTED"
        assert "shared memory" in message.lower()
