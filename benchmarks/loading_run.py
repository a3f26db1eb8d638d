"""One process of the loading measurement: loads what it is told, and prints what it took.

`python -m benchmarks.loading_run diffusers BASE FILE LORA …` loads a pipeline and runs its UNet
once; `python -m benchmarks.loading_run STAGE MODEL_FOLDER` loads what a stage holds: text_encoder,
denoiser or vae. Imports are over before anything is measured.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

DTYPE = torch.bfloat16
SIDE_PX = 256


def main() -> None:
    """Load, and print one JSON object."""
    what, *arguments = sys.argv[1:]
    load = _diffusers(arguments) if what == "diffusers" else _stage(what, Path(arguments[0]))
    process = psutil.Process()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before, read_before = process.memory_info().rss, _told("io", "rchar")
    started_s = time.perf_counter()
    weights_bytes, peak = load()
    told = {
        "load_s": time.perf_counter() - started_s,
        "loaded_peak_bytes": peak - before,
        "weights_bytes": weights_bytes,
        "bytes_read": _told("io", "rchar") - read_before,
    }
    print(json.dumps(told), flush=True)
    os._exit(0)  # nothing that is freed one by one is waited for


Load = Callable[[], tuple[int, int]]
"""Returns the bytes of all weights, and the resident peak until they were loaded."""


def _diffusers(arguments: Sequence[str]) -> Load:
    import peft  # noqa: F401 - diffusers would import it only now
    from diffusers import StableDiffusionXLPipeline

    def load() -> tuple[int, int]:
        base, file, *loras = arguments
        pipeline = StableDiffusionXLPipeline.from_single_file(
            file, config=base, dtype=DTYPE, local_files_only=True, add_watermarker=False
        )
        names = [f"lora{number}" for number in range(len(loras))]
        for name, lora in zip(names, loras, strict=True):
            pipeline.load_lora_weights(lora, adapter_name=name)
        pipeline.set_adapters(names, [0.7] * len(names))
        pipeline.fuse_lora()
        pipeline.unload_lora_weights()
        peak = _peak_bytes()
        _run_once(pipeline.unet)
        parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
        return sum(map(_bytes_of, parts)), peak

    return load


def _stage(what: str, folder: Path) -> Load:
    # As a stage's service imports it.
    from leyden_server.denoiser.unet_runner import UNetRunner
    from leyden_server.model_repository import ModelRepository
    from leyden_server.text_encoder.encoder import PromptEncoder
    from leyden_server.vae.decoder import VaeDecoder

    cpu = torch.device("cpu")
    holders: dict[str, Callable[[Any], Any]] = {
        "text_encoder": lambda model: PromptEncoder(model, dtype=DTYPE, device=cpu, replica=""),
        "denoiser": lambda model: UNetRunner.load(model, dtype=DTYPE, device=cpu),
        "vae": lambda model: VaeDecoder(model, dtype=DTYPE, device=cpu),
    }
    torch.set_num_threads(1)
    # The controller's, which hands it to the stages.
    model = ModelRepository([folder]).resolve(folder.name)

    def load() -> tuple[int, int]:
        holder = holders[what](model)
        return sum(map(_bytes_of, _modules_of(holder))), _peak_bytes()

    return load


def _modules_of(holder: Any) -> list[torch.nn.Module]:
    found: list[torch.nn.Module] = []
    for value in vars(holder).values():
        if isinstance(value, torch.nn.Module):
            found.append(value)
        elif type(value).__module__.startswith("leyden_server"):
            found += [m for m in _listed(vars(value).values()) if m not in found]
    return found


def _listed(values: Any) -> list[torch.nn.Module]:
    flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
    return [one for one in flat if isinstance(one, torch.nn.Module)]


def _run_once(unet: Any) -> None:
    side = SIDE_PX // 8
    pooled = unet.config.projection_class_embeddings_input_dim
    pooled -= 6 * unet.config.addition_time_embed_dim
    with torch.inference_mode():
        unet(
            torch.zeros(1, unet.config.in_channels, side, side, dtype=DTYPE),
            999,
            encoder_hidden_states=torch.zeros(1, 77, unet.config.cross_attention_dim, dtype=DTYPE),
            added_cond_kwargs={
                "text_embeds": torch.zeros(1, pooled, dtype=DTYPE),
                "time_ids": torch.zeros(1, 6, dtype=DTYPE),
            },
        )


def _bytes_of(module: torch.nn.Module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())


def _peak_bytes() -> int:
    return _told("status", "VmHWM") * 1024


def _told(file: str, name: str) -> int:
    """Return a number that Linux tells of this process."""
    lines = Path(f"/proc/self/{file}").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


if __name__ == "__main__":
    main()
