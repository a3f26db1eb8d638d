"""BentoML with adaptive batching, as its pages on batching and workers advise."""

import base64

import bentoml
from pipeline import Generator, png, settings
from pydantic import BaseModel

GIVEN = settings()


class Request(BaseModel):
    """One image."""

    prompt: str
    seed: int


@bentoml.service(
    workers=GIVEN["workers"],
    traffic={"timeout": 600, "concurrency": GIVEN["workers"] * GIVEN["max_batch_size"]},
)
class Images:
    """A list of requests in, a list of PNG files in base64 out: JSON has no bytes."""

    def __init__(self) -> None:
        self.generator = Generator(GIVEN["folder"], GIVEN["threads"])

    @bentoml.api(
        batchable=True,
        max_batch_size=GIVEN["max_batch_size"],
        max_latency_ms=600_000,
    )
    def generate(self, requests: list[Request]) -> list[str]:
        """Generate one image for each request of the batch."""
        images = self.generator.images(
            [request.prompt for request in requests], [request.seed for request in requests]
        )
        return [base64.b64encode(png(image)).decode() for image in images]
