"""What a ModelInferRequest may say: Triton's own answers to the same, and where ours differ."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from support.kserve import infer_request, raw

from leyden_server.errors import RequestError
from leyden_server.gateway.kserve_v2.decoding import Asked, decode
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.shared_memory import SharedMemory
from leyden_server.gateway.status import to_wire
from leyden_server.generations.parameters import GenerationRequest, RequestedPreview

MODEL = "tiny"
PLAIN = GenerationRequest(prompt="x", model=MODEL)
INT64 = pb.InferParameter(int64_param=3)

Change = Callable[[pb.ModelInferRequest], object]


def read(request: pb.ModelInferRequest, *, streams: bool = False, previews: bool = True) -> Asked:
    with SharedMemory(is_on=True).hold("ipv4:127.0.0.1:5") as held:
        return decode(request, held, max_image_count=8, streams=streams, has_previews=previews)


def asked(*outputs: str, streams: bool = False, **inputs: Any) -> Asked:
    return read(infer_request(MODEL, outputs, **{"prompt": "x", **inputs}), streams=streams)


def row(*outputs: str, **inputs: Any) -> GenerationRequest:
    (only,) = asked(*(outputs or ("seed",)), **inputs).rows
    return only


def refusal(request: pb.ModelInferRequest) -> str:
    with pytest.raises(RequestError) as raised:
        read(request)
    wire = to_wire(raised.value)
    assert wire.code is grpc.StatusCode.INVALID_ARGUMENT
    return wire.message


def changed(change: Change) -> pb.ModelInferRequest:
    request = infer_request(MODEL, ["seed"], prompt="x", seed=1)
    change(request)
    return request


def test_every_input_is_a_field() -> None:
    found = row(
        prompt="a café",
        negative_prompt="blur",
        seed=7,
        num_inference_steps=4,
        width_px=256,
        height_px=128,
        image_count=2,
        guidance_scale=1.5,
        output_format="webp",
    )

    assert found == GenerationRequest(
        prompt="a café",
        model=MODEL,
        negative_prompt="blur",
        seed=7,
        num_inference_steps=4,
        width_px=256,
        height_px=128,
        image_count=2,
        guidance_scale=1.5,
        output_format="WEBP",
    )


def test_what_is_left_out_is_the_models_default() -> None:
    assert row() == PLAIN
    assert row(negative_prompt="None", output_format="None") == PLAIN
    assert row(prompt="None").prompt == "None"


def test_each_row_has_its_own_prompt_and_seed() -> None:
    rows = asked("seed", prompt=["a", "b"], negative_prompt=["None", "c"], seed=[5, 4]).rows

    assert [(r.prompt, r.negative_prompt, r.seed) for r in rows] == [("a", "", 5), ("b", "c", 4)]


@pytest.mark.parametrize("seed", [0, 2**53 - 9, 2**53 - 8, -1, -1420042007188224409, -(2**63)])
def test_a_seed_is_its_remainder(seed: int) -> None:
    used = row(seed=seed).seed

    assert used is not None
    assert 0 <= used < 2**53 - 8
    assert (used - seed) % (2**53 - 8) == 0


def test_pixels_are_asked_for_where_nothing_wants_the_file() -> None:
    assert row("generated_image") == replace(PLAIN, pixels=True)
    assert row("generated_image", "image") == PLAIN
    assert row("image") == PLAIN


def test_without_names_the_outputs_are_all_that_the_call_has() -> None:
    assert asked().outputs == {"image", "generated_image", "seed"}
    stream = asked(streams=True)
    assert stream.outputs == {"image", "generated_image", "seed", "progress", "preview"}
    assert stream.rows == (replace(PLAIN, preview=RequestedPreview()),)


def test_previews_of_a_model_that_has_none_are_asked_for_by_name_alone() -> None:
    unnamed = read(infer_request(MODEL, prompt="x"), streams=True, previews=False)
    named = read(infer_request(MODEL, ["preview"], prompt="x"), streams=True, previews=False)

    assert unnamed.rows == (PLAIN,)
    assert named.rows == (replace(PLAIN, preview=RequestedPreview()),)


def test_half_raw_and_half_typed_is_taken() -> None:
    """KServe's own client sends it so; Triton refuses it."""
    request = pb.ModelInferRequest(model_name=MODEL, raw_input_contents=[raw("BYTES", ["x"])])
    request.inputs.add(name="seed", datatype="INT64", shape=[1, 1]).contents.int64_contents.append(
        3
    )
    request.inputs.add(name="prompt", datatype="BYTES", shape=[1, 1])

    assert read(request).rows[0].seed == 3
    assert read(request).rows[0].prompt == "x"


def test_more_raw_entries_than_inputs_are_taken() -> None:
    request = changed(lambda request: request.raw_input_contents.append(b"more"))

    assert read(request).rows[0].seed == 1


def both_ways(request: pb.ModelInferRequest) -> None:
    request.inputs[0].contents.bytes_contents.append(b"x")


def without_the_prompt(request: pb.ModelInferRequest) -> None:
    del request.inputs[0], request.raw_input_contents[0]


def without_inputs(request: pb.ModelInferRequest) -> None:
    del request.inputs[:]


def set_input(index: int, **fields: Any) -> Change:
    def change(request: pb.ModelInferRequest) -> None:
        each = request.inputs[index]
        if "shape" in fields:
            each.shape[:] = fields.pop("shape")
        for name, value in fields.items():
            setattr(each, name, value)

    return change


def with_parameter(name: str, **value: Any) -> Change:
    return lambda request: request.parameters[name].CopyFrom(pb.InferParameter(**value))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (both_ways, "prompt: has both typed contents and an entry of raw_input_contents"),
        (lambda r: r.raw_input_contents.pop(), "seed: has no data"),
        (lambda r: r.outputs.add(name="nosuch"), "outputs: the outputs are image, "),
        (lambda r: r.inputs.append(r.inputs[0]), "prompt: is there twice"),
        (set_input(1, name="nosuch"), "inputs: the inputs are prompt, "),
        (without_the_prompt, "prompt: is required"),
        (without_inputs, "prompt: is required"),
        (set_input(0, datatype="FP32"), "prompt: must be BYTES; got 'FP32'"),
        (set_input(0, shape=[1]), "prompt: must have shape [rows, 1], with 1 to 8 rows; got [1]"),
        (set_input(0, shape=[]), "prompt: must have shape"),
        (set_input(0, shape=[0, 1]), "prompt: must have shape"),
        (set_input(0, shape=[-1, 1]), "prompt: must have shape"),
        (set_input(0, shape=[9, 1]), "prompt: must have shape"),
        (set_input(0, shape=[2**40, 1]), "prompt: must have shape"),
        (set_input(1, shape=[2, 1]), "seed: has 2 rows, where prompt has 1"),
        (lambda r: r.raw_input_contents.__setitem__(0, b""), "prompt: its shape has 1 elements"),
        (
            lambda r: r.raw_input_contents.__setitem__(0, raw("BYTES", [b"\xff"])),
            "prompt: must be UTF-8; byte 0 is not",
        ),
        (
            lambda r: r.outputs[0].parameters["classification"].CopyFrom(INT64),
            "seed: classification is for models that tell classes",
        ),
        (with_parameter("priority", string_param="3"), "priority: must be int64_param or uint64_p"),
        (with_parameter("priority", bool_param=True), "priority: must be int64_param or uint64_p"),
        (with_parameter("priority", int64_param=-3), "priority: 1 (first) to 9, or 0"),
        (with_parameter("timeout", string_param="5"), "timeout: must be int64_param; got string"),
        (with_parameter("timeout", uint64_param=5), "timeout: must be int64_param; got uint64"),
        (with_parameter("triton_x", bool_param=True), "triton_x: names that begin with triton_"),
        (with_parameter("triton_final_response", bool_param=True), "triton_final_response: names"),
        (
            with_parameter("triton_enable_empty_final_response", int64_param=1),
            "triton_enable_empty_final_response: must be a bool_param",
        ),
        (with_parameter("sequence_id", int64_param=1), "sequence_id: there are no sequences here"),
        (with_parameter("sequence_start", bool_param=True), "sequence_start: there are no"),
        (with_parameter("foo"), "foo: has no value"),
    ],
)
def test_what_is_wrong_is_refused_by_name(change: Change, message: str) -> None:
    assert refusal(changed(change)).startswith(message)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("num_inference_steps", [4, 5]),
        ("width_px", [64, 128]),
        ("height_px", [64, 128]),
        ("guidance_scale", [1.0, 1.5]),
        ("output_format", ["PNG", "JPEG"]),
    ],
)
def test_what_all_rows_share_is_one_value(name: str, values: list[Any]) -> None:
    alike: dict[str, Any] = {name: [values[0]] * 2}
    unlike: dict[str, Any] = {name: values}

    assert len(asked("seed", prompt=["a", "b"], **alike).rows) == 2
    message = refusal(infer_request(MODEL, prompt=["a", "b"], **unlike))
    assert message.startswith(f"{name}: must be the same for all rows")


def test_what_is_no_number_in_all_rows_is_left_to_the_rules() -> None:
    """They say what guidance may be; that rows must agree would be no help."""
    rows = asked("seed", prompt=["a", "b"], guidance_scale=[math.nan, math.nan]).rows
    assert [math.isnan(row.guidance_scale or 0.0) for row in rows] == [True, True]


def test_several_rows_have_one_image_each() -> None:
    assert len(asked("seed", prompt=["a", "b"], image_count=[1, 1]).rows) == 2
    message = refusal(infer_request(MODEL, prompt=["a", "b"], image_count=[1, 2]))
    assert message == "image_count: must be 1 or absent where there are 2 rows"


def test_priority_is_taken_as_either_integer_and_timeout_in_microseconds() -> None:
    signed = read(changed(with_parameter("priority", int64_param=3)))
    unsigned = read(changed(with_parameter("priority", uint64_param=3)))

    assert signed.rows[0].priority == unsigned.rows[0].priority == 3
    timed = read(changed(with_parameter("timeout", int64_param=1_500_000)))
    assert timed.parameters.timeout_s == 1.5
    for none in (0, -5):
        request = changed(with_parameter("timeout", int64_param=none))
        assert read(request).parameters.timeout_s is None


def test_a_clients_own_parameters_mean_nothing() -> None:
    request = changed(with_parameter("a", int64_param=1))
    request.parameters["d"].double_param = 0.5

    assert read(request).rows[0].seed == 1


def test_no_prompt_is_repeated_that_stands_where_a_format_should() -> None:
    """`perf_analyzer --string-data` writes one text into every input that is a text."""
    assert row(output_format="bmp").output_format == "bmp"
    assert row(output_format="a lake at dawn").output_format == "another text"
    assert row(output_format="x" * 10_000).output_format == "another text"


@pytest.mark.parametrize("name", ["triton_" + "x" * 10_000, "x" * 10_000])
def test_a_long_name_is_cut_in_its_error(name: str) -> None:
    assert len(refusal(changed(with_parameter(name)))) < 300


def test_a_row_is_named_where_there_are_several() -> None:
    several = asked("seed", prompt=["a", "b"])

    assert several.vocabulary(1).fields["prompt"] == "prompt[1]"
    assert asked("seed").vocabulary(0).fields == {}
