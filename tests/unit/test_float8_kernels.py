"""The kernels that round rows to 8-bit floats, against torch's operators.

Triton's interpreter loses carries and breaks ties otherwise where it converts to e4m3. So there the
kernels write their quotients in float32, and what is tested is all but that last conversion, which
a GPU has an instruction for; on a GPU it is tested too.
"""

import pytest
import torch
from support.triton_interpreter import Interpreter
from torch import nn

from leyden_server.accelerator.float8 import FLOAT8, Float8Linear, Float8Rows, rounded_rows
from leyden_server.accelerator.layer_norm import AddNorm
from leyden_server.denoiser.float8_passes import Float8AddNorm, Float8Gate
from leyden_server.denoiser.geglu import Gate

on_a_gpu = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 9),
    reason="needs a CUDA device with FP8",
)

HALF = [torch.float16, torch.bfloat16]
WIDTHS = [40, 1280, 1025]
TOKENS = (2, 5)

Found = tuple[torch.Tensor, torch.Tensor]


def random_tokens(width: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """Return (2, 5, width); one token is of zeros, and one far from 0."""
    x = 3 * torch.randn(*TOKENS, width, generator=torch.Generator().manual_seed(seed))
    x[0, 1], x[1, 4] = 0, x[1, 4] + 40
    return x.to(dtype)


def random_norm(width: int) -> nn.LayerNorm:
    torch.manual_seed(1)
    norm = nn.LayerNorm(width).requires_grad_(False)
    norm.weight.normal_()
    norm.bias.normal_()
    return norm


def quotients(x: torch.Tensor) -> Found:
    """Return float32 x (…, K) over its rows' scales, not rounded, and the scales."""
    scales = rounded_rows(x).scales
    return x / scales, scales


def check_close(found: Found, expected: Found) -> None:
    """Quotients reach to 448: they may be off as sums in float32 may."""
    torch.testing.assert_close(found[1], expected[1], rtol=1e-5, atol=1e-15)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=448e-5)


def interpreted_rows(width: int, dtype: torch.dtype) -> Found:
    from leyden_server.accelerator import float8_kernels

    found: Found = float8_kernels.quantize_rows(random_tokens(width, dtype), torch.float32)
    return found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", HALF)
def test_interpreted_rows_are_divided_by_their_scales(
    interpreter: Interpreter, width: int, dtype: torch.dtype
) -> None:
    values, scales = interpreter(interpreted_rows, width, dtype)
    expected, of_rows = quotients(random_tokens(width, dtype).float())
    assert scales.shape == (*TOKENS, 1)
    assert torch.equal(scales, of_rows)
    assert torch.equal(values, expected)
    # So what is rounded to nearest from it is what torch's form gives.
    rounded = rounded_rows(random_tokens(width, dtype)).values
    assert torch.equal(values.to(FLOAT8).view(torch.uint8), rounded.view(torch.uint8))


def interpreted_norm(width: int, dtype: torch.dtype, adds: bool) -> tuple[torch.Tensor, Found]:
    from leyden_server.accelerator import layer_norm_kernels

    stream, norm = random_tokens(width, dtype), random_norm(width).to(dtype)
    found = layer_norm_kernels.add_norm_rows(
        stream,
        random_tokens(width, dtype, seed=2) if adds else None,
        norm.bias if adds else None,
        norm.weight,
        norm.bias,
        norm.eps,
        torch.float32,
    )
    return stream, found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("adds", [True, False])
def test_an_interpreted_norm_is_divided_by_its_scale(
    interpreter: Interpreter, width: int, adds: bool
) -> None:
    stream, found = interpreter(interpreted_norm, width, torch.float16, adds)
    summed = random_tokens(width, torch.float16)
    if adds:
        summed = summed + random_tokens(width, torch.float16, seed=2)
    assert torch.equal(stream, summed)
    norm = random_norm(width).half().float()
    check_close(found, quotients(norm(summed.float() + (norm.bias if adds else 0))))


def interpreted_gate(width: int, dtype: torch.dtype) -> Found:
    from leyden_server.denoiser import geglu_kernel

    found: Found = geglu_kernel.gate_rows(random_tokens(2 * width, dtype), torch.float32)
    return found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", HALF)
def test_an_interpreted_gate_is_divided_by_its_scale(
    interpreter: Interpreter, width: int, dtype: torch.dtype
) -> None:
    found = interpreter(interpreted_gate, width, dtype)
    value, gate = random_tokens(2 * width, dtype).float().chunk(2, dim=-1)
    check_close(found, quotients(value * nn.functional.gelu(gate)))


def whole(rows: Float8Rows) -> torch.Tensor:
    return rows.values.float() * rows.scales


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_cpu_norm_and_gate_are_those_of_torch_then_rounded(dtype: torch.dtype) -> None:
    norm = AddNorm(random_norm(48).to(dtype))
    delta = random_tokens(48, dtype, seed=2)
    stream, plain_stream = random_tokens(48, dtype), random_tokens(48, dtype)
    with torch.inference_mode():
        found, plain = Float8AddNorm(norm)(stream, delta), norm(plain_stream, delta)
        gated, plainly = Float8Gate()(stream), Gate()(stream)
    assert torch.equal(stream, plain_stream)
    for rows, expected in ((found, plain), (gated, plainly)):
        assert rows.values.dtype == FLOAT8
        most = expected.float().abs().amax(dim=-1, keepdim=True)
        torch.testing.assert_close(
            whole(rows), expected.float(), rtol=2**-4 + 2**-7, atol=float(most.max()) / 448 / 2**9
        )
        again = rounded_rows(expected)
        if dtype == torch.float32:
            assert torch.equal(rows.values.view(torch.uint8), again.values.view(torch.uint8))


def test_compiled_code_is_one_graph_that_gives_the_same() -> None:
    norm, layer = Float8AddNorm(AddNorm(random_norm(48))), Float8Linear(nn.Linear(48, 64))
    gate, last = Float8Gate(), Float8Linear(nn.Linear(32, 16))

    def run(stream: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = last(gate(layer(norm(stream))))
        return found

    stream = random_tokens(48, torch.float32)
    with torch.inference_mode():
        compiled = torch.compile(run, backend="eager", fullgraph=True)
        assert torch.equal(compiled(stream), run(stream))


@on_a_gpu
@pytest.mark.parametrize("width", [40, 640, 1280, 5120])
def test_by_triton_norm_and_gate_are_the_torch_forms(width: int) -> None:
    norm = Float8AddNorm(AddNorm(random_norm(width).bfloat16()))
    stream, delta = (random_tokens(width, torch.bfloat16, seed) for seed in (0, 2))
    on_gpu = stream.cuda()
    with torch.inference_mode():
        expected_gate = Float8Gate()(random_tokens(2 * width, torch.bfloat16))
        found_gate = Float8Gate()(random_tokens(2 * width, torch.bfloat16).cuda())
        expected = norm(stream, delta)
        found = norm.cuda()(on_gpu, delta.cuda())
        alone = norm(random_tokens(width, torch.bfloat16)[1:].cuda(), delta[1:].cuda())
    assert torch.equal(on_gpu.cpu(), stream)
    for one, other in ((found, expected), (found_gate, expected_gate)):
        torch.testing.assert_close(one.scales.cpu(), other.scales, rtol=1e-4, atol=1e-15)
        # Where a quotient lies near a tie, it may be rounded the other way: by a bit of 3.
        torch.testing.assert_close(
            whole(one).cpu(),
            whole(other),
            rtol=2**-3 + 2**-9,
            atol=float(other.scales.max()) / 2**8,
        )
        differ = one.values.cpu().float() != other.values.float()
        assert float(differ.float().mean()) < 0.02
    # What becomes of a token does not depend on the others.
    assert torch.equal(found.values[1:].view(torch.uint8), alone.values.view(torch.uint8))
    assert torch.equal(found.scales[1:], alone.scales)


@on_a_gpu
def test_a_captured_product_gives_what_an_eager_one_does() -> None:
    torch.manual_seed(0)
    layer = Float8Linear(nn.Linear(640, 640).cuda().bfloat16())
    x = random_tokens(640, torch.bfloat16).cuda()
    with torch.inference_mode():
        expected = layer(x)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = layer(x)
        graph.replay()
    assert torch.equal(found, expected)
