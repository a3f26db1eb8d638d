"""What a server does, and which stage holds up the others."""

from dataclasses import replace

import pytest
from support.gateways import generate, held, let, read, until
from support.house import StubTextEncoder, StubVae, house

from leyden.v1 import model_service_pb2 as pb
from leyden.v1 import model_service_pb2_grpc as pb_grpc
from leyden_server.generations.server_state import StageState, bottleneck
from leyden_server.stages.contract import ReplicaState

TEXT = StageState("text", "text_encoder", ("a", "b"), 1, 1, 0, 0, 0.1, "", starts=False)
UNET = replace(TEXT, name="unet", kind="denoiser", models=("a",))
VAE = replace(TEXT, name="vae", kind="vae")


@pytest.mark.parametrize(
    ("changed", "name", "reason"),
    [
        (
            replace(UNET, busy_share=0.974, waiting=12),
            "unet",
            "unet ran for 97% of the last 10 s, and 12 images wait for it. The next is text "
            "with 10%.",
        ),
        (
            replace(UNET, busy_share=0.974),
            "unet",
            "unet ran for 97% of the last 10 s, and nothing waits for it. The next is text "
            "with 10%.",
        ),
        (
            replace(UNET, busy_share=0.3),
            "",
            "Nothing waits; unet ran for 30% of the last 10 s, more than any other stage.",
        ),
        (
            replace(UNET, busy_share=None, starts=True, waiting=1),
            "unet",
            "unet has no running replica yet, and 1 image waits for it.",
        ),
        (
            replace(UNET, busy_share=None, problem="unet has had no replica for 60 s"),
            "unet",
            "unet has had no replica for 60 s.",
        ),
    ],
)
def test_the_bottleneck_is_named_with_its_reason(
    changed: StageState, name: str, reason: str
) -> None:
    found = bottleneck([TEXT, changed, VAE])
    assert (found.name, found.reason) == (name, reason)


def test_without_a_model_there_is_no_bottleneck() -> None:
    assert bottleneck([]).reason == "No model is loaded."


async def test_replicas_are_added_up_and_the_line_counts() -> None:
    denoiser = held()
    denoiser.name = "unet"
    denoiser.states = (ReplicaState("unet#1", 1.0, 1, 0), ReplicaState("unet#2", 0.5, 2, 0))
    text_encoder, vae = StubTextEncoder(name="text"), StubVae(name="vae")
    async with house(denoiser=denoiser, text_encoder=text_encoder, vae=vae) as home:
        models = pb_grpc.ModelServiceStub(home.channel)
        call = generate(home, image_count=3)
        await until(lambda: denoiser.running)
        state = await models.GetServerState(pb.GetServerStateRequest())
        text, unet, decoder = state.stages
        assert (text.name, unet.name, decoder.name) == ("text", "unet", "vae")
        assert (unet.kind, list(unet.models)) == (
            pb.STAGE_KIND_DENOISER,
            ["leyden-tiny-lightning-4step"],
        )
        assert (unet.running_count, unet.busy_share) == (3, 0.75)
        assert not text.HasField("busy_share")
        (gateway,) = state.gateways
        assert gateway.replica == "gateway#1"
        assert gateway.open_stream_count == 1
        assert not gateway.draining
        assert gateway.uptime_duration.ToNanoseconds() > 0
        assert gateway.waiting_image_count == unet.waiting_count
        let(home)
        assert await read(call)
        state = await models.GetServerState(pb.GetServerStateRequest())
        assert state.gateways[0].waiting_image_count == 0
        assert state.bottleneck == "unet"
