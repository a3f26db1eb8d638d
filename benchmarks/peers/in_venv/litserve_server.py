"""LitServe as its pages on batching and on CPUs advise."""

import litserve as ls
from fastapi import Response
from PIL import Image
from pipeline import Generator, png, settings


class ImagesAPI(ls.LitAPI):
    """JSON {prompt, seed} in, a PNG out."""

    def setup(self, device: str) -> None:
        """Load the model, once in each worker."""
        given = settings()
        self.generator = Generator(given["folder"], given["threads"])

    def decode_request(self, request: dict[str, str | int]) -> tuple[str, int]:
        """Take prompt and seed out of the JSON."""
        return str(request["prompt"]), int(request["seed"])

    def predict(self, batch: list[tuple[str, int]]) -> list[Image.Image]:
        """Generate one image for each request of the batch."""
        if isinstance(batch, tuple):  # max_batch_size 1: LitServe hands the one input over
            return self.generator.images([batch[0]], [batch[1]])[0]
        return self.generator.images(*zip(*batch, strict=True))

    def encode_response(self, output: Image.Image) -> Response:
        """Encode the PNG."""
        return Response(content=png(output), media_type="image/png")


if __name__ == "__main__":
    chosen = settings()
    api = ImagesAPI(max_batch_size=chosen["max_batch_size"], batch_timeout=chosen["batch_timeout"])
    server = ls.LitServer(
        api, accelerator="cpu", workers_per_device=chosen["workers"], timeout=False
    )
    server.run(
        host="127.0.0.1", port=chosen["port"], generate_client_file=False, log_level="warning"
    )
