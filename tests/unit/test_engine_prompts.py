"""A prompt's keys and values: made once for an image, and gone with it. Real UNet, gated runs."""

import asyncio

import pytest
import torch
from support.stages import Gate, batch_rows, events_of, latents_of, sampled, submitted

from leyden_server.denoiser.request_state import RequestState
from leyden_server.denoiser.service import DenoiseService
from leyden_server.stages.contract import DenoiseRequest


class Watched:
    """The images that a service's engine gets, and the prompts that its runner is asked about."""

    def __init__(self, service: DenoiseService, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images: list[RequestState] = []
        self.rows: list[int] = []
        """Of each prompt's keys and values that were made."""
        submit = service._engine.submit
        encoder_hidden_states = service._runner.encoder_hidden_states

        def watched_submit(image: RequestState) -> None:
            self.images.append(image)
            submit(image)

        def watched_states(prompt_embeds: torch.Tensor) -> torch.Tensor:
            self.rows.append(len(prompt_embeds))
            return encoder_hidden_states(prompt_embeds)

        monkeypatch.setattr(service._engine, "submit", watched_submit)
        monkeypatch.setattr(service._runner, "encoder_hidden_states", watched_states)


@pytest.fixture
def watched(service: DenoiseService, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(service, monkeypatch)


async def test_they_are_made_once_for_each_image_alone_and_go_with_it(
    service: DenoiseService, gate: Gate, watched: Watched, request_: DenoiseRequest
) -> None:
    loops = [await submitted(service, sampled(request_, seed=seed)) for seed in range(2)]
    gate.let(2)
    await gate.arrival(3)
    made = [image.encoder_hidden_states for image in watched.images]
    assert all(one is not None and one.shape[:2] == (1, 77) for one in made)
    gate.open()
    events = await asyncio.gather(*loops)

    assert 2 in batch_rows(events[0])
    assert watched.rows == [1, 1]
    assert [image.encoder_hidden_states for image in watched.images] == [None, None]


async def test_they_go_with_an_image_that_leaves_early(
    service: DenoiseService, gate: Gate, watched: Watched, request_: DenoiseRequest
) -> None:
    leaving = await submitted(service, sampled(request_, num_inference_steps=50))
    gate.let()
    await gate.arrival(2)
    assert watched.images[0].encoder_hidden_states is not None
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    gate.open()
    await service.tally()  # once the engine has noticed
    assert watched.images[0].encoder_hidden_states is None


async def test_a_step_that_failed_makes_them_no_second_time(
    service: DenoiseService, gate: Gate, watched: Watched, request_: DenoiseRequest
) -> None:
    gate.open()
    expected = [
        latents_of(await events_of(service, sampled(request_, seed=seed))) for seed in (0, 1)
    ]
    watched.rows.clear()
    gate.fail_once(RuntimeError("of a test"))
    found = await asyncio.gather(
        *(events_of(service, sampled(request_, seed=seed)) for seed in (0, 1)),
        return_exceptions=True,
    )
    finished = {number: one for number, one in enumerate(found) if isinstance(one, list)}
    # Whoever was alone in the step that failed has failed with it.
    assert 1 <= len(finished) == 2 - sum(isinstance(one, Exception) for one in found)
    assert watched.rows == [1, 1]
    for number, events in finished.items():
        assert abs(latents_of(events) - expected[number]).max() < 1e-4
