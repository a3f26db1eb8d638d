"""A model of Triton's Python backend with Leyden's inputs and outputs: who draws nothing.

It looks at what Triton leaves to a model, as whoever writes one would: what a size may be, and
that an input has one value for all rows. Everything else is answered by Triton itself. Pixels
are black. It runs in Triton's own Python, so it must be readable to Python 3.9.
"""

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

ONE_FOR_ALL = ("width_px", "height_px", "num_inference_steps", "guidance_scale", "output_format")
DEFAULT_SIDE = 256
LAST_SEED = 2**53 - 8


def wrong(text: str) -> Any:
    return pb_utils.InferenceResponse(
        error=pb_utils.TritonError(text, pb_utils.TritonError.INVALID_ARG)
    )


def values_of(request: Any, name: str) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy().reshape(-1)


def answer(request: Any) -> Any:
    given = {name: values_of(request, name) for name in (*ONE_FOR_ALL, "prompt", "seed")}
    prompts = given["prompt"]
    if prompts is None or any(not prompt for prompt in prompts):
        return wrong("prompt: must not be empty")
    for name in ONE_FOR_ALL:
        if given[name] is not None and len(set(given[name].tolist())) > 1:
            return wrong(f"{name}: must be one value for all rows")
    sides = []
    for name in ("height_px", "width_px"):
        side = DEFAULT_SIDE if given[name] is None else int(given[name][0])
        if side % 8 or not 64 <= side <= 512:
            return wrong(f"{name}: a multiple of 8 from 64 to 512")
        sides.append(side)
    count = values_of(request, "image_count")
    rows = len(prompts) if count is None else max(len(prompts), int(count[0]))
    seed = np.zeros(rows, np.int64) if given["seed"] is None else given["seed"] % LAST_SEED
    seed = seed if len(seed) == rows else seed[0] + np.arange(rows)
    found = {
        "image": np.array([b"no file"] * rows, np.object_).reshape(-1, 1),
        "generated_image": np.zeros((rows, *sides, 3), np.uint8),
        "seed": seed.astype(np.int64).reshape(-1, 1),
    }
    wanted = set(request.requested_output_names())
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, found[name]) for name in found if name in wanted]
    )


class TritonPythonModel:
    def initialize(self, args: Any) -> None:
        config = json.loads(args["model_config"])
        self.decoupled = config.get("model_transaction_policy", {}).get("decoupled", False)

    def execute(self, requests: Any) -> Any:
        answers = [answer(request) for request in requests]
        if not self.decoupled:
            return answers
        for request, each in zip(requests, answers):  # noqa: B905 - Python 3.9 has no `strict`
            request.get_response_sender().send(
                each, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
            )
        return None
