"""Health and reflection, through the standard clients of both."""

import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from server.conftest import KINDS
from support.patience import PATIENCE_S
from support.running_server import RunningServer

SERVICES = [
    "leyden.v1.ImageGenerationService",
    "leyden.v1.ModelService",
    "inference.GRPCInferenceService",
]

pytestmark = pytest.mark.parametrize("server", KINDS, indirect=True)


def test_health_is_serving_for_the_server_and_each_service(server: RunningServer) -> None:
    health = health_pb2_grpc.HealthStub(server.channel)
    for service in ["", *SERVICES]:
        reply = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_describes_the_services(server: RunningServer) -> None:
    database = ProtoReflectionDescriptorDatabase(server.channel)
    assert {*SERVICES, "grpc.health.v1.Health"} <= set(database.get_services())
    pool = DescriptorPool(database)
    method = pool.FindServiceByName(SERVICES[0]).FindMethodByName("GenerateImage")
    fields = method.input_type.fields_by_name
    assert {"prompt", "num_inference_steps", "request_id"} <= set(fields)
    method = pool.FindServiceByName(SERVICES[2]).FindMethodByName("ModelConfig")
    config = method.output_type.fields_by_name["config"].message_type
    assert config is not None
    assert config.full_name == "inference.ModelConfig"
