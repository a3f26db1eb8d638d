"""Triton with its dynamic batcher, by nvidia-pytriton."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pipeline import Generator, png, settings
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


class Instance:
    """One instance of the model: prompts (B, 1) and seeds (B, 1) in, PNG files (B, 1) out."""

    def __init__(self, given: dict[str, Any]) -> None:
        where = (given.get("device", "cpu"), given.get("dtype", "float32"))
        self.generator = Generator(given["folder"], given["threads"], *where)

    @batch
    def __call__(
        self, prompt: NDArray[np.bytes_], seed: NDArray[np.int64]
    ) -> dict[str, NDArray[np.object_]]:
        """Generate one image for each request of the batch."""
        prompts = [text.decode() for text in prompt[:, 0]]
        images = self.generator.images(prompts, [int(number) for number in seed[:, 0]])
        return {"image": np.array([[png(image)] for image in images], dtype=np.object_)}


def main() -> None:
    """Serve until a signal comes."""
    given = settings()
    config = TritonConfig(
        grpc_address="127.0.0.1", grpc_port=given["port"], allow_http=True,
        http_address="127.0.0.1", http_port=given["http_port"], allow_metrics=False,
    )  # fmt: skip
    with Triton(config=config) as triton:
        triton.bind(
            model_name="images",
            infer_func=[Instance(given) for _ in range(given["instances"])],
            inputs=[
                Tensor(name="prompt", dtype=bytes, shape=(1,)),
                Tensor(name="seed", dtype=np.int64, shape=(1,)),
            ],
            outputs=[Tensor(name="image", dtype=bytes, shape=(1,))],
            config=ModelConfig(
                max_batch_size=given["max_batch_size"],
                batcher=DynamicBatcher(
                    max_queue_delay_microseconds=given["max_queue_delay_microseconds"]
                ),
            ),
        )
        triton.serve()


if __name__ == "__main__":
    main()
