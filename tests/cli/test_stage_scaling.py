"""Gateways share the port; each stage scales by its own load, loses no request on its way down,
and may rest at zero; a drain that runs out says so. The tests go one after another on one server.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from cli.conftest import running
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from support.random_sdxl import write_random_sdxl
from support.running_server import details_of, eventually, request
from support.scaling import OWN_CONNECTION, ScalingServer
from support.scraping import scrape

from leyden.v1 import image_generation_service_pb2_grpc as pb_grpc
from leyden_client import (
    Client,
    Event,
    Generation,
    GenerationCancelledError,
    GenerationNotFoundError,
    ModelState,
    OverloadedError,
    Queued,
    Summary,
)
from leyden_client.options import GenerateOptions
from leyden_server.model_repository.repository import SHIPPED_MODELS

ASKED, UNASKED = "asked", "unasked"
DENOISER, UNASKED_DENOISER = f"leyden-denoiser-{ASKED}", f"leyden-denoiser-{UNASKED}"
TEXT_ENCODER, IMAGE_DECODER = "TextEncoder", "Vae"

# Starts take long where the machine is shared with much else.
pytestmark = pytest.mark.timeout(1200)

SCALING = {
    "min_replicas": 0,
    "max_replicas": 2,
    # A replica that starts takes the cores from all others: that alone must not scale them.
    "upscale_delay_s": 5,
    "downscale_delay_s": 1,
    # Longer than a start, or one stage would rest while its callers wait for the next one.
    "downscale_to_zero_delay_s": 15,
    "num_cpus": 0.1,
}
CONFIG = {
    "models": [ASKED, UNASKED],
    "model_repository": ["models"],
    "gateway": {"port": 0, "replicas": 2, "drain_timeout_s": 0.5},
    # Its prompts are kept, and calls so short are none to Serve: it would send the stage to rest
    # while it is in use, and all others would wait for its start.
    "text_encoder": {**SCALING, "min_replicas": 1},
    "denoiser": {**SCALING, "max_replicas": 3, "measure_batch_rows": False},
    "vae": {**SCALING, "max_batch_images": 1},
}

# With the weights below, on one thread: a step takes 4 ms and decoding some 50 ms, against
# 30 ms and 440 ms. A replica is meant to have four clients: twenty keep three replicas busy also
# where half of a client's time goes elsewhere, as it does on a busy machine.
CLIENTS = 20
MUCH_DENOISING: GenerateOptions = {
    "model": ASKED,
    "width_px": 128,
    "height_px": 128,
    "num_inference_steps": 100,
    "guidance_scale": 0,
}
MUCH_DECODING: GenerateOptions = {
    "model": ASKED,
    "width_px": 384,
    "height_px": 384,
    "num_inference_steps": 1,
    "guidance_scale": 0,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScalingServer]:
    """A server of two models with one base, whose stages all rest when nobody asks."""
    directory = tmp_path_factory.mktemp("scaling")
    (directory / "leyden.yaml").write_text(json.dumps(CONFIG))
    write_models(directory / "models")
    with running(["serve", "--config", "leyden.yaml"], directory) as command:
        address = command.stdout_line().removeprefix("ready: grpc ")
        assert address, command.stderr
        with Client(address) as client:
            yield ScalingServer(command, address, client)


def write_models(folder: Path) -> None:
    write_random_sdxl(
        folder / ASKED,
        tokenizer_from=SHIPPED_MODELS / "leyden-tiny-base",
        block_out_channels=(32, 64),
        vae_block_out_channels=(32, 32, 32, 32),
    )
    (folder / ASKED / "model.yaml").write_text("size: {max_px: 384}\n")
    unet = f"../{ASKED}/unet/diffusion_pytorch_model.safetensors"
    (folder / UNASKED).mkdir()
    (folder / UNASKED / "model.yaml").write_text(f"base: ../{ASKED}\nunet: {unet}\n")


def test_load_on_the_denoiser_scales_the_denoiser_alone(server: ScalingServer) -> None:
    done = grows_and_shrinks(
        server,
        MUCH_DENOISING,
        DENOISER,
        lambda generation: generation.summary.bill.images[0].denoiser_replica,
        most=3,
    )
    gateways = {generation.summary.bill.gateway_replica for generation in done}
    assert len(gateways) == 2, "they share the port"


def test_load_on_the_decoder_scales_the_decoder_alone(server: ScalingServer) -> None:
    grows_and_shrinks(
        server,
        MUCH_DECODING,
        IMAGE_DECODER,
        lambda generation: generation.summary.bill.images[0].image_decoder_replica,
        most=2,
    )


def grows_and_shrinks(
    server: ScalingServer,
    options: GenerateOptions,
    stage: str,
    replica_of: Callable[[Generation], str],
    most: int,
) -> list[Generation]:
    """Raise a load until `most` replicas of a stage have answered, then lower it again."""
    peaks: Counter[str] = Counter()

    def look() -> Counter[str]:
        nonlocal peaks
        replicas = server.replicas()
        peaks |= replicas
        return replicas

    with server.load(CLIENTS, options) as load:

        def all_answer() -> bool:
            look()
            assert not load.errors, load.errors
            return len({replica_of(generation) for generation in list(load.done)}) >= most

        # A start is 10 to 20 s of CPU time; what serves the load meanwhile counts as well.
        server.eventually(all_answer, 600)
        before = len(load.done)
        load.clients = 1
        server.eventually(lambda: look()[stage] == 1, 300)
        server.eventually(lambda: len(load.done) > before + CLIENTS, 300)
    assert not load.errors, load.errors
    assert all(generation.images for generation in load.done)
    assert {generation.summary.retries for generation in load.done} == {0}
    del peaks[UNASKED_DENOISER]
    # Where the load dips, one that is given up may still be ending as its successor starts.
    assert peaks.pop(stage) in {most, most + 1}
    others = {TEXT_ENCODER, DENOISER, IMAGE_DECODER} - {stage}
    assert peaks == dict.fromkeys(others, 1)
    assert server.replicas()[UNASKED_DENOISER] == 0, "nobody asks for it, so it rests"
    return load.done


def test_a_generation_is_watched_and_ended_at_any_gateway(server: ScalingServer) -> None:
    quick: GenerateOptions = {**MUCH_DENOISING, "num_inference_steps": 1}
    with ExitStack() as stack:
        by_gateway: dict[str, Client] = {}
        for _ in range(64):  # the kernel gives each connection to one of the two, by chance
            client = stack.enter_context(Client(server.address, channel_options=OWN_CONNECTION))
            bill = client.generate_image("a lake", **quick).summary.bill
            by_gateway.setdefault(bill.gateway_replica, client)
            if len(by_gateway) == 2:
                break
        here, there = by_gateway.values()
        request_id = here.start_image("a lake", **MUCH_DENOISING)
        watched = [list(client.watch(request_id)) for client in (there, here)]
        assert watched[0] == watched[1], "the same events, with the same indices"
        summary = watched[0][-1]
        assert isinstance(summary, Summary)
        assert summary.request_id == request_id
        assert by_gateway[summary.bill.gateway_replica] is here

        unwanted = here.start_image("a lake", **MUCH_DENOISING)
        there.cancel(unwanted)
        with pytest.raises(GenerationCancelledError) as raised:
            list(here.watch(unwanted))
        assert raised.value.reason == "CANCELLED_BY_REQUEST"
        with pytest.raises(GenerationNotFoundError):
            there.cancel("nobody-knows-it")


def known_replicas(server: ScalingServer) -> float:
    """Return how many replicas of what rests the Gateways know of: a look ago they may have run."""
    address = re.search(r"metrics: (\S+)", server.command.stderr)
    assert address is not None
    page = scrape(address[1])
    vae = page.total("leyden_stage_replicas", stage="vae")
    return vae + page.total("leyden_stage_replicas", stage="denoiser")


def test_what_nobody_asks_for_rests_and_comes_back_when_asked(server: ScalingServer) -> None:
    server.eventually(lambda: server.replicas() == {TEXT_ENCODER: 1}, 120)
    server.eventually(lambda: known_replicas(server) == 0, 120)
    states = {model.name: model.state for model in server.client.list_models()}
    assert states[ASKED] is states[UNASKED] is ModelState.READY, "both serve who asks"

    # Who has no time for the start, whose imports alone take longer, is told how long it takes, and
    # has set it going.
    with pytest.raises(OverloadedError) as refused:
        server.client.generate_image("a lake", model=ASKED, timeout_s=3)
    assert refused.value.reason == "DEADLINE_CANNOT_BE_MET"
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s >= 1
    server.eventually(lambda: server.replicas()[DENOISER] == 1, 120)

    # Who has time waits, and knows for about how long.
    events: list[Event] = []
    generation = server.client.generate_image(
        "a lake", model=ASKED, timeout_s=300, on_event=events.append
    )
    queued = events[0]
    assert isinstance(queued, Queued)
    assert queued.position == 0
    assert queued.expected_wait_s is not None
    # One start has ended meanwhile, by which the others are expected to be slower or faster.
    assert 0 < queued.expected_wait_s < 3 * refused.value.retry_after_s
    assert generation.images[0].data.startswith(b"\x89PNG")
    assert generation.summary.retries == 0
    assert server.replicas() == {TEXT_ENCODER: 1, DENOISER: 1, IMAGE_DECODER: 1}

    # Now that it runs, nobody waits.
    server.client.generate_image("a lake", model=ASKED, on_event=events.append)
    waits = [event.expected_wait_s for event in events if isinstance(event, Queued)]
    assert waits[-1] == 0


def test_a_drain_that_runs_out_says_so_and_when_to_come_again(server: ScalingServer) -> None:
    with grpc.insecure_channel(server.address) as channel:
        images: Any = pb_grpc.ImageGenerationServiceStub(channel)
        call = images.GenerateImage(
            request(
                model=ASKED,
                width_px=384,
                height_px=384,
                num_inference_steps=100,
                guidance_scale=0,
                image_count=8,
            )
        )
        next(event for event in call if event.HasField("denoise_progress"))
        server.command.interrupt()
        stopped_s = time.monotonic()
        with pytest.raises(grpc.RpcError) as raised:
            list(call)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert details_of(raised.value)[ErrorInfo].reason == "DRAINING"
    assert RetryInfo in details_of(raised.value)
    assert server.command.process.wait() == 0
    assert time.monotonic() - stopped_s < 25, "what Kubernetes' 30 s leave for a whole stop"
    eventually(lambda: not server.command.descendants())
