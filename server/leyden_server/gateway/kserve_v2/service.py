"""The table of the service's 20 methods, and those that need no room of their own."""

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import Message

from leyden_server.config import GatewayConfig
from leyden_server.errors import InvalidRequestError, RequestError, UnsupportedError
from leyden_server.gateway.access import account_of
from leyden_server.gateway.kserve_v2.answering import refuse
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.model_description import (
    PLATFORM,
    config_message,
    metadata_message,
)
from leyden_server.gateway.kserve_v2.model_infer import ModelInfer
from leyden_server.gateway.kserve_v2.model_names import ready_model
from leyden_server.gateway.kserve_v2.model_stream_infer import ModelStreamInfer
from leyden_server.gateway.kserve_v2.repository import ModelRepositoryMethods
from leyden_server.gateway.kserve_v2.settings import log_settings, trace_settings
from leyden_server.gateway.kserve_v2.shared_memory import SharedMemory
from leyden_server.gateway.kserve_v2.shared_memory_methods import SharedMemoryMethods
from leyden_server.gateway.kserve_v2.statistics import model_statistics
from leyden_server.gateway.method_handlers import stream_stream, unary_unary
from leyden_server.gateway.parsing import parse
from leyden_server.generations.model_control import ModelControl
from leyden_server.generations.registry import Generations
from leyden_server.metrics.ledger import Ledger

__all__ = ["SERVICE_NAME", "InferenceService"]

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

EXTENSIONS = (
    "model_repository",
    "model_configuration",
    "schedule_policy",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
)
"""Of the protocol, by their names in Triton's documents."""

SHARED_MEMORY = "system_shared_memory"
"""One more, where the config has it."""

Context = grpc.aio.ServicerContext[bytes, Any]
Request = TypeVar("Request", bound=Message)


class InferenceService:
    """Serves `inference.GRPCInferenceService`."""

    def __init__(
        self,
        generations: Generations,
        models: ModelControl,
        config: GatewayConfig,
        counted: Callable[[], Ledger],
    ) -> None:
        """Take the house; `counted` returns what all Gateways of this machine have counted."""
        self._counted = counted
        self._generations = generations
        self._catalog = generations.catalog
        self._models = models
        self._config = config
        self._memory = SharedMemory(is_on=config.shared_memory)
        self._unary = ModelInfer(generations, self._memory, config)
        self._streams = ModelStreamInfer(generations, self._memory, config)

    def handler(self) -> "grpc.GenericRpcHandler[bytes, Any]":
        """Return the handler to add to a server; it takes bytes, as `parsing` says why."""
        answer, repository = self._answer, ModelRepositoryMethods(self._catalog, self._models)
        memory = SharedMemoryMethods(self._memory)
        methods: dict[str, grpc.RpcMethodHandler[bytes, Any]] = {
            "ServerLive": answer(pb.ServerLiveRequest, self._server_live),
            "ServerReady": answer(pb.ServerReadyRequest, self._server_ready),
            "ModelReady": answer(pb.ModelReadyRequest, self._model_ready),
            "ServerMetadata": answer(pb.ServerMetadataRequest, self._server_metadata),
            "ModelMetadata": answer(pb.ModelMetadataRequest, self._model_metadata),
            "ModelInfer": unary_unary(self._unary.model_infer, refused=self._unary.refused),
            "ModelStreamInfer": stream_stream(self._streams.model_stream_infer),
            "ModelConfig": answer(pb.ModelConfigRequest, self._model_config),
            "ModelStatistics": answer(pb.ModelStatisticsRequest, self._model_statistics),
            "RepositoryIndex": answer(pb.RepositoryIndexRequest, repository.index),
            "RepositoryModelLoad": answer(
                pb.RepositoryModelLoadRequest, repository.load, operators="RepositoryModelLoad"
            ),
            "RepositoryModelUnload": answer(
                pb.RepositoryModelUnloadRequest,
                repository.unload,
                operators="RepositoryModelUnload",
            ),
            "SystemSharedMemoryStatus": answer(
                pb.SystemSharedMemoryStatusRequest, memory.status, shares_memory=True
            ),
            "SystemSharedMemoryRegister": answer(
                pb.SystemSharedMemoryRegisterRequest,
                memory.register,
                operators="SystemSharedMemoryRegister",
                shares_memory=True,
            ),
            "SystemSharedMemoryUnregister": answer(
                pb.SystemSharedMemoryUnregisterRequest,
                memory.unregister,
                operators="SystemSharedMemoryUnregister",
                shares_memory=True,
            ),
            "CudaSharedMemoryStatus": answer(pb.CudaSharedMemoryStatusRequest, _no_gpu_memory),
            "CudaSharedMemoryRegister": answer(pb.CudaSharedMemoryRegisterRequest, _no_gpu_memory),
            "CudaSharedMemoryUnregister": answer(
                pb.CudaSharedMemoryUnregisterRequest, _no_gpu_memory
            ),
            "TraceSetting": answer(
                pb.TraceSettingRequest,
                self._trace_setting,
                operators="TraceSetting",
                operates=_sets_any,
            ),
            "LogSettings": answer(
                pb.LogSettingsRequest,
                self._log_settings,
                operators="LogSettings",
                operates=_sets_any,
            ),
        }
        return grpc.method_handlers_generic_handler(SERVICE_NAME, methods)

    def _answer(
        self,
        kind: type[Request],
        answer: Callable[[Request], Awaitable[Message]],
        *,
        operators: str = "",
        operates: Callable[[Request], bool] = lambda _: True,
        shares_memory: bool = False,
    ) -> "grpc.RpcMethodHandler[bytes, Any]":
        """Return the method that answers a request of `kind`, or says why not.

        `operators`: its name, where it is for them alone; `operates` says of which requests that
        holds. `shares_memory`: it is for those alone
        to whom shared memory is open.
        """

        async def handle(data: bytes, context: Context) -> bytes:
            try:
                if shares_memory:
                    self._memory.require_open(context.peer())
                request = parse(kind, data)
                if operators and operates(request):
                    account_of(context).require_operator(operators)
                return (await answer(request)).SerializeToString()
            except Exception as error:  # noqa: BLE001 - the table maps every one
                await refuse(self._generations.known(error), context)

        return unary_unary(handle)

    def close(self) -> None:
        """Let go of the regions of shared memory; the server has ended."""
        self._memory.close()

    async def _server_live(self, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        ready = self._catalog.is_ready and not self._generations.is_leaving
        return pb.ServerReadyResponse(ready=ready)

    async def _model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        try:
            ready_model(self._catalog, request.name, request.version)
        except InvalidRequestError:
            raise
        except RequestError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=not self._generations.is_leaving)

    async def _server_metadata(self, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(
            name=PLATFORM,
            version=version("leyden"),
            extensions=(*EXTENSIONS, *([SHARED_MEMORY] if self._config.shared_memory else [])),
        )

    async def _model_metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        return metadata_message(ready_model(self._catalog, request.name, request.version).model)

    async def _model_config(self, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        model = ready_model(self._catalog, request.name, request.version).model
        return pb.ModelConfigResponse(config=config_message(model, self._config.max_image_count))

    async def _model_statistics(
        self, request: pb.ModelStatisticsRequest
    ) -> pb.ModelStatisticsResponse:
        return model_statistics(request, self._catalog, self._counted())

    async def _trace_setting(self, request: pb.TraceSettingRequest) -> pb.TraceSettingResponse:
        if request.model_name:
            self._catalog.view(request.model_name)
        return trace_settings(request, self._config)

    async def _log_settings(self, request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
        return log_settings(request)


def _sets_any(request: pb.TraceSettingRequest | pb.LogSettingsRequest) -> bool:
    return len(request.settings) > 0


async def _no_gpu_memory(_: Message) -> NoReturn:
    raise UnsupportedError(
        "CUDA shared memory is not taken: images are encoded from the host's memory, so nothing "
        "would be saved"
    )
