"""From what the server does to the messages of `leyden.v1`."""

from leyden.v1 import model_service_pb2 as pb
from leyden_server.gateway.status import set_duration
from leyden_server.generations.server_state import GatewayReport, ServerState, StageState

__all__ = ["server_state_message"]

KINDS = {
    "text_encoder": pb.STAGE_KIND_TEXT_ENCODER,
    "denoiser": pb.STAGE_KIND_DENOISER,
    "vae": pb.STAGE_KIND_VAE,
}


def server_state_message(state: ServerState) -> pb.GetServerStateResponse:
    """Return what the server does as GetServerState says it."""
    return pb.GetServerStateResponse(
        stages=[_stage(stage) for stage in state.stages],
        gateways=[_gateway(gateway) for gateway in state.gateways],
        bottleneck=state.bottleneck.name,
        bottleneck_reason=state.bottleneck.reason,
    )


def _stage(stage: StageState) -> pb.StageState:
    return pb.StageState(
        name=stage.name,
        kind=KINDS[stage.kind],
        models=stage.models,
        running_replicas=stage.running_replicas,
        wanted_replicas=stage.wanted_replicas,
        running_count=stage.running,
        waiting_count=stage.waiting,
        busy_share=stage.busy_share,
        problem=stage.problem,
    )


def _gateway(gateway: GatewayReport) -> pb.GatewayState:
    message = pb.GatewayState(
        replica=gateway.replica,
        draining=gateway.is_draining,
        open_stream_count=gateway.open_streams,
        waiting_image_count=sum(gateway.waiting_images.values()),
    )
    set_duration(message.uptime_duration, gateway.uptime_s)
    return message
