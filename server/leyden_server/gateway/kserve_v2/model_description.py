"""What a model is, as ModelMetadata and ModelConfig say it."""

from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.inference import model_config_pb2 as config_pb
from leyden_server.gateway.kserve_v2.signature import INPUTS, OUTPUTS, VERSION, TensorSpec
from leyden_server.generations.rules import MAX_PRIORITY
from leyden_server.model_repository import ResolvedModel
from leyden_server.service_order import DEFAULT_PRIORITY

__all__ = ["PLATFORM", "config_message", "metadata_message"]

PLATFORM = "leyden"

DATA_TYPES = {
    "BYTES": config_pb.TYPE_STRING,
    "UINT8": config_pb.TYPE_UINT8,
    "INT32": config_pb.TYPE_INT32,
    "INT64": config_pb.TYPE_INT64,
    "FP32": config_pb.TYPE_FP32,
}


def metadata_message(model: ResolvedModel) -> pb.ModelMetadataResponse:
    """Return a model's tensors; their shapes have the batch's dimension."""
    message = pb.ModelMetadataResponse(name=model.name, versions=[VERSION], platform=PLATFORM)
    for name, spec in INPUTS.items():
        message.inputs.add(name=name, datatype=spec.datatype, shape=(-1, *spec.dims))
    for name, spec in _outputs(model).items():
        message.outputs.add(name=name, datatype=spec.datatype, shape=(-1, *spec.dims))
    return message


def config_message(model: ResolvedModel, max_image_count: int) -> config_pb.ModelConfig:
    """Return a model's configuration; dimensions are without the batch's."""
    message = config_pb.ModelConfig(
        name=model.name,
        platform=PLATFORM,
        backend=PLATFORM,
        version_policy=config_pb.ModelVersionPolicy(
            latest=config_pb.ModelVersionPolicy.Latest(num_versions=1)
        ),
        max_batch_size=max_image_count,
        dynamic_batching=config_pb.ModelDynamicBatching(
            priority_levels=MAX_PRIORITY, default_priority_level=DEFAULT_PRIORITY
        ),
        model_transaction_policy=config_pb.ModelTransactionPolicy(decoupled=True),
    )
    for name, spec in INPUTS.items():
        message.input.add(
            name=name,
            data_type=DATA_TYPES[spec.datatype],
            dims=spec.dims,
            optional=spec.is_optional,
        )
    for name, spec in _outputs(model).items():
        message.output.add(name=name, data_type=DATA_TYPES[spec.datatype], dims=spec.dims)
    for name, value in _limits(model).items():
        message.parameters[name].string_value = f"{value:g}"
    return message


def _outputs(model: ResolvedModel) -> dict[str, TensorSpec]:
    has_previews = model.preview is not None
    return {name: spec for name, spec in OUTPUTS.items() if has_previews or name != "preview"}


def _limits(model: ResolvedModel) -> dict[str, float]:
    """Return defaults and limits, by the names that GetModel has for them."""
    return {
        "default_width_px": model.width_px,
        "default_height_px": model.height_px,
        "min_size_px": model.min_size_px,
        "max_size_px": model.max_size_px,
        "size_multiple_px": model.vae_scale_factor,
        "default_num_inference_steps": model.steps.default,
        "min_num_inference_steps": model.steps.min,
        "max_num_inference_steps": model.steps.max,
        "default_guidance_scale": model.default_guidance_scale,
        "min_guidance_scale": model.min_guidance_scale,
        "max_guidance_scale": model.max_guidance_scale,
    }
