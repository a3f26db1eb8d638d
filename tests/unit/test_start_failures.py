"""What Ray Serve says of a failed deployment, in one line of ours."""

import pytest

from leyden_server.controller.start_failures import explain_failure

SERVE_SAYS = """\
The deployment failed to start 1 times in a row. This may be due to a problem with its \
constructor or initial health check failing. See controller logs for details. Error:
\x1b[36mray::ServeReplica:a:A.initialize_and_get_metadata()\x1b[39m (pid=1, ip=192.0.2.2, repr=<A>)
  File "concurrent/futures/_base.py", line 401, in __get_result
    raise self._exception
           ^^^^^^^^^^^^^^^
RuntimeError: Traceback (most recent call last):
  File "ray/serve/_private/replica.py", line 4008, in _call_func_or_gen
    result = callable(*args, **kwargs)
             ^^^^^^^^^^^^^^^^^^^^^^^^^
  File "stage.py", line 13, in __init__
    raise Error("here")
"""


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (
            "leyden_server.errors.ModelRepositoryError: model 'm': u.safetensors does not fit\n"
            "Missing key(s)\n",
            "model 'm': u.safetensors does not fit Missing key(s)",
        ),
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a "
            "total capacity of 79.18 GiB of which 3.06 MiB is free.\n",
            "CUDA out of memory while it loads: give it more of the GPU (denoiser.num_gpus), set "
            "a smaller denoiser.dtype (bfloat16, float16), or load fewer models",
        ),
        (
            "torch.AcceleratorError: CUDA error: out of memory\nCUDA kernel errors might be\n",
            "CUDA error: out of memory CUDA kernel errors might be while it loads: give it more of "
            "the GPU (denoiser.num_gpus), set a smaller denoiser.dtype (bfloat16, float16), or "
            "load fewer models",
        ),
        (
            "MemoryError: [enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't "
            "allocate memory: you tried to allocate 1000 bytes. Error code 12\n",
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1000 bytes while it "
            "loads: set a smaller denoiser.dtype (bfloat16, float16), or load fewer models",
        ),
        (
            "MemoryError\n",
            "out of memory while it loads: set a smaller denoiser.dtype (bfloat16, float16), or "
            "load fewer models",
        ),
        ("ValueError: no such\n  thing\n", "ValueError: no such thing"),
    ],
)
def test_an_error_of_the_constructor_is_one_line(raised: str, line: str) -> None:
    assert explain_failure(SERVE_SAYS + raised, "denoiser") == line


def test_a_process_that_ended_names_memory() -> None:
    message = SERVE_SAYS.partition("\n")[0] + "\nActorDiedError()"
    assert explain_failure(message, "vae").startswith("its process ended while it loaded")
    assert "vae.dtype" in explain_failure(message, "vae")


def test_what_is_not_understood_is_told_whole() -> None:
    assert explain_failure("no\nidea", "vae") == "no idea"
