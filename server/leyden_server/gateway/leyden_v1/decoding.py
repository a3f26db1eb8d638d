"""From the messages of `leyden.v1` to what the house understands."""

import math
from collections.abc import Mapping

from google.protobuf.duration_pb2 import Duration

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_server.generations.parameters import GenerationRequest, RequestedPreview
from leyden_server.generations.rules import Vocabulary

__all__ = ["FORMAT_OF_WIRE", "SOLVER_OF_WIRE", "VOCABULARY", "generation_request"]

SOLVER_OF_WIRE: Mapping[pb.Solver.ValueType, str] = {
    pb.SOLVER_UNSPECIFIED: "",
    pb.SOLVER_EULER: "euler",
    pb.SOLVER_EULER_ANCESTRAL: "euler_ancestral",
    pb.SOLVER_LCM: "lcm",
    pb.SOLVER_TCD: "tcd",
    pb.SOLVER_DPMPP_2M: "dpmpp_2m",
    pb.SOLVER_DPMPP_2M_SDE: "dpmpp_2m_sde",
}
FORMAT_OF_WIRE: Mapping[pb.OutputFormat.ValueType, str] = {
    pb.OUTPUT_FORMAT_UNSPECIFIED: "",
    pb.OUTPUT_FORMAT_PNG: "PNG",
    pb.OUTPUT_FORMAT_JPEG: "JPEG",
    pb.OUTPUT_FORMAT_WEBP: "WEBP",
}

VOCABULARY = Vocabulary(
    solvers={name: pb.Solver.Name(wire) for wire, name in SOLVER_OF_WIRE.items() if name},
    formats={name: pb.OutputFormat.Name(wire) for wire, name in FORMAT_OF_WIRE.items() if name},
)
"""Our fields have the proto's names; enum values have longer ones there."""


def generation_request(request: pb.GenerateImageRequest) -> GenerationRequest:
    """Read a request; an enum value that nobody knows keeps its number, which no rule allows."""
    return GenerationRequest(
        prompt=request.prompt,
        model=request.model,
        negative_prompt=request.negative_prompt,
        seed=request.seed if request.HasField("seed") else None,
        width_px=request.width_px,
        height_px=request.height_px,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale if request.HasField("guidance_scale") else None,
        solver=SOLVER_OF_WIRE.get(request.solver, str(request.solver)),
        image_count=request.image_count,
        output_format=_format(request.output_format),
        output_quality=request.output_quality,
        preview=_preview(request.preview) if request.HasField("preview") else None,
        request_id=request.request_id,
        linger_s=_seconds(request.linger_duration),
        priority=request.priority,
    )


def _preview(preview: pb.PreviewOptions) -> RequestedPreview:
    return RequestedPreview(preview.size_px, preview.every_steps, _format(preview.format))


def _format(wire: pb.OutputFormat.ValueType) -> str:
    return FORMAT_OF_WIRE.get(wire, str(wire))


def _seconds(duration: Duration) -> float:
    # A Duration's parts have one sign; of others the sum is taken, and NaN there is none.
    return math.fsum((duration.seconds, duration.nanos / 1e9))
