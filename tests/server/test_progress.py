"""Events: their order, their moment, previews, and the summary."""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image
from server.conftest import BASE, LIGHTNING, RANDOM
from support.image_parameters import parameters_of
from support.running_server import RunningServer, request

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_client import Client


def test_the_events_come_in_the_documented_order(server: RunningServer) -> None:
    reply = server.generate(seed=1, image_count=3, request_id="in-order")
    kinds = [event.WhichOneof("event") for event in reply.events]
    assert [event.event_index for event in reply.events] == list(range(len(kinds)))
    assert {event.request_id for event in reply.events} == {"in-order"}
    assert kinds[0] == "queued"
    assert kinds.count("text_encoded") == 1
    assert kinds.count("image") == 3
    assert kinds.index("text_encoded") < kinds.index("denoise_progress")
    assert kinds.count("summary") == 1
    assert kinds[-1] == "summary"
    for index in range(3):
        steps = [p.step for p in reply.of("denoise_progress") if p.image_index == index]
        assert steps == [1, 2, 3, 4]
    last_step = {
        i: max(
            n
            for n, e in enumerate(reply.events)
            if e.WhichOneof("event") == "denoise_progress" and e.denoise_progress.image_index == i
        )
        for i in range(3)
    }
    for n, event in enumerate(reply.events):
        if event.WhichOneof("event") == "image":
            assert n > last_step[event.image.image_index]


def test_the_first_progress_comes_before_the_last_step_has_begun(server: RunningServer) -> None:
    before = server.engine_stats(BASE).unet_batches
    call = server.images.GenerateImage(request(model=BASE, num_inference_steps=100, seed=1))
    first = next(event for event in call if event.WhichOneof("event") == "denoise_progress")
    run_by_then = server.engine_stats(BASE).unet_batches - before
    call.cancel()
    assert first.denoise_progress.step == 1
    assert 1 <= run_by_then < 99


def test_progress_tells_where_it_stands(server: RunningServer) -> None:
    progress = server.generate(model=BASE, num_inference_steps=10, seed=1).of("denoise_progress")
    assert [p.total_steps for p in progress] == [10] * 10
    sigmas = [p.sigma for p in progress]
    timesteps = [p.timestep for p in progress]
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[0] > 10
    assert timesteps == sorted(timesteps, reverse=True)
    assert timesteps[0] == 999
    elapsed = [p.elapsed_duration.ToTimedelta() for p in progress]
    assert elapsed == sorted(elapsed)
    assert progress[0].remaining_duration.ToTimedelta().total_seconds() > 0
    assert progress[-1].remaining_duration.ToTimedelta().total_seconds() == 0
    assert all(p.batch_rows == 2 for p in progress)  # guidance: two rows, nobody else's


def test_previews_come_when_they_are_due_and_resemble_the_image(server: RunningServer) -> None:
    preview = pb.PreviewOptions(size_px=64, every_steps=2, format=pb.OUTPUT_FORMAT_PNG)
    reply = server.generate(seed=1, preview=preview)
    progress = reply.of("denoise_progress")
    assert [p.step for p in progress if p.HasField("preview")] == [2, 4]
    last = Image.open(io.BytesIO(progress[-1].preview.data))
    assert last.size == (64, 64)
    assert last.format == "PNG"
    small = Image.fromarray(reply.pixels()).resize((64, 64), Image.Resampling.BOX)
    difference = [abs(a - b) for a, b in zip(last.tobytes(), small.tobytes(), strict=True)]
    other = server.generate(seed=1, prompt="a desert at night").pixels()
    unlike = Image.fromarray(other).resize((64, 64), Image.Resampling.BOX)
    against_other = [abs(a - b) for a, b in zip(last.tobytes(), unlike.tobytes(), strict=True)]
    assert sum(difference) / len(difference) < 40
    assert sum(difference) < sum(against_other)


def test_the_summary_tells_what_was_used_and_what_it_cost(server: RunningServer) -> None:
    summary = server.generate(seed=5, image_count=2).summary
    assert summary.model == LIGHTNING
    assert summary.model_revision.startswith("sha256:")
    assert (summary.width_px, summary.height_px) == (256, 256)
    assert summary.num_inference_steps == 4
    assert summary.solver == pb.SOLVER_EULER
    assert not summary.warnings
    assert [image.image_index for image in summary.bill.images] == [0, 1]
    for image in summary.bill.images:
        assert [step.batch_rows >= 1 for step in image.steps] == [True] * 4
        parts = [*(step.duration for step in image.steps), image.vae_decode_duration]
        parts.append(image.image_encode_duration)
        assert all(part.ToTimedelta().total_seconds() > 0 for part in parts)
        assert image.denoiser_replica.startswith(f"leyden-denoiser-{LIGHTNING}#")
        assert image.image_decoder_replica.startswith("leyden-vae-")
    assert summary.bill.text_encoder_replica.startswith("leyden-text-encoder-")
    assert summary.bill.total_duration.ToTimedelta() > summary.bill.queue_duration.ToTimedelta()


def test_models_with_one_base_share_encoders_and_decoder(server: RunningServer) -> None:
    bills = [
        server.generate(model=m, num_inference_steps=4).summary.bill for m in (LIGHTNING, BASE)
    ]
    assert bills[0].text_encoder_replica == bills[1].text_encoder_replica
    assert bills[0].images[0].image_decoder_replica == bills[1].images[0].image_decoder_replica
    assert bills[0].images[0].denoiser_replica != bills[1].images[0].denoiser_replica


def test_a_seed_that_is_drawn_is_reported_and_gives_the_image_again(server: RunningServer) -> None:
    drawn = server.generate()
    seed = drawn.of("image")[0].seed
    assert server.generate(seed=seed).image_bytes() == drawn.image_bytes()


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
def test_the_file_carries_the_parameters_that_make_it_again(
    server: RunningServer, name: str
) -> None:
    output_format = pb.OutputFormat.Value(f"OUTPUT_FORMAT_{name}")
    reply = server.generate(prompt="Föhn über den Bergen 山", seed=7, output_format=output_format)
    assert Image.open(io.BytesIO(reply.image_bytes())).format == name
    parameters = parameters_of(reply.image_bytes())
    solver = pb.Solver.Value(f"SOLVER_{parameters.pop('solver').upper()}")
    revision = parameters.pop("model_revision")
    again = server.generate(solver=solver, output_format=output_format, **parameters)
    assert again.image_bytes() == reply.image_bytes()
    assert again.summary.model_revision == revision


def test_an_image_over_3_mib_comes_in_chunks_that_a_plain_client_takes(
    server: RunningServer,
) -> None:
    # A random model paints noise, which PNG cannot compress.
    reply = server.generate(
        model=RANDOM, num_inference_steps=1, guidance_scale=0, width_px=1280, height_px=1280
    )
    image, chunks = reply.of("image")[0], reply.of("image_chunk")
    assert image.size_bytes > 3 * 2**20
    assert not image.data
    assert [chunk.offset_bytes for chunk in chunks] == [i * 2**20 for i in range(len(chunks))]
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert reply.pixels().shape == (1280, 1280, 3)
    with Client(server.address) as client:
        generation = client.generate_image(
            "a lake at dawn",
            model=RANDOM,
            seed=image.seed,
            num_inference_steps=1,
            guidance_scale=0,
            width_px=1280,
            height_px=1280,
        )
    assert generation.images[0].data == reply.image_bytes()


def test_every_image_of_a_request_has_its_previews(server: RunningServer) -> None:
    reply = server.generate(model=BASE, num_inference_steps=4, image_count=8, preview={})
    assert [p.HasField("preview") for p in reply.of("denoise_progress")] == [True] * 32


def test_queued_requests_hear_their_place(server: RunningServer) -> None:
    with ThreadPoolExecutor(8) as pool:
        fields: dict[str, Any] = {"model": BASE, "num_inference_steps": 12}
        replies = list(pool.map(lambda s: server.generate(seed=s, **fields), range(8)))
    places = [[q.position for q in reply.of("queued")] for reply in replies]
    assert max(max(p) for p in places) >= 1, f"nobody waited: {places}"
    for line in places:
        assert line == sorted(line, reverse=True)
