"""Forty requests, good and bad, that are sent to both servers: one table."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import service_pb2 as pb

__all__ = ["CASES", "Case"]

MODEL = "MODEL"
"""Stands for the model's name on each server."""

Value = tuple[str, list[int], bytes]
"""A tensor: datatype, shape, raw contents."""


@dataclass(frozen=True, slots=True)
class Case:
    """A request under a name, which the table of differences has too."""

    name: str
    request: pb.ModelInferRequest
    streams: bool = False
    """Whether it is sent by ModelStreamInfer."""
    decoupled: bool = False
    """Whether it goes to the model's decoupled form; Leyden's models are all of it."""


def text(*rows: str) -> Value:
    raw = b"".join(struct.pack("<I", len(row.encode())) + row.encode() for row in rows)
    return "BYTES", [len(rows), 1], raw


def int64(*rows: int) -> Value:
    return "INT64", [len(rows), 1], struct.pack(f"<{len(rows)}q", *rows)


def int32(*rows: int) -> Value:
    return "INT32", [len(rows), 1], struct.pack(f"<{len(rows)}i", *rows)


def fp32(*rows: float) -> Value:
    return "FP32", [len(rows), 1], struct.pack(f"<{len(rows)}f", *rows)


def side(*rows: int) -> dict[str, Value]:
    return {"width_px": int32(*rows), "height_px": int32(*rows)}


LAKE = text("a lake")
SMALL = side(64)


def infer(
    inputs: dict[str, Value] | None = None, outputs: tuple[str, ...] = (), **fields: Any
) -> pb.ModelInferRequest:
    """Return a request with raw contents."""
    request = pb.ModelInferRequest(model_name=MODEL, **fields)
    for name, (datatype, shape, raw) in (inputs or {}).items():
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(raw)
    for output in outputs:
        request.outputs.add(name=output)
    return request


def changed(
    change: Callable[[pb.ModelInferRequest], object], inputs: dict[str, Value] | None = None
) -> pb.ModelInferRequest:
    """Return a good request after a change."""
    request = infer({"prompt": LAKE, **SMALL} if inputs is None else inputs)
    change(request)
    return request


def parameter(name: str, **value: Any) -> pb.ModelInferRequest:
    """Return a good request with a parameter."""
    return changed(lambda r: r.parameters[name].CopyFrom(pb.InferParameter(**value)))


def typed(*, prompt_raw: bool = False) -> pb.ModelInferRequest:
    """Return a request with typed contents, or with the prompt's alone raw."""
    request = infer()
    prompt = request.inputs.add(name="prompt", datatype="BYTES", shape=[1, 1])
    if prompt_raw:
        request.raw_input_contents.append(LAKE[2])
    else:
        prompt.contents.bytes_contents.append(b"a lake")
    for name in SMALL:
        request.inputs.add(name=name, datatype="INT32", shape=[1, 1]).contents.int_contents.append(
            64
        )
    return request


def in_region(region: str) -> pb.ModelInferRequest:
    """Return a request whose prompt lies in a region of shared memory."""
    request = infer({"prompt": LAKE})
    del request.raw_input_contents[:]
    for name, value in (
        ("shared_memory_region", pb.InferParameter(string_param=region)),
        ("shared_memory_byte_size", pb.InferParameter(int64_param=10)),
    ):
        request.inputs[0].parameters[name].CopyFrom(value)
    return request


EVERYTHING = {
    "prompt": LAKE,
    "negative_prompt": text("fog"),
    "seed": int64(7),
    "num_inference_steps": int32(4),
    "image_count": int32(1),
    "guidance_scale": fp32(1.5),
    "output_format": text("PNG"),
    **SMALL,
}

CASES = (
    # What is good.
    Case("a prompt alone", infer({"prompt": LAKE})),
    Case("every input", infer(EVERYTHING)),
    Case("typed contents", typed()),
    Case("three rows", infer({"prompt": text("a", "b", "c"), "seed": int64(1, 2, 3)})),
    Case("an output named twice", infer({"prompt": LAKE, **SMALL}, ("seed", "seed"))),
    Case("version 1 and an id", infer({"prompt": LAKE, **SMALL}, model_version="1", id="mine")),
    Case("two images of one row", infer({"prompt": LAKE, "image_count": int32(2), **SMALL})),
    Case("a negative seed", infer({"prompt": LAKE, "seed": int64(-5), **SMALL})),
    Case("priority as uint64", parameter("priority", uint64_param=3)),
    Case("priority as int64", parameter("priority", int64_param=3)),
    Case("a timeout of minutes", parameter("timeout", int64_param=300_000_000)),
    Case("a timeout below 0", parameter("timeout", int64_param=-5)),
    Case("a parameter of one's own", parameter("team", string_param="blue")),
    Case("a stream", infer({"prompt": LAKE, **SMALL}, ("image",)), streams=True, decoupled=True),
    Case("a call of a decoupled model", infer({"prompt": LAKE, **SMALL}), decoupled=True),
    # Inputs that are wrong.
    Case("no inputs", infer()),
    Case("no prompt, but a seed", infer({"seed": int64(1)})),
    Case("an empty prompt", infer({"prompt": text("")})),
    Case("an unknown input", infer({"prompt": LAKE, "colour": text("blue")})),
    Case(
        "an input twice",
        changed(
            lambda r: (r.inputs.add().CopyFrom(r.inputs[0]), r.raw_input_contents.append(LAKE[2]))
        ),
    ),
    Case("another datatype", infer({"prompt": ("FP32", [1, 1], bytes(4))})),
    Case("a shape without rows", infer({"prompt": ("BYTES", [1], LAKE[2])})),
    Case("more rows than max_batch_size", infer({"prompt": text(*"abcdefghi")})),
    Case("inputs of different rows", infer({"prompt": text("a", "b"), "seed": int64(1)})),
    Case("two widths", infer({"prompt": text("a", "b"), **side(64, 128)})),
    Case("a width that is no multiple of 8", infer({"prompt": LAKE, "width_px": int32(65)})),
    Case("an empty raw entry", infer({"prompt": ("BYTES", [1, 1], b"")})),
    Case("a string that is cut short", infer({"prompt": ("BYTES", [1, 1], LAKE[2][:-1])})),
    Case("fewer raw entries than inputs", changed(lambda r: r.raw_input_contents.pop())),
    Case("more raw entries than inputs", changed(lambda r: r.raw_input_contents.append(b""))),
    Case(
        "typed and raw contents of one input",
        changed(lambda r: r.inputs[0].contents.bytes_contents.append(b"a")),
    ),
    Case("one input raw, others typed", typed(prompt_raw=True)),
    Case("a region that nobody registered", in_region("nosuch")),
    # What else is wrong.
    Case("an unknown output", infer({"prompt": LAKE}, ("nosuch",))),
    Case("version 7", infer({"prompt": LAKE}, model_version="7")),
    Case("version x", infer({"prompt": LAKE}, model_version="x")),
    Case("priority 10", parameter("priority", uint64_param=10)),
    Case("priority as a string", parameter("priority", string_param="3")),
    Case("a timeout of 5 µs", parameter("timeout", int64_param=5)),
    Case("a reserved parameter", parameter("triton_x", string_param="a")),
)
