"""Which stages a version of a model shares, and what the others are called."""

import pytest

from leyden_server.controller.names import Names
from leyden_server.controller.placement import Placement, place, unused
from leyden_server.model_repository import ResolvedModel
from leyden_server.model_repository.file_marks import FileMarks, file_marks

NAMES = Names("leyden")
OLD = FileMarks("encoders", "unet", "vae")


def numbered(
    model: ResolvedModel, marks: FileMarks, *there: Placement, number: int = 1
) -> Placement:
    return place(model, marks, NAMES, there, number=number)


def test_models_of_one_base_share_what_was_loaded_from_the_same_files(
    lightning: ResolvedModel, base: ResolvedModel
) -> None:
    first = numbered(lightning, OLD)
    assert first.applications == (
        NAMES.text_encoder(lightning.text_encoder_key),
        "leyden-denoiser-leyden-tiny-lightning-4step",
        NAMES.vae(lightning.vae_key),
    )
    second = numbered(base, FileMarks("encoders", "another unet", "vae"), first)
    assert second.text_encoder == first.text_encoder
    assert second.vae == first.vae
    assert second.denoiser.application == "leyden-denoiser-leyden-tiny-base"
    assert unused({*first.applications, *second.applications}, [second]) == [
        "leyden-denoiser-leyden-tiny-lightning-4step"
    ]


def test_changed_files_have_a_stage_of_their_own_beside_the_old_one(
    lightning: ResolvedModel,
) -> None:
    first = numbered(lightning, OLD)
    second = numbered(lightning, FileMarks("encoders", "changed", "vae"), first)
    usual = first.denoiser.application
    assert second.denoiser.application == f"{usual}.2"
    assert second.text_encoder == first.text_encoder
    third = numbered(lightning, FileMarks("changed", "again", "vae"), first, second)
    assert third.denoiser.application == f"{usual}.3"
    assert third.text_encoder.application.endswith(".2")
    # The old ones are gone: their names are free.
    fourth = numbered(lightning, OLD, third)
    assert fourth.denoiser.application == usual


def test_a_version_is_told_from_another_by_its_files_and_its_entry(
    lightning: ResolvedModel, base: ResolvedModel
) -> None:
    placed = numbered(lightning, OLD)
    assert placed.is_of(lightning, OLD)
    assert not placed.is_of(base, OLD)
    assert not placed.is_of(lightning, FileMarks("encoders", "unet", "changed"))


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("unet/diffusion_pytorch_model.safetensors", {"denoiser"}),
        ("unet/config.json", {"denoiser"}),
        ("scheduler/scheduler_config.json", {"denoiser"}),
        ("text_encoder_2/model.safetensors", {"text_encoder"}),
        ("tokenizer/tokenizer_config.json", {"text_encoder"}),
        ("vae/diffusion_pytorch_model.safetensors", {"vae"}),
    ],
)
def test_each_file_counts_for_its_stage(
    random_model: ResolvedModel, file: str, changed: set[str]
) -> None:
    before = file_marks(random_model)
    assert file_marks(random_model) == before
    path = random_model.base_folder / file
    assert path.is_file()
    path.touch()
    after = file_marks(random_model)
    stages = ("text_encoder", "denoiser", "vae")
    assert {s for s in stages if getattr(before, s) != getattr(after, s)} == changed
