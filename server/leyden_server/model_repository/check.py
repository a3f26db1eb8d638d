"""What a file or folder is, and whether it can be served: `leyden models check`. Headers alone."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leyden_server.checkpoint.leftovers import is_leftover
from leyden_server.checkpoint.lora_file import LoraFile
from leyden_server.checkpoint.lora_metadata import training_notes
from leyden_server.checkpoint.model_plan import (
    IN_CHECKPOINT,
    MARKS,
    UNET_FILE,
    VAE_FILE,
    ModelPlan,
    WeightFiles,
    layout_of,
)
from leyden_server.checkpoint.part_plan import Scheme, plan_part, scheme_of, unknown_in
from leyden_server.checkpoint.recognition import Recognised, recognise
from leyden_server.checkpoint.safetensors_file import SafetensorsFile
from leyden_server.checkpoint.sdxl_shape import SDXL_BASE, SDXL_SHAPE
from leyden_server.checkpoint.shape_of import clip_config_of, unet_config_of, vae_config_of
from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository.entry import ModelEntry
from leyden_server.model_repository.item import MODEL_FILE, RepositoryItem
from leyden_server.model_repository.resolve import resolve
from leyden_server.model_repository.sources import FileSource, FolderSource

__all__ = ["CheckReport", "check"]

PARTS_OF_LORAS = ("unet", "text_encoder", "text_encoder_2")
MOST_TAGS = 8


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What is known of a file or folder."""

    path: Path
    what: str
    """In words: an all-in-one SDXL checkpoint."""
    problems: tuple[str, ...] = ()
    """Why it cannot be served; empty where it can."""
    precision: dict[str, int] = field(default_factory=dict)
    """How many tensors are stored in each dtype."""
    parameters: dict[str, int] = field(default_factory=dict)
    """How many numbers each part has."""
    prediction_type: str = ""
    """As far as the file itself says it."""
    rescale_betas_zero_snr: bool | None = None
    """As far as the file itself says it."""
    known: int = 0
    """Tensors that are used."""
    meaningless: tuple[str, ...] = ()
    """Tensors that are known to change no picture."""
    unknown: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    trigger_words: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    """What a LoRA's header tells of its training."""
    model_yaml: str = ""
    """With which `model.yaml` it can be served."""

    @property
    def servable(self) -> bool:
        """Whether nothing stands against serving it."""
        return not self.problems


def check(path: Path, base: Path | None = None) -> CheckReport:
    """Tell what `path` is. `base` is the diffusers folder that a file is to be laid over.

    Whether numbers are finite is not looked at: that takes reading them all.

    Raises:
        ModelRepositoryError: there is no such file or folder.

    """
    if path.is_dir():
        return _check_folder(path)
    if not path.exists():
        raise ModelRepositoryError(f"{path}: there is no such file or folder")
    try:
        file = SafetensorsFile.read(path)
    except ModelRepositoryError as error:
        return CheckReport(path, "a file that cannot be read", (str(error),))
    found = recognise(file)
    report = {
        "precision": dict(Counter(tensor.dtype for tensor in file).most_common()),
        "meaningless": tuple(name for name in file.tensors if is_leftover(name)),
        **_marks(file),
    }
    if found.refused:
        return CheckReport(
            path, found.what, (f"{path}: is {found.what}: {found.refused}",), **report
        )
    if found.kind == "lora":
        return _check_lora(file, found, base, report)
    if found.kind == "text_encoder":
        problem = f"{path}: is {found.what} on its own, and model.yaml has no key for one"
        return CheckReport(path, found.what, (problem,), **report)
    if found.kind == "textual_inversion":
        return _check_embedding(file, base, report)
    return _check_weights(file, found, base, report)


def _check_folder(path: Path) -> CheckReport:
    entry_file = path / MODEL_FILE
    try:
        if entry_file.is_file():
            entry = ModelEntry.from_yaml(entry_file, ModelRepositoryError)
        else:
            entry = ModelEntry()
        model = resolve(RepositoryItem(path.resolve().name, path.resolve(), entry))
    except ModelRepositoryError as error:
        return CheckReport(path, "a model folder", (str(error),))
    plan = ModelPlan(model.weight_files)
    parts = {part: plan.part(part) for part in SDXL_SHAPE}
    stored = {(p.file.path, p.tensor.name): p.tensor for one in parts.values() for p in one.pieces}
    precision = dict(Counter(tensor.dtype for tensor in stored.values()).most_common())
    config = model.scheduler_config
    return CheckReport(
        path,
        "a diffusers SDXL folder" if not entry_file.is_file() else "a model of the repository",
        precision=precision,
        parameters={part: one.parameters for part, one in parts.items()},
        prediction_type=str(config.get("prediction_type", "epsilon")),
        rescale_betas_zero_snr=bool(config.get("rescale_betas_zero_snr", False)),
        known=sum(len(names) for part in parts.values() for names in part.used.values()),
        model_yaml=entry_file.read_text(encoding="utf-8") if entry_file.is_file() else "base: .\n",
    )


def _check_weights(
    file: SafetensorsFile, found: Recognised, base: Path | None, report: dict[str, Any]
) -> CheckReport:
    key = {"checkpoint": "single_file", "unet": "unet", "vae": "vae"}[found.kind]
    configs = _configs(file, found)
    problems, missing, used = [], [], set()
    parameters = {}
    for part, config in configs.items():
        layout = layout_of(part, config)
        scheme = scheme_of(layout, [file], _schemes(part, found))
        names = {scheme.name(parameter) for parameter in layout.values()}
        missing += sorted(names - file.tensors.keys())
        try:
            plan = plan_part(part, layout, [file], scheme)
        except ModelRepositoryError as error:
            problems.append(str(error))
            used |= names
        else:
            parameters[part] = plan.parameters
            used |= plan.used[file.path]
    unknown = unknown_in(file, used)
    if unknown:
        problems.append(f"{file.path}: Leyden does not know what {unknown[0]} is for")
    if not problems and base is not None:
        problems += _problems_over(file.path, key, base)
    is_sdxl = all(
        config[name] == value
        for part, config in configs.items()
        for name, value in SDXL_SHAPE[part].items()
        # A projection that the first encoder does not use.
        if name in config and (part, name) != ("text_encoder", "projection_dim")
    )
    return CheckReport(
        file.path,
        found.what,
        tuple(problems),
        parameters=parameters,
        known=len(used & file.tensors.keys()),
        unknown=tuple(unknown),
        missing=tuple(missing),
        model_yaml="" if problems else f"{_base_line(base, is_sdxl)}{key}: {file.path.name}\n",
        **report,
    )


def _check_lora(
    file: SafetensorsFile, found: Recognised, base: Path | None, report: dict[str, Any]
) -> CheckReport:
    told = training_notes(file.metadata)
    words = [told.trigger_phrase] if told.trigger_phrase else []
    words += [tag for tag, _ in told.tags[: MOST_TAGS - len(words)]]
    notes = {
        name: text
        for name, text in (
            ("title", told.title),
            ("author", told.author),
            ("made for", told.architecture),
            ("trained on", told.base_model),
            ("comment", told.comment),
        )
        if text
    }
    report |= {"trigger_words": tuple(words), "notes": notes}
    try:
        if base is None:
            layouts = {part: layout_of(part, SDXL_SHAPE[part]) for part in PARTS_OF_LORAS}
        else:
            plan = ModelPlan(WeightFiles(base, {}))
            layouts = {part: plan.layout(part) for part in PARTS_OF_LORAS}
        lora = LoraFile.read(file, layouts)
    except ModelRepositoryError as error:
        hint = "" if base else "; --base names a folder of other sizes than SDXL's own"
        return CheckReport(file.path, found.what, (f"{error}{hint}",), **report)
    kinds = dict.fromkeys("DoRA" if layer.dora else NAMES[layer.kind] for layer in lora.layers)
    return CheckReport(
        file.path,
        f"a {' and '.join(kinds)} file, {len(lora.layers)} layers for {' and '.join(lora.parts)}",
        known=len(file.tensors),
        parameters={"adapter": file.parameters},
        model_yaml=f"{_base_line(base, True)}lora: {{path: {file.path.name}, scale: 1}}\n",
        **report,
    )


def _check_embedding(
    file: SafetensorsFile, base: Path | None, report: dict[str, Any]
) -> CheckReport:
    vectors = file.tensors["clip_l"].shape[0]
    what = f"a textual inversion of {vectors} vector{'s' if vectors > 1 else ''}"
    problems = []
    if base is not None:
        try:
            ModelPlan(WeightFiles(base, {})).check_embedding(file.path)
        except ModelRepositoryError as error:
            problems.append(str(error))
    return CheckReport(
        file.path,
        what,
        tuple(problems),
        known=len(file.tensors),
        parameters={"embedding": file.parameters},
        model_yaml=f"{_base_line(base, True)}embeddings: "
        f"[{{path: {file.path.name}, token: <{file.path.stem}>}}]\n",
        **report,
    )


NAMES = {
    "lora": "LoRA",
    "loha": "LoHa",
    "lokr": "LoKr",
    "diff": "full difference",
    "norm": "norm difference",
}


def _problems_over(path: Path, key: str, base: Path) -> list[str]:
    """Return what stands against serving a file over a base's configs."""
    source: Any = FileSource(path=str(path.resolve()))
    entry = ModelEntry(base=FolderSource(path=str(base.resolve())), **{key: source})
    try:
        resolve(RepositoryItem(path.stem, path.resolve().parent, entry))
    except ModelRepositoryError as error:
        return [str(error)]
    return []


def _base_line(base: Path | None, is_sdxl: bool) -> str:
    if base is not None:
        return f"base: {base}\n"
    if is_sdxl:
        return f"base: {{repo: {SDXL_BASE}}}\n"
    return "base: ../a-diffusers-folder-of-this-shape  # it has not SDXL's own sizes\n"


def _configs(file: SafetensorsFile, found: Recognised) -> dict[str, dict[str, Any]]:
    if found.kind == "vae":
        return {"vae": vae_config_of(file, found.prefix, original=found.original)}
    unet = unet_config_of(file, found.prefix, original=found.original)
    if found.kind == "unet":
        return {"unet": unet}
    prefixes = {part: schemes[0].prefix for part, schemes in IN_CHECKPOINT.items()}
    return {
        "text_encoder": clip_config_of(file, prefixes["text_encoder"], open_clip=False),
        "text_encoder_2": clip_config_of(file, prefixes["text_encoder_2"], open_clip=True),
        "unet": unet,
        "vae": vae_config_of(file, prefixes["vae"], original=True),
    }


def _schemes(part: str, found: Recognised) -> Iterable[Scheme]:
    if found.kind == "checkpoint":
        return IN_CHECKPOINT[part]
    return UNET_FILE if part == "unet" else VAE_FILE


def _marks(file: SafetensorsFile) -> dict[str, Any]:
    names = {name.rpartition(".")[2] for name in file.tensors}
    return {field: value for mark, field, value in MARKS if mark in names}
