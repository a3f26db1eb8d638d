"""The calls of the client of NVIDIA's Stable Diffusion tutorial, by gRPC, in our own words.

The tutorial is triton-inference-server/tutorials, Popular_Models_Guide/StableDiffusion. Its client
speaks HTTP to port 8000; tritonclient has the same calls for gRPC under the same names.
"""

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image
from triton_clients.with_tritonclient.calls import MODEL
from tritonclient.utils import np_to_triton_dtype

PROMPT = "skeleton sitting by the side of a river looking soulful, concert poster, 4k, artistic"


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_pixels_make_a_picture(address: str, batch_size: int) -> None:
    client = triton.InferenceServerClient(url=address)
    text = np.array([PROMPT] * batch_size, dtype="object").reshape((-1, 1))
    prompt = triton.InferInput("prompt", text.shape, np_to_triton_dtype(text.dtype))
    prompt.set_data_from_numpy(text)
    wanted = triton.InferRequestedOutput("generated_image")

    answer = client.infer(model_name=MODEL, inputs=[prompt], outputs=[wanted])

    images = answer.as_numpy("generated_image")
    assert images.shape[0] == batch_size
    for image in images:
        picture = Image.fromarray(np.squeeze(image.astype(np.uint8)))
        assert picture.mode == "RGB"
        assert np.asarray(picture).std() > 5
