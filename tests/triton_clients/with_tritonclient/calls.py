"""What the tests of tritonclient send and read."""

import io
import os
import queue
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
from numpy.typing import NDArray
from PIL import Image
from tritonclient.utils import np_to_triton_dtype

MODEL = os.environ.get("LEYDEN_MODEL", "")

PATIENCE_S = 300
"""How long a test waits for what must come; only a failure takes that long."""

SIDE = 64
"""Pixels of a side, for speed."""

Reply = tuple[Any, Any]
"""What a stream's callback gets: a result or None, an error or None."""


def tensor(name: str, values: NDArray[Any]) -> grpcclient.InferInput:
    found = grpcclient.InferInput(name, values.shape, np_to_triton_dtype(values.dtype))
    found.set_data_from_numpy(values)
    return found


def texts(name: str, *rows: object) -> grpcclient.InferInput:
    return tensor(name, np.array(rows, dtype=np.object_).reshape(-1, 1))


def seeds(*rows: int) -> grpcclient.InferInput:
    return tensor("seed", np.array(rows, np.int64).reshape(-1, 1))


def int32(name: str, *rows: int) -> grpcclient.InferInput:
    return tensor(name, np.array(rows, np.int32).reshape(-1, 1))


def fp32(name: str, *rows: float) -> grpcclient.InferInput:
    return tensor(name, np.array(rows, np.float32).reshape(-1, 1))


def size(rows: int = 1, side: int = SIDE) -> list[grpcclient.InferInput]:
    return [int32("width_px", *[side] * rows), int32("height_px", *[side] * rows)]


def wanted(*names: str) -> list[grpcclient.InferRequestedOutput]:
    return [grpcclient.InferRequestedOutput(name) for name in names]


def picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def statistics(client: Any) -> Any:
    """Return what ModelStatistics says of the requests so far."""
    (found,) = client.get_inference_statistics(MODEL).model_stats
    return found


def eventually(condition: Callable[[], object]) -> None:
    """Ask until `condition` holds; asking is itself a call."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


class Replies:
    """Collects what a stream's callback gets."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Reply] = queue.Queue()

    def __call__(self, result: Any, error: Any) -> None:
        self._queue.put((result, error))

    def next(self, patience_s: float = 300) -> Reply:
        return self._queue.get(timeout=patience_s)

    def until_final(self, requests: int = 1) -> list[Reply]:
        """Return what comes until so many requests have had their last response or an error."""
        found: list[Reply] = []
        while requests:
            result, error = self.next()
            found.append((result, error))
            requests -= error is not None or is_final(result)
        return found

    def none_left(self) -> bool:
        return self._queue.empty()


def is_final(result: Any) -> bool:
    flag = result.get_response().parameters.get("triton_final_response")
    return flag is not None and flag.bool_param


def names(result: Any) -> list[str]:
    return [output.name for output in result.get_response().outputs]


def image_index(result: Any) -> int:
    index: int = result.get_response().parameters["image_index"].int64_param
    return index
