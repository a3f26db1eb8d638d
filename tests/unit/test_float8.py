"""Products in 8-bit floats: what the rounding may do, and where it is refused."""

import re
from pathlib import Path

import pytest
import torch
from support.checkpoint_files import write_random_lora
from support.model_folders import entry, resolve
from support.random_sdxl import write_random_sdxl
from support.stages import TOKENIZER_FROM
from torch import nn

from leyden_server.accelerator.float8 import (
    FLOAT8,
    KERNELS,
    Float8Linear,
    Float8Rows,
    can_be_float8,
    float8_rows,
    require_float8_products,
    rounded_rows,
)
from leyden_server.accelerator.triton_kernels import triton_kernels
from leyden_server.config import DenoiserConfig, UNetDtype
from leyden_server.denoiser.float8_products import PRODUCTS, Product, put_in_float8
from leyden_server.denoiser.precision import unet_precision
from leyden_server.denoiser.service import DenoiseService
from leyden_server.denoiser.unet_runner import UNetRunner
from leyden_server.denoiser.unet_weights import load_unet
from leyden_server.errors import ConfigError
from leyden_server.model_repository import ResolvedModel

CPU = torch.device("cpu")
OTHERS = "auto, float32, bfloat16 and float16"
on_a_gpu = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 9),
    reason="needs a CUDA device with FP8",
)


def random_rows(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return rows of very different sizes, some of them with an outlier."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    x *= 10 ** (4 * torch.rand(*shape[:-1], 1, generator=generator) - 2)
    x[..., ::3, 1] *= 50
    return x


def exact(rows: Float8Rows) -> torch.Tensor:
    return rows.values.double() * rows.scales.double()


def most_off(rows: Float8Rows, x: torch.Tensor) -> torch.Tensor:
    """Return how far each number may be off: half a last bit, of 3, or of the least exponent's."""
    relative = x.double().abs() / 2**4
    least = rows.scales.double() / 2**10
    # And what the quotient itself is rounded by, in float32.
    return torch.maximum(relative, least) * (1 + 2**-18)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_number_is_off_by_half_a_bit_at_most(dtype: torch.dtype) -> None:
    x = random_rows(40, 96).to(dtype)
    rows = rounded_rows(x)

    assert (rows.values.dtype, rows.scales.dtype) == (FLOAT8, torch.float32)
    assert (rows.values.shape, rows.scales.shape) == (x.shape, (40, 1))
    assert torch.equal(rows.values.float().abs().amax(dim=1), torch.full((40,), 448.0))
    off = (exact(rows) - x.double()).abs()
    assert (off <= most_off(rows, x)).all()
    assert (off > 0.9 * most_off(rows, x)).any()  # the bound is no wider than it has to be


def test_what_8_bits_can_hold_is_held() -> None:
    codes = torch.arange(256, dtype=torch.uint8).view(FLOAT8).float()
    x = codes[~codes.isnan()][None] * 2.0**-5
    assert torch.equal(exact(rounded_rows(x)), x.double())


def test_rows_of_zeros_and_damaged_rows_stay_what_they_are() -> None:
    x = torch.zeros(4, 16)
    x[1, 2], x[2, 3], x[3] = torch.nan, torch.inf, 1e-30
    found = exact(rounded_rows(x))
    assert torch.equal(found[0], torch.zeros(16, dtype=torch.double))
    assert found[1].isnan().any()
    assert found[2].isnan().any()
    assert (found[3].abs() <= 1e-12).all()


def test_a_rows_rounding_does_not_depend_on_those_beside_it() -> None:
    x = random_rows(3, 7, 64).to(torch.bfloat16)
    together, alone = float8_rows(x), float8_rows(x[1:2])
    assert torch.equal(together.values[1:2].view(torch.uint8), alone.values.view(torch.uint8))
    assert torch.equal(together.scales[1:2], alone.scales)


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_layer_is_off_by_no_more_than_its_numbers_are(has_bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(96, 48, bias=has_bias).requires_grad_(False)
    x = random_rows(2, 40, 96)
    ours = Float8Linear(layer)
    with torch.inference_mode():
        found = ours(x).double()
        expected = layer.double()(x.double())
    of_x, of_weight = rounded_rows(x), rounded_rows(layer.weight.float())
    x_off, weight_off = most_off(of_x, x), most_off(of_weight, layer.weight)
    most = x_off @ layer.weight.double().abs().T + (x.double().abs() + x_off) @ weight_off.T
    sums = 96 * 2.0**-23 * (x.double().abs() @ layer.weight.double().abs().T + 1)
    off = (found - expected).abs()
    assert (off <= most + sums).all()
    assert float((off / most).mean()) > 0.01  # it is rounded, after all


def test_a_layer_takes_what_is_rounded_already_and_keeps_shape_and_dtype() -> None:
    layer = nn.Linear(32, 16).to(torch.bfloat16)
    x = random_rows(2, 5, 32).to(torch.bfloat16)
    ours = Float8Linear(layer)
    with torch.inference_mode():
        found = ours(x)
        assert torch.equal(ours(float8_rows(x)), found)
    assert (found.dtype, found.shape) == (torch.bfloat16, (2, 5, 16))
    assert ours.bias is layer.bias
    assert ours.weight.element_size() == 1


@pytest.mark.parametrize(("into", "out", "can"), [(64, 16, True), (24, 16, False), (16, 40, False)])
def test_widths_are_multiples_of_16(into: int, out: int, can: bool) -> None:
    assert can_be_float8(nn.Linear(into, out)) is can


def test_a_cpu_is_refused_by_name() -> None:
    message = rf"denoiser\.dtype: fp8 needs a GPU .*8\.9.* this stage is on cpu; {OTHERS} run"
    with pytest.raises(ConfigError, match=message):
        require_float8_products(CPU, setting="denoiser.dtype: fp8", others=OTHERS)


def test_an_older_gpu_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA A100-SXM4-80GB")
    message = re.escape(f"is on NVIDIA A100-SXM4-80GB of 8.0; {OTHERS} run there")
    with pytest.raises(ConfigError, match=message):
        require_float8_products(torch.device("cuda"), setting="denoiser.dtype: fp8", others=OTHERS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU")
def test_a_denoiser_without_a_gpu_refuses_it_before_it_loads(random_model: ResolvedModel) -> None:
    with pytest.raises(ConfigError, match=r"denoiser\.dtype: fp8 needs a GPU"):
        DenoiseService(random_model, DenoiserConfig(dtype="fp8"), "denoiser#1")


@pytest.mark.parametrize("setting", ["auto", "float32", "bfloat16", "float16"])
def test_nothing_else_chooses_it(setting: UNetDtype) -> None:
    assert unet_precision(setting, steps=4).float8 == frozenset()


def float8_layers(unet: nn.Module) -> list[str]:
    return [name for name, module in unet.named_modules() if isinstance(module, Float8Linear)]


def test_each_product_is_of_every_block_and_nothing_else_changes(
    random_model: ResolvedModel,
) -> None:
    whole = load_unet(random_model, torch.bfloat16).unet
    blocks = sum(type(module).__name__ == "BasicTransformerBlock" for module in whole.modules())
    assert blocks > 0
    layers_of: dict[Product, int] = {"self_qkv": 3 * blocks}
    found: list[str] = []
    for product in PRODUCTS:
        unet = load_unet(random_model, torch.bfloat16).unet
        assert put_in_float8(unet, [product]) == layers_of.get(product, blocks)
        found += float8_layers(unet)
    assert len(found) == len(set(found)) == 8 * blocks

    assert put_in_float8(whole, PRODUCTS) == len(found)
    assert sorted(float8_layers(whole)) == sorted(found)
    assert all("transformer_blocks" in name for name in found)
    kept = [name for name, module in whole.named_modules() if type(module) is nn.Linear]
    assert {"attn2.to_k", "attn2.to_v"} == {
        ".".join(name.split(".")[-2:]) for name in kept if "transformer_blocks" in name
    }
    assert {parameter.dtype for parameter in whole.parameters()} == {torch.bfloat16}


def test_loras_are_in_the_weights_that_are_rounded(tmp_path: Path) -> None:
    base = write_random_sdxl(tmp_path / "base", tokenizer_from=TOKENIZER_FROM, seed=4)
    lora = write_random_lora(tmp_path / "lora.safetensors", model_dir=base, seed=1, alpha=8.0)
    plain = resolve(entry(tmp_path / "plain", f"base: {base}\n"))
    fused = resolve(entry(tmp_path / "fused", f"base: {base}\nlora: {{path: {lora}}}\n"))

    def rounded(model: ResolvedModel) -> dict[str, torch.Tensor]:
        unet = load_unet(model, torch.bfloat16).unet
        put_in_float8(unet, PRODUCTS)
        return {
            name: (layer.weight.float() * layer.scales.T)
            for name, layer in unet.named_modules()
            if isinstance(layer, Float8Linear)
        }

    without, found = rounded(plain), rounded(fused)
    weights = load_unet(fused, torch.float32).unet.state_dict()
    changed = 0
    for name, weight in found.items():
        whole = weights[f"{name}.weight"]
        torch.testing.assert_close(
            weight, whole, rtol=2**-4 + 2**-7, atol=float(whole.abs().max()) / 448 / 2**9
        )
        changed += not torch.equal(weight, without[name])
    assert changed == len(found)


def test_a_unet_runs_with_them(random_model: ResolvedModel) -> None:
    def predicted(float8: list[Product]) -> torch.Tensor:
        runner = UNetRunner.load(random_model, dtype=torch.bfloat16, device=CPU, float8=float8)
        inputs = runner._zeros(2, 8, 8)
        inputs.sample.copy_(
            torch.randn(inputs.sample.shape, generator=torch.Generator().manual_seed(0))
        )
        return runner._executor(inputs).float()

    plain, rounded = predicted([]), predicted([*PRODUCTS])
    off = float((rounded - plain).norm() / plain.norm())
    assert 1e-4 < off < 0.1


@on_a_gpu
@pytest.mark.parametrize("shape", [(2, 77, 640), (1, 1, 1280), (3, 5, 5120)])
def test_by_triton_rows_are_rounded_as_by_torch(shape: tuple[int, ...]) -> None:
    x = random_rows(*shape).to("cuda", torch.bfloat16)
    found, expected = float8_rows(x), rounded_rows(x)
    assert triton_kernels(KERNELS, x.device, x.dtype) is not None
    torch.testing.assert_close(found.scales, expected.scales, rtol=1e-6, atol=0)
    # A quotient's last bit may decide a tie otherwise.
    differ = found.values.float() != expected.values.float()
    assert float(differ.float().mean()) < 1e-3
    assert ((exact(found) - x.double()).abs() <= most_off(found, x) * (1 + 2**-16)).all()


@on_a_gpu
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_gpus_product_is_the_torch_forms(has_bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(640, 1280, bias=has_bias).to(torch.bfloat16)
    x = random_rows(2, 77, 640).to(torch.bfloat16)
    require_float8_products(torch.device("cuda"), setting="denoiser.dtype: fp8", others=OTHERS)
    with torch.inference_mode():
        rows = rounded_rows(x)
        expected = Float8Linear(layer)(rows).float()
        ours = Float8Linear(layer.cuda())
        found = ours(Float8Rows(*(part.cuda() for part in rows))).cpu().float()
        alone = ours(Float8Rows(rows.values[:1].cuda(), rows.scales[:1].cuda())).cpu().float()
    # 14 bits of the sums are kept, and 8 of the result.
    size = expected.abs().amax(dim=-1, keepdim=True)
    assert ((found - expected).abs() <= size * 2**-7).all()
    assert ((alone - found[:1]).abs() <= size[:1] * 2**-7).all()
