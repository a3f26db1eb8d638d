"""From a ModelInferRequest to what the house understands: a request for each of its rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.parameters import RequestParameters, request_parameters
from leyden_server.gateway.kserve_v2.regions import slice_of
from leyden_server.gateway.kserve_v2.shared_memory import HeldRegions, Slice
from leyden_server.gateway.kserve_v2.signature import INPUTS, OUTPUTS, STREAMED_ONLY, TensorSpec
from leyden_server.gateway.kserve_v2.tensors import Values, raw_values, typed_values
from leyden_server.gateway.parsing import invalid
from leyden_server.generations.parameters import GenerationRequest, RequestedPreview
from leyden_server.generations.rules import FORMATS, MAX_SEED, Vocabulary

__all__ = ["Asked", "decode"]

Input = pb.ModelInferRequest.InferInputTensor

NONE = b"None"
"""What an optional text is that was left out in Python: an array of None says so by its name."""

MAX_FORMAT_CHARS = 8

SAME_FOR_ALL = ("num_inference_steps", "width_px", "height_px", "guidance_scale", "output_format")
"""Inputs that have one value, whatever the number of rows."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request comes to."""

    rows: tuple[GenerationRequest, ...]
    """A generation each."""
    outputs: frozenset[str]
    """Those that are wanted and that the call has."""
    regions: Mapping[str, Slice]
    """Where those of them go that do not go into the responses."""
    parameters: RequestParameters
    id: str

    def vocabulary(self, row: int) -> Vocabulary:
        """Return what the inputs of a row are called: the row is named where there are several."""
        if len(self.rows) == 1:
            return Vocabulary()
        return Vocabulary(fields={name: f"{name}[{row}]" for name in INPUTS})


def decode(
    request: pb.ModelInferRequest,
    held: HeldRegions,
    *,
    max_image_count: int,
    streams: bool,
    has_previews: bool,
) -> Asked:
    """Read a request.

    Args:
        request: as it came.
        held: the shared memory that it may use.
        max_image_count: most rows, and most images of a row.
        streams: whether it came by ModelStreamInfer.
        has_previews: whether the model makes previews.

    Raises:
        InvalidRequestError: an input, output or parameter is wrong; it is named.
        RequestError: of `held`.

    """
    parameters = request_parameters(request.parameters)
    outputs = _outputs(request.outputs, streams=streams, has_previews=has_previews)
    regions = _regions(request.outputs, outputs, held)
    columns = _columns(request, held, max_image_count)
    count = len(columns["prompt"])
    for name in SAME_FOR_ALL:
        values = columns.get(name, ())
        if not _are_one(values):
            raise invalid(name, "must be the same for all rows of a request; send several requests")
    if count > 1 and any(value not in {0, 1} for value in columns.get("image_count", ())):
        raise invalid("image_count", f"must be 1 or absent where there are {count} rows")

    def row(index: int) -> GenerationRequest:
        return _row(
            {name: values[index] for name, values in columns.items()},
            model=request.model_name,
            priority=parameters.priority,
            outputs=outputs,
            seeds=MAX_SEED - max_image_count,
        )

    return Asked(tuple(map(row, range(count))), outputs, regions, parameters, request.id)


def _row(
    values: Mapping[str, Any], *, model: str, priority: int, outputs: frozenset[str], seeds: int
) -> GenerationRequest:
    return GenerationRequest(
        prompt=_text("prompt", values["prompt"]),
        model=model,
        negative_prompt=_optional_text("negative_prompt", values),
        # Any seed of the wire's is taken: perf_analyzer sends one that is negative.
        seed=values["seed"] % seeds if "seed" in values else None,
        width_px=values.get("width_px", 0),
        height_px=values.get("height_px", 0),
        num_inference_steps=values.get("num_inference_steps", 0),
        guidance_scale=values.get("guidance_scale"),
        image_count=values.get("image_count", 0),
        output_format=_format(_optional_text("output_format", values)),
        pixels="generated_image" in outputs and "image" not in outputs,
        preview=RequestedPreview() if "preview" in outputs else None,
        priority=priority,
    )


def _are_one(values: Values) -> bool:
    """Return whether all values are the same; NaN is itself, and refused by the rules."""
    return all(value == values[0] or str(value) == str(values[0]) for value in values)


def _outputs(
    asked: Sequence[pb.ModelInferRequest.InferRequestedOutputTensor],
    *,
    streams: bool,
    has_previews: bool,
) -> frozenset[str]:
    """Return the outputs that are wanted and that the call has: of no names, all that it has."""
    for output in asked:
        if output.name not in OUTPUTS:
            raise invalid(
                "outputs", f"the outputs are {', '.join(OUTPUTS)}; got {output.name[:100]!r}"
            )
        if "classification" in output.parameters:
            raise invalid(output.name, "classification is for models that tell classes")
    all_of_them = OUTPUTS if has_previews else OUTPUTS.keys() - {"preview"}
    wanted = frozenset(output.name for output in asked) or frozenset(all_of_them)
    # A client that names all outputs of the metadata, as perf_analyzer does, names these too.
    return wanted if streams else wanted - STREAMED_ONLY


def _regions(
    asked: Sequence[pb.ModelInferRequest.InferRequestedOutputTensor],
    wanted: frozenset[str],
    held: HeldRegions,
) -> dict[str, Slice]:
    """Return where outputs go, each seen to be there, and held."""
    slices = {each.name: slice_of(each) for each in asked if each.name in wanted}
    regions = {name: where for name, where in slices.items() if where is not None}
    for where in regions.values():
        held.reserve(where)
    return regions


def _columns(request: pb.ModelInferRequest, held: HeldRegions, max_rows: int) -> dict[str, Values]:
    """Return the values of each input, one a row."""
    rows = _rows(request.inputs, max_rows)
    if "prompt" not in {each.name for each in request.inputs}:
        raise invalid("prompt", "is required")
    columns: dict[str, Values] = {}
    for each, data in _data(request, held):
        datatype = INPUTS[each.name].datatype
        columns[each.name] = (
            typed_values(each.name, datatype, rows, each.contents)
            if data is None
            else raw_values(each.name, datatype, rows, data)
        )
    return columns


def _rows(inputs: Sequence[Input], max_rows: int) -> int:
    """Return the number of rows, having seen that each input is known, once, and of its shape."""
    seen: dict[str, int] = {}
    for each in inputs:
        spec = INPUTS.get(each.name)
        if spec is None:
            raise invalid("inputs", f"the inputs are {', '.join(INPUTS)}; got {each.name[:100]!r}")
        if each.name in seen:
            raise invalid(each.name, "is there twice")
        seen[each.name] = _rows_of(each, spec, max_rows)
    first = next(iter(seen), "")
    for name, rows in seen.items():
        if rows != seen[first]:
            raise invalid(name, f"has {rows} rows, where {first} has {seen[first]}")
    return seen[first] if seen else 0


def _rows_of(each: Input, spec: TensorSpec, max_rows: int) -> int:
    if each.datatype != spec.datatype:
        raise invalid(each.name, f"must be {spec.datatype}; got {each.datatype[:100]!r}")
    shape = list(each.shape)
    if shape[1:] != list(spec.dims) or not 1 <= shape[0] <= max_rows:
        raise invalid(
            each.name, f"must have shape [rows, 1], with 1 to {max_rows} rows; got {shape[:8]}"
        )
    return shape[0]


def _data(request: pb.ModelInferRequest, held: HeldRegions) -> Iterator[tuple[Input, bytes | None]]:
    """Yield each input and its raw bytes; None: its elements are typed.

    The raw entries belong, in order, to the inputs that neither have typed elements nor lie in
    shared memory: KServe's own client sends half of them raw and half typed, which Triton
    refuses. As there, entries that are left over mean nothing where every input has one of its own.
    """
    slices = {each.name: slice_of(each) for each in request.inputs}
    typed = [each.name for each in request.inputs if each.contents.ListFields()]
    elsewhere = {*typed, *(name for name, where in slices.items() if where is not None)}
    raw = request.raw_input_contents
    if typed and len(raw) > len(request.inputs) - len(elsewhere):
        raise invalid(
            typed[0], "has both typed contents and an entry of raw_input_contents; send one"
        )
    entries = iter(raw)
    for each in request.inputs:
        where = slices[each.name]
        if where is not None:
            if each.name in typed:
                raise invalid(each.name, "has both typed contents and shared memory; send one")
            yield each, held.read(where)
            continue
        if each.contents.ListFields():
            yield each, None
            continue
        data = next(entries, None)
        if data is None:
            raise invalid(
                each.name,
                f"has no data: no contents, and raw_input_contents has but {len(raw)} entries",
            )
        yield each, data


def _format(text: str) -> str:
    """Return a format by the house's name; what is none is repeated only where it is like one.

    What is wrong stands in errors and in the log, where no prompt may stand, and perf_analyzer
    writes one text into all inputs that are texts.
    """
    if text.upper() in FORMATS:
        return text.upper()
    looks_like_one = len(text) <= MAX_FORMAT_CHARS and text.isalnum()
    return text if looks_like_one or not text else "another text"


def _optional_text(name: str, values: Mapping[str, Any]) -> str:
    value = values.get(name, b"")
    return "" if value == NONE else _text(name, value)


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise invalid(name, f"must be UTF-8; byte {error.start} is not") from error
