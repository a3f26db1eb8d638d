"""Finds the entries, and resolves those that are to be loaded."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository.diffusers_folder import DiffusersFolder
from leyden_server.model_repository.entry import ModelEntry, SolverName
from leyden_server.model_repository.resolved import ResolvedModel

__all__ = ["SHIPPED_MODELS", "ModelRepository", "RepositoryItem"]

SHIPPED_MODELS = Path(__file__).parent.parent / "models"
MODEL_FILE = "model.yaml"
INDEX_FILE = "model_index.json"


@dataclass(frozen=True, slots=True)
class RepositoryItem:
    """An entry and the folder that it stands in."""

    name: str
    folder: Path
    entry: ModelEntry


class ModelRepository:
    """All entries of the shipped folder and of the user's, by name.

    A folder of the user's is either a model itself (it has a `model.yaml` or a
    `model_index.json`) or a folder of such folders. A model's name is its folder's.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        """Read every entry; weights are not looked at.

        Raises:
            ModelRepositoryError: a folder is missing or has no model in it, an entry is malformed,
                or two have one name.

        """
        self.items: dict[str, RepositoryItem] = {}
        for folder in (SHIPPED_MODELS, *folders):
            found = list(_models_in(folder.resolve()))
            if not found:
                raise ModelRepositoryError(
                    f"{folder}: has no model: neither it nor a folder in it has a "
                    f"{MODEL_FILE} or {INDEX_FILE}"
                )
            for item in found:
                if item.name in self.items:
                    other = self.items[item.name].folder
                    raise ModelRepositoryError(f"{item.folder}: {other} has the same name")
                self.items[item.name] = item

    def resolve(self, name: str) -> ResolvedModel:
        """Read the configs of one model and check that its weight files are there.

        Raises:
            ModelRepositoryError: there is no such entry, or something that it needs is missing.

        """
        item = self.items.get(name)
        if item is None:
            near = get_close_matches(name, self.items, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ModelRepositoryError(
                f"no model {name!r}{hint} The repository has {', '.join(sorted(self.items))}"
            )
        return _resolve(item)


def _models_in(folder: Path) -> Iterable[RepositoryItem]:
    if not folder.is_dir():
        raise ModelRepositoryError(f"{folder}: is not a folder")
    candidates = [folder] if _is_model(folder) else sorted(folder.iterdir())
    for candidate in candidates:
        if _is_model(candidate):
            yield RepositoryItem(candidate.name, candidate, _read_entry(candidate))


def _is_model(folder: Path) -> bool:
    return (folder / MODEL_FILE).is_file() or (folder / INDEX_FILE).is_file()


def _read_entry(folder: Path) -> ModelEntry:
    if (folder / MODEL_FILE).is_file():
        return ModelEntry.from_yaml(folder / MODEL_FILE, ModelRepositoryError)
    return ModelEntry(description="A diffusers SDXL folder without a model.yaml.")


def _resolve(item: RepositoryItem) -> ResolvedModel:
    entry = item.entry
    unet_file = (item.folder / entry.unet).resolve() if entry.unet else None
    if unet_file is not None and not unet_file.is_file():
        raise ModelRepositoryError(f"model {item.name!r}: {unet_file} is missing")
    base = DiffusersFolder.read(
        _base_folder(item), entry.variant or None, needs_unet_weights=unet_file is None
    )
    scheduler_config = _scheduler_config(base, entry)
    solvers = entry.noise_schedule.solvers or (_solver_of(base),)
    if "euler_ancestral" in solvers and scheduler_config.get("prediction_type") == "sample":
        raise ModelRepositoryError(
            f"model {item.name!r}: euler_ancestral has no step for prediction_type sample"
        )
    native_width, native_height = base.native_size_px
    width = entry.size.default_width_px or native_width
    height = entry.size.default_height_px or native_height
    return ResolvedModel(
        name=item.name,
        description=entry.description,
        license=entry.license,
        base_folder=base.path,
        unet_file=unet_file,
        variant=entry.variant or None,
        pinned_revision=entry.revision,
        scheduler_config=scheduler_config,
        solvers=solvers,
        steps=entry.num_inference_steps,
        min_guidance_scale=entry.guidance_scale.min,
        max_guidance_scale=entry.guidance_scale.max,
        default_guidance_scale=entry.guidance_scale.default,
        width_px=width,
        height_px=height,
        min_size_px=entry.size.min_px or _multiple(min(width, height) // 2, base.vae_scale_factor),
        max_size_px=entry.size.max_px or 2 * max(width, height),
        vae_scale_factor=base.vae_scale_factor,
        latent_channels=base.latent_channels,
        max_prompt_tokens=base.max_prompt_tokens,
        zeroes_empty_negative_prompt=bool(
            base.model_index.get("force_zeros_for_empty_prompt", True)
        ),
        preview=entry.preview,
    )


def _base_folder(item: RepositoryItem) -> Path:
    if not item.entry.hub:
        return (item.folder / item.entry.base).resolve()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(item.entry.base, revision=item.entry.revision, local_files_only=True)
        )
    except HFValidationError as exception:
        raise ModelRepositoryError(f"model {item.name!r}: {exception}") from exception
    except LocalEntryNotFoundError as exception:
        raise ModelRepositoryError(
            f"model {item.name!r}: {item.entry.base} is not in the hub cache; fetch it with "
            f"'hf download {item.entry.base} --revision {item.entry.revision}'"
        ) from exception


def _scheduler_config(base: DiffusersFolder, entry: ModelEntry) -> dict[str, object]:
    overrides = {
        "timestep_spacing": entry.noise_schedule.timestep_spacing,
        "prediction_type": entry.noise_schedule.prediction_type,
    }
    return {**base.scheduler, **{k: v for k, v in overrides.items() if v is not None}}


def _solver_of(base: DiffusersFolder) -> SolverName:
    ancestral = base.scheduler.get("_class_name") == "EulerAncestralDiscreteScheduler"
    return "euler_ancestral" if ancestral else "euler"


def _multiple(value: int, of: int) -> int:
    return max(of, value // of * of)
