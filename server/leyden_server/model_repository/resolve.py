"""From an entry to a model that can be loaded: finds its files and reads its configs."""

from pathlib import Path
from typing import Any

from leyden_server.checkpoint.model_plan import ModelPlan, WeightFiles
from leyden_server.checkpoint.scheduler_config import check_scheduler, solver_of
from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository.diffusers_folder import DiffusersFolder, files_in
from leyden_server.model_repository.entry import (
    DEFAULT_ETA,
    ModelEntry,
    NoiseScheduleOverrides,
    SolverName,
)
from leyden_server.model_repository.hub_cache import cached_file, cached_folder
from leyden_server.model_repository.item import MODEL_FILE, RepositoryItem
from leyden_server.model_repository.links import check_links
from leyden_server.model_repository.resolved import FusedLora, LearnedToken, ResolvedModel
from leyden_server.model_repository.solver_rules import check_solvers, steps_served
from leyden_server.model_repository.sources import FileSource, LoraSource

__all__ = ["missing_hub_files", "resolve"]


def resolve(item: RepositoryItem) -> ResolvedModel:
    """Find the files of one model and read its configs; no weights are read.

    Raises:
        ModelRepositoryError: something that the model needs is missing or contradicts itself.

    """
    try:
        return _resolve(item)
    except ModelRepositoryError as error:
        raise ModelRepositoryError(f"model {item.name!r}: {error}") from error
    except OSError as error:
        raise ModelRepositoryError(
            f"model {item.name!r}: {error.filename}: cannot be read: {error.strerror}"
        ) from error


def missing_hub_files(item: RepositoryItem) -> list[str]:
    """Return what the model needs of the hub and the local hub cache has not."""
    missing = []
    base = item.entry.base
    if base.repo:
        folder = cached_folder(base)
        names = set() if folder is None else files_in(folder)
        files = item.needed_of_base.select(names)[1]
        if files:
            listed = f" ({', '.join(files)})" if names else ""
            missing.append(f"{base.repo} at {base.revision}{listed}")
    return missing + [
        f"{file.repo}/{file.file} at {file.revision}"
        for file in item.files
        if file.repo and cached_file(file) is None
    ]


def _resolve(item: RepositoryItem) -> ResolvedModel:
    entry = item.entry
    missing = missing_hub_files(item)
    if missing:
        raise ModelRepositoryError(
            f"not in the local hub cache: {'; '.join(missing)}. Fetch what is missing with "
            f"'{item.pull_command}'"
        )
    base = DiffusersFolder.read(_base_folder(item), item.needed_of_base)
    if entry.base.path:
        needed, _ = item.needed_of_base.select(files_in(base.path))
        for name in needed:
            check_links(base.path / name, [base.path, item.folder.parent])
    weights = WeightFiles(
        base_folder=base.path,
        of_base=_base_files(item, base),
        single_file=_file(item, entry.single_file),
        unet_file=_file(item, entry.unet),
        vae_file=_file(item, entry.vae),
    )
    plan = ModelPlan(weights)
    scheduler_config, solvers = _schedule(base, entry.noise_schedule, plan)
    steps = steps_served(entry.num_inference_steps, scheduler_config, solvers)
    time_cond_proj_dim = plan.config("unet")["time_cond_proj_dim"]
    check_solvers(
        entry.noise_schedule,
        steps,
        scheduler_config,
        solvers,
        guidance_is_embedded=time_cond_proj_dim is not None,
    )
    plan.check()
    native_width, native_height = base.native_size_px
    width = entry.size.default_width_px or native_width
    height = entry.size.default_height_px or native_height
    model = ResolvedModel(
        name=item.name,
        description=entry.description,
        license=entry.license,
        base_folder=base.path,
        variant=entry.variant or None,
        single_file=weights.single_file,
        unet_file=weights.unet_file,
        vae_file=weights.vae_file,
        base_files=weights.of_base,
        loras=_loras(item, plan),
        embeddings=_embeddings(item, plan),
        scheduler_config=scheduler_config,
        solvers=solvers,
        timesteps=dict(entry.noise_schedule.timesteps),
        eta=DEFAULT_ETA if entry.noise_schedule.eta is None else entry.noise_schedule.eta,
        time_cond_proj_dim=time_cond_proj_dim,
        steps=steps,
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
        known_words=_known_words(item),
    )
    _check_sizes(model)
    _check_preview(model)
    return model


def _base_folder(item: RepositoryItem) -> Path:
    base = item.entry.base
    if base.repo:
        folder = cached_folder(base)
        assert folder is not None, "missing_hub_files has seen to it"
        return folder
    return (item.folder / base.path).resolve()


def _file(item: RepositoryItem, source: FileSource | None) -> Path | None:
    if source is None:
        return None
    if source.repo:
        return cached_file(source)
    named = item.folder / source.path
    file = named.resolve()
    if not file.is_file():
        raise ModelRepositoryError(f"{file} is missing")
    check_links(named, [item.folder.parent])
    return file


def _base_files(item: RepositoryItem, base: DiffusersFolder) -> dict[str, tuple[Path, ...]]:
    needed, names = item.needed_of_base, files_in(base.path)
    return {
        part: tuple(
            base.path / name
            for name in needed.weights(part, names)
            if name.endswith(".safetensors")
        )
        for part in needed.weights_of
    }


def _check_sizes(model: ResolvedModel) -> None:
    """Hold the entry, and what follows where it is silent, to what a request's sides must be."""
    least, most, multiple = model.min_size_px, model.max_size_px, model.vae_scale_factor
    if least > most:
        raise ModelRepositoryError(f"size.max_px: at least size.min_px, {least}; got {most}")
    for field, side in (("width", model.width_px), ("height", model.height_px)):
        if not least <= side <= most or side % multiple:
            raise ModelRepositoryError(
                f"size.default_{field}_px: a multiple of {multiple} from {least} to {most}; "
                f"got {side}"
            )


def _check_preview(model: ResolvedModel) -> None:
    if model.preview is not None and len(model.preview.factors) != model.latent_channels:
        raise ModelRepositoryError(
            f"preview.factors: a row for each of the {model.latent_channels} latent channels; "
            f"got {len(model.preview.factors)}"
        )


def _loras(item: RepositoryItem, plan: ModelPlan) -> tuple[FusedLora, ...]:
    return tuple(_lora(item, source, plan) for source in item.entry.lora)


def _lora(item: RepositoryItem, source: LoraSource, plan: ModelPlan) -> FusedLora:
    file = _file(item, source)
    assert file is not None, "a source names a file"
    parts = plan.lora(file).parts
    if source.text_encoder == "ignore":
        parts = tuple(part for part in parts if part == "unet")
    if not parts:
        raise ModelRepositoryError(
            f"{file}: has layers for text encoders alone, and text_encoder: ignore leaves them out"
        )
    return FusedLora(file, source.scale, parts)


def _embeddings(item: RepositoryItem, plan: ModelPlan) -> tuple[LearnedToken, ...]:
    found = []
    for source in item.entry.embeddings:
        file = _file(item, source)
        assert file is not None, "a source names a file"
        plan.check_embedding(file)
        found.append(LearnedToken(file, source.token))
    return tuple(found)


def _schedule(
    base: DiffusersFolder, overrides: NoiseScheduleOverrides, plan: ModelPlan
) -> tuple[dict[str, Any], tuple[SolverName, ...]]:
    """Return the scheduler's config, what model.yaml and the weights say laid over, and solvers."""
    path = base.path / "scheduler" / "scheduler_config.json"
    said = {
        "timestep_spacing": overrides.timestep_spacing,
        "prediction_type": overrides.prediction_type,
        "rescale_betas_zero_snr": overrides.rescale_betas_zero_snr,
    }
    for field, (mark, meaning) in plan.marks.items():
        if said[field] not in (None, meaning):
            raise ModelRepositoryError(
                f"noise_schedule.{field}: {said[field]} in model.yaml, but the weights are "
                f"marked {mark}, which is {field}: {meaning}"
            )
        said[field] = meaning
    config = {**base.scheduler, **{k: v for k, v in said.items() if v is not None}}
    solvers = overrides.solvers
    _, named = base.model_index.get("scheduler") or (None, None)
    if not solvers and named not in (None, config.get("_class_name")):
        raise ModelRepositoryError(
            f"{path}: _class_name: {config.get('_class_name')}, but model_index.json has {named}; "
            "make them one, or choose noise_schedule.solvers in model.yaml"
        )
    check_scheduler(config, path, solvers)
    return config, solvers or (solver_of(config, path),)


def _known_words(item: RepositoryItem) -> tuple[str, ...]:
    """Return the entry's own words, else those of its base: the base's text encoders read."""
    words, base = item.entry.known_words, item.entry.base
    if words is None and base.path:
        base_entry = (item.folder / base.path).resolve() / MODEL_FILE
        if base_entry.is_file():
            words = ModelEntry.from_yaml(base_entry, ModelRepositoryError).known_words
    return tuple(sorted(set(words or ())))


def _multiple(value: int, of: int) -> int:
    return max(of, value // of * of)
