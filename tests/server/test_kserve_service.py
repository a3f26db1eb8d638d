"""Health, descriptions, the index, settings and statistics of KServe v2, by a plain client."""

from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from server.conftest import ABSENT, BASE, LIGHTNING, RANDOM
from support.kserve import infer_request, refusal, stub_of
from support.patience import PATIENCE_S
from support.running_server import RunningServer, details_of

from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.inference import model_config_pb2 as config_pb


@pytest.fixture
def inference(server: RunningServer) -> Any:
    return stub_of(server.channel)


def test_the_server_is_live_and_ready(inference: Any) -> None:
    assert inference.ServerLive(pb.ServerLiveRequest(), timeout=PATIENCE_S).live
    assert inference.ServerReady(pb.ServerReadyRequest(), timeout=PATIENCE_S).ready


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [
        (LIGHTNING, "", True),
        (LIGHTNING, "1", True),
        (LIGHTNING, "7", False),
        (ABSENT, "", False),
        ("nosuch", "", False),
        ("", "", False),
    ],
)
def test_what_is_not_there_is_not_ready_and_no_error(
    inference: Any, name: str, version: str, ready: bool
) -> None:
    asked = pb.ModelReadyRequest(name=name, version=version)
    assert inference.ModelReady(asked, timeout=PATIENCE_S).ready is ready


def test_a_version_that_is_none_is_an_error_even_so(inference: Any) -> None:
    error = refusal(inference.ModelReady, pb.ModelReadyRequest(name=LIGHTNING, version="x"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_server_says_what_it_is(inference: Any) -> None:
    answer = inference.ServerMetadata(pb.ServerMetadataRequest(), timeout=PATIENCE_S)
    assert answer.name == "leyden"
    assert answer.version
    assert {"model_repository", "binary_tensor_data", "parameters"} <= set(answer.extensions)
    assert "cuda_shared_memory" not in answer.extensions


def test_metadata_and_config_agree(inference: Any) -> None:
    metadata = inference.ModelMetadata(pb.ModelMetadataRequest(name=BASE), timeout=PATIENCE_S)
    asked = pb.ModelConfigRequest(name=BASE, version="1")
    config = inference.ModelConfig(asked, timeout=PATIENCE_S).config

    assert (metadata.name, list(metadata.versions)) == (BASE, ["1"])
    inputs = {each.name: (each.datatype, list(each.shape)) for each in metadata.inputs}
    assert inputs == {
        "prompt": ("BYTES", [-1, 1]),
        "negative_prompt": ("BYTES", [-1, 1]),
        "seed": ("INT64", [-1, 1]),
        "num_inference_steps": ("INT32", [-1, 1]),
        "width_px": ("INT32", [-1, 1]),
        "height_px": ("INT32", [-1, 1]),
        "image_count": ("INT32", [-1, 1]),
        "guidance_scale": ("FP32", [-1, 1]),
        "output_format": ("BYTES", [-1, 1]),
    }
    outputs = {each.name: (each.datatype, list(each.shape)) for each in metadata.outputs}
    assert outputs == {
        "image": ("BYTES", [-1, 1]),
        "generated_image": ("UINT8", [-1, -1, -1, 3]),
        "seed": ("INT64", [-1, 1]),
        "progress": ("FP32", [-1, 3]),
        "preview": ("BYTES", [-1, 1]),
    }
    assert {each.name for each in config.input if not each.optional} == {"prompt"}
    for described, tensors in ((config.input, inputs), (config.output, outputs)):
        for each in described:
            kind = config_pb.DataType.Name(each.data_type).removeprefix("TYPE_")
            datatype, shape = tensors[each.name]
            assert kind == {"BYTES": "STRING"}.get(datatype, datatype)
            assert [-1, *each.dims] == shape
    assert (config.name, config.max_batch_size) == (BASE, 8)
    assert config.model_transaction_policy.decoupled
    assert config.parameters["default_width_px"].string_value == "256"


def test_a_model_without_previews_has_no_such_output(inference: Any) -> None:
    metadata = inference.ModelMetadata(pb.ModelMetadataRequest(name=RANDOM), timeout=PATIENCE_S)
    assert "preview" not in {each.name for each in metadata.outputs}


def test_the_index_has_every_model_and_its_state(inference: Any) -> None:
    everything = inference.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=PATIENCE_S).models
    asked = pb.RepositoryIndexRequest(ready=True)
    ready = inference.RepositoryIndex(asked, timeout=PATIENCE_S).models

    states = {each.name: (each.version, each.state) for each in everything}
    assert states[LIGHTNING] == ("1", "READY")
    assert states[ABSENT] == ("", "UNAVAILABLE")
    assert states["leyden-tiny-lightning-8step"] == ("", "")  # nobody asked for it
    assert next(each.reason for each in everything if each.name == ABSENT)
    assert {LIGHTNING, BASE, RANDOM} <= {each.name for each in ready}
    assert {each.state for each in ready} == {"READY"}
    error = refusal(inference.RepositoryIndex, pb.RepositoryIndexRequest(repository_name="x"))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("name", ["config", "file:1/model.onnx"])
def test_a_model_is_not_taken_from_a_request(inference: Any, name: str) -> None:
    request = pb.RepositoryModelLoadRequest(model_name=LIGHTNING)
    request.parameters[name].string_param = "{}"

    error = refusal(inference.RepositoryModelLoad, request)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(error)[BadRequest].field_violations[0].field == name
    assert str(error.details()).startswith(f"{name}: ")


def test_a_model_that_is_ready_is_loaded(inference: Any) -> None:
    request = pb.RepositoryModelLoadRequest(model_name=LIGHTNING)
    assert inference.RepositoryModelLoad(request, timeout=PATIENCE_S) is not None


def test_the_settings_are_read_and_name_no_file(inference: Any) -> None:
    traces = inference.TraceSetting(pb.TraceSettingRequest(), timeout=PATIENCE_S).settings
    logs = inference.LogSettings(pb.LogSettingsRequest(), timeout=PATIENCE_S).settings
    assert set(traces["trace_file"].value) <= {""}
    assert logs["log_file"].string_param == ""
    assert logs["log_error"].bool_param

    trace, log = pb.TraceSettingRequest(), pb.LogSettingsRequest()
    trace.settings["trace_file"].value.append("/tmp/x")
    log.settings["log_file"].string_param = "/tmp/x"
    for call, request, name in (
        (inference.TraceSetting, trace, "trace_file"),
        (inference.LogSettings, log, "log_file"),
    ):
        error = refusal(call, request)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert str(error.details()).startswith(f"{name}: ")


def test_a_setting_is_not_changed_and_no_unknown_one_taken(inference: Any) -> None:
    changed, unknown = pb.LogSettingsRequest(), pb.LogSettingsRequest()
    changed.settings["log_info"].bool_param = False
    unknown.settings["log_colour"].string_param = "blue"
    for request, name in ((changed, "log_info"), (unknown, "log_colour")):
        error = refusal(inference.LogSettings, request)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert str(error.details()).startswith(f"{name}: ")


def test_statistics_are_of_loaded_models(inference: Any) -> None:
    every = inference.ModelStatistics(pb.ModelStatisticsRequest(), timeout=PATIENCE_S).model_stats
    assert {LIGHTNING, BASE, RANDOM} <= {each.name for each in every}
    assert ABSENT not in {each.name for each in every}
    asked = pb.ModelStatisticsRequest(name=LIGHTNING, version="1")
    (one,) = inference.ModelStatistics(asked, timeout=PATIENCE_S).model_stats
    assert (one.name, one.version) == (LIGHTNING, "1")
    for name in ("nosuch", ABSENT):
        error = refusal(inference.ModelStatistics, pb.ModelStatisticsRequest(name=name))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("method", ["Status", "Register", "Unregister"])
def test_gpu_memory_is_not_taken(inference: Any, method: str) -> None:
    call = getattr(inference, f"CudaSharedMemory{method}")
    error = refusal(call, getattr(pb, f"CudaSharedMemory{method}Request")())
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "CUDA" in str(error.details())


def test_errors_carry_the_details_of_the_native_protocol(inference: Any) -> None:
    error = refusal(inference.ModelInfer, infer_request(LIGHTNING, prompt="x", width_px=3))
    details = details_of(error)
    assert details[ErrorInfo].domain == "leyden"
    assert details[BadRequest].field_violations[0].field == "width_px"


def test_all_methods_of_the_protocol_are_there(server: RunningServer) -> None:
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert len(service.methods) == 20
    for method in service.methods:
        if method.client_streaming:
            continue
        call = server.channel.unary_unary(f"/{service.full_name}/{method.name}")
        error = refusal(call, b"\xff\xff\xff")  # no message is so
        shares_memory = "SharedMemory" in method.name and "Cuda" not in method.name
        code = grpc.StatusCode.UNIMPLEMENTED if shares_memory else grpc.StatusCode.INVALID_ARGUMENT
        assert error.code() is code, method.name
        assert details_of(error)[ErrorInfo].domain == "leyden"
