"""Where a whole model's weights come from: its base, an all-in-one file, files laid over it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from leyden_server.checkpoint.clip_layout import clip_layout
from leyden_server.checkpoint.fields import read_json
from leyden_server.checkpoint.layout import Layout
from leyden_server.checkpoint.lora_file import LoraFile
from leyden_server.checkpoint.part_configs import check_text_encoder, check_unet, check_vae
from leyden_server.checkpoint.part_plan import (
    PartPlan,
    Scheme,
    check_nothing_is_left,
    plan_part,
    scheme_of,
)
from leyden_server.checkpoint.recognition import (
    FIRST_ENCODERS,
    SECOND_ENCODER,
    UNET_PREFIXES,
    VAE,
    FileKind,
    recognise,
)
from leyden_server.checkpoint.safetensors_file import SafetensorsFile, is_float
from leyden_server.checkpoint.unet_layout import unet_layout
from leyden_server.checkpoint.vae_layout import vae_layout
from leyden_server.errors import ModelRepositoryError

__all__ = [
    "IN_CHECKPOINT",
    "MARKS",
    "UNET_FILE",
    "VAE_FILE",
    "ModelPlan",
    "WeightFiles",
    "layout_of",
]

IN_CHECKPOINT = {
    "unet": (Scheme(UNET_PREFIXES[0], original=True),),
    "vae": (Scheme(VAE, original=True),),
    "text_encoder": (
        Scheme(FIRST_ENCODERS[0], original=False),
        Scheme(FIRST_ENCODERS[0], original=False, without="text_model."),
    ),
    "text_encoder_2": (Scheme(SECOND_ENCODER, original=True),),
}
"""By which names an all-in-one file has a part."""

UNET_FILE = tuple(
    Scheme(prefix, original) for prefix in UNET_PREFIXES for original in (False, True)
)
OLD_VAE = Scheme("", original=False, old_attention=True)
VAE_FILE = (
    *(Scheme(prefix, original) for prefix in ("", VAE, "vae.") for original in (False, True)),
    OLD_VAE,
)
FOLDER = (
    Scheme("", original=False),
    Scheme("", original=False, without="text_model."),
    OLD_VAE,
)


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The files that a model's weights come from."""

    base_folder: Path
    """diffusers folder with the configs of all parts."""
    of_base: Mapping[str, tuple[Path, ...]]
    """The base's weight files of the parts that no other file replaces, shards in order."""
    single_file: Path | None = None
    unet_file: Path | None = None
    vae_file: Path | None = None


MARKS = (
    ("v_pred", "prediction_type", "v_prediction"),
    ("ztsnr", "rescale_betas_zero_snr", True),
)
"""The marks of v-prediction fine-tunes (NoobAI's and others'), as ComfyUI and AUTOMATIC1111's
web UI read them, and what they say."""


class ModelPlan:
    """Says of each part which tensors it is made of. Reads headers and configs, when asked."""

    def __init__(self, files: WeightFiles) -> None:
        self._files = files
        self._headers: dict[Path, SafetensorsFile] = {}

    def check(self) -> None:
        """Plan every part, and see that no tensor of any file is left over.

        Raises:
            ModelRepositoryError: a file or config is refused; the text names it and says why.

        """
        files = self._files
        plans = {part: self.part(part) for part in CHECKS}
        for part, paths in files.of_base.items():
            self._check_left(paths, [plans[part]], f"an SDXL {part}")
        if files.single_file is not None:
            header = self.header(files.single_file)
            replaced = [
                plan_part(part, self.layout(part), [header], self._in_checkpoint(part, header))
                for part, file in (("unet", files.unet_file), ("vae", files.vae_file))
                if file is not None and self._has(header, part)
            ]
            plain = [plan for plan in plans.values() if files.single_file in plan.used]
            self._check_left([files.single_file], [*plain, *replaced], "an SDXL checkpoint")
        for part, file in (("unet", files.unet_file), ("vae", files.vae_file)):
            if file is not None:
                self._check_left([file], [plans[part]], f"an SDXL {part}")

    def part(self, part: str) -> PartPlan:
        """Return where a part's parameters come from.

        Raises:
            ModelRepositoryError: a file or config is refused; the text names it and says why.

        """
        files, layout = self._files, self.layout(part)
        own = {"unet": files.unet_file, "vae": files.vae_file}.get(part)
        if own is not None:
            header = self._of_kind(own, "unet" if part == "unet" else "vae", f"{part}:")
            schemes = UNET_FILE if part == "unet" else VAE_FILE
            return plan_part(part, layout, [header], scheme_of(layout, [header], schemes))
        if files.single_file is not None:
            header = self._of_kind(files.single_file, "checkpoint", "single_file:")
            return plan_part(part, layout, [header], self._in_checkpoint(part, header))
        headers = [self.header(path) for path in files.of_base[part]]
        return plan_part(part, layout, headers, scheme_of(layout, headers, FOLDER))

    def config(self, part: str) -> dict[str, Any]:
        """Return a part's config, complete with defaults.

        Raises:
            ModelRepositoryError: a field is not served.

        """
        path = self._files.base_folder / part / "config.json"
        config = CHECKS[part](read_json(path), path)
        if part == "unet" and self._unet_file is not None:
            # LCM-SDXL comes as a file for SDXL's own base, whose UNet reads no guidance scale.
            config["time_cond_proj_dim"] = cond_proj_width(self.header(self._unet_file))
        return config

    @property
    def _unet_file(self) -> Path | None:
        """What takes the place of the base's UNet."""
        return self._files.unet_file or self._files.single_file

    def layout(self, part: str) -> Layout:
        """Return what parameters a part has by its config."""
        return layout_of(part, self.config(part))

    @cached_property
    def marks(self) -> dict[str, tuple[str, Any]]:
        """What the file that the UNet comes from says of the schedule it was trained with.

        By field of the scheduler's config: the empty tensor that says it, and the field's value.
        """
        if self._unet_file is None:
            return {}
        names = {name.rpartition(".")[2] for name in self.header(self._unet_file).tensors}
        return {field: (mark, value) for mark, field, value in MARKS if mark in names}

    def header(self, path: Path) -> SafetensorsFile:
        """Return a file's header, read once."""
        if path not in self._headers:
            self._headers[path] = SafetensorsFile.read(path)
        return self._headers[path]

    def lora(self, path: Path) -> LoraFile:
        """Return a LoRA file's layers, each of which has a parameter of the model.

        Raises:
            ModelRepositoryError: it is none, or does not fit the model.

        """
        header = self._of_kind(path, "lora", "lora:")
        return LoraFile.read(header, {part: self.layout(part) for part in CHECKS if part != "vae"})

    def check_embedding(self, path: Path) -> None:
        """Check that a textual inversion has vectors for both encoders, as many and as wide.

        Raises:
            ModelRepositoryError: it has not, or the file is none.

        """
        header = self._of_kind(path, "textual_inversion", "embeddings:")
        for name, part in (("clip_l", "text_encoder"), ("clip_g", "text_encoder_2")):
            tensor, width = header.tensors[name], self.config(part)["hidden_size"]
            rows = header.tensors["clip_l"].shape[:1]
            if tensor.shape != (*rows, width) or not is_float(tensor) or 0 in tensor.shape:
                raise ModelRepositoryError(
                    f"{path}: {name}: {tensor.dtype} of shape {list(tensor.shape)}; the {part} "
                    f"reads vectors of {width}, as many of clip_l as of clip_g"
                )

    def _of_kind(self, path: Path, wanted: FileKind, key: str) -> SafetensorsFile:
        header = self.header(path)
        found = recognise(header)
        if found.refused:
            raise ModelRepositoryError(f"{path}: is {found.what}: {found.refused}")
        if found.kind != wanted:
            place = PLACES.get(found.kind)
            hint = f"; {place}" if place else ""
            raise ModelRepositoryError(f"{path}: {key} is {found.what}{hint}")
        return header

    def _in_checkpoint(self, part: str, header: SafetensorsFile) -> Scheme:
        return scheme_of(self.layout(part), [header], IN_CHECKPOINT[part])

    def _has(self, header: SafetensorsFile, part: str) -> bool:
        prefix = IN_CHECKPOINT[part][0].prefix
        return any(name.startswith(prefix) for name in header.tensors)

    def _check_left(self, paths: Sequence[Path], plans: Iterable[PartPlan], what: str) -> None:
        used: dict[Path, set[str]] = {}
        for plan in plans:
            for path, names in plan.used.items():
                used.setdefault(path, set()).update(names)
        check_nothing_is_left([self.header(path) for path in paths], used, what)


COND_PROJ = ("time_embedding.cond_proj.weight", "time_embed.cond_proj.weight")
"""What a UNet that was distilled with guidance reads it by: diffusers' name, and the original's."""


def cond_proj_width(file: SafetensorsFile) -> int | None:
    """Return the width of the guidance scale's embedding that a UNet reads; None: it reads none."""
    return next((tensor.shape[-1] for tensor in file if tensor.name.endswith(COND_PROJ)), None)


def layout_of(part: str, config: dict[str, Any]) -> Layout:
    """Return what parameters a part has by a config that was let through."""
    if part == "unet":
        return unet_layout(config)
    if part == "vae":
        return vae_layout(config)
    return clip_layout(config, projection=part == "text_encoder_2")


CHECKS = {
    "text_encoder": check_text_encoder,
    "text_encoder_2": check_text_encoder,
    "unet": check_unet,
    "vae": check_vae,
}
PLACES: Mapping[FileKind, str] = {
    "checkpoint": "model.yaml takes it as single_file:",
    "unet": "model.yaml takes it as unet:",
    "vae": "model.yaml takes it as vae:",
    "lora": "model.yaml takes it as lora:",
    "textual_inversion": "model.yaml takes it as embeddings:",
}
"""Where a file of a kind belongs."""
