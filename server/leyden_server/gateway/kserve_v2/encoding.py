"""From images and progress to the responses of the protocol. Elements are always raw."""

from collections.abc import Sequence

from leyden_server.gateway.kserve_v2.images import pixels_of
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.signature import OUTPUTS, VERSION
from leyden_server.gateway.kserve_v2.tensors import raw_bytes, raw_numbers
from leyden_server.generations.events import DenoiseProgress, Image, Summary

__all__ = ["add_images", "add_progress", "add_warnings", "response"]


def response(model: str, request_id: str) -> pb.ModelInferResponse:
    """Return a response without outputs."""
    return pb.ModelInferResponse(model_name=model, model_version=VERSION, id=request_id)


async def add_images(
    message: pb.ModelInferResponse, images: Sequence[Image], wanted: frozenset[str]
) -> None:
    """Add the outputs of images, which are of one size, one a row of the batch."""
    count = len(images)
    if "image" in wanted:
        _add(message, "image", (count, 1), raw_bytes([image.data for image in images]))
    if "generated_image" in wanted:
        pixels = b"".join([await pixels_of(image) for image in images])
        shape = (count, images[0].height_px, images[0].width_px, 3)
        _add(message, "generated_image", shape, pixels)
    if "seed" in wanted:
        seeds = raw_numbers("INT64", [image.seed for image in images])
        _add(message, "seed", (count, 1), seeds)


def add_progress(
    message: pb.ModelInferResponse, event: DenoiseProgress, wanted: frozenset[str]
) -> None:
    """Add the outputs of a denoise step; a preview only where the step has one."""
    if "progress" in wanted:
        values = (event.step, event.total_steps, event.remaining_s)
        _add(message, "progress", (1, 3), raw_numbers("FP32", values))
    if "preview" in wanted and event.preview is not None:
        _add(message, "preview", (1, 1), raw_bytes([event.preview.data]))


def add_warnings(message: pb.ModelInferResponse, summaries: Sequence[Summary]) -> None:
    """Say what was ignored or cut, each thing once; no parameter where that is nothing."""
    texts = [f"{w.field}: {w.message}" for summary in summaries for w in summary.warnings]
    if texts:
        message.parameters["warnings"].string_param = "; ".join(dict.fromkeys(texts))


def _add(message: pb.ModelInferResponse, name: str, shape: Sequence[int], data: bytes) -> None:
    message.outputs.add(name=name, datatype=OUTPUTS[name].datatype, shape=shape)
    message.raw_output_contents.append(data)
