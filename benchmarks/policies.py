"""The two policies that step batching is compared with, for the same engine. No torch."""

from leyden_server.denoiser.request_state import RequestState
from leyden_server.denoiser.step_scheduler import StepScheduler

__all__ = ["OneAtATime", "WholeRequestBatching"]

Scheduled = tuple[list[RequestState], list[RequestState]]


class OneAtATime(StepScheduler[RequestState]):
    """Runs one image from its first step to its last, then the next, in the order of service.

    What `StableDiffusionXLPipeline` behind a lock does, and a server with a batch of one.
    """

    def schedule(self, now_s: float) -> Scheduled:
        """Return the running image; where none runs, the first of those that wait."""
        if self._running:
            return [*self._running], []
        if not self._waiting:
            return [], []
        return self._admit([min(self._waiting, key=lambda image: image.order.key(now_s))])

    def _admit(self, images: list[RequestState]) -> Scheduled:
        for image in images:
            self._waiting.remove(image)
            self._running.append(image)
        return images, [*images]


class WholeRequestBatching(OneAtATime):
    """Runs a batch of images from their first step to their last; nobody joins meanwhile.

    What dynamic batching in front of a pipeline does. A pipeline call has one number of
    steps, so the images of a batch do; the batch has as many rows as pay, as step batching's.
    """

    def schedule(self, now_s: float) -> Scheduled:
        """Return the batch that runs; where none does, the first that waits and its like."""
        if self._running or not self._waiting:
            return super().schedule(now_s)
        in_order = sorted(self._waiting, key=lambda image: image.order.key(now_s))
        return self._admit(
            self._of_those_alike([image for image in in_order if _alike(image, in_order[0])])
        )


def _alike(image: RequestState, other: RequestState) -> bool:
    return (
        image.batch_key == other.batch_key
        and image.sampling.num_inference_steps == other.sampling.num_inference_steps
    )
