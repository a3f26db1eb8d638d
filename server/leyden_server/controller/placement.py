"""In which stages a version of a model runs, and which of them it shares."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from leyden_server.controller.names import Names
from leyden_server.model_repository import ResolvedModel
from leyden_server.model_repository.file_marks import FileMarks

__all__ = ["PlacedStage", "Placement", "place", "unused"]


@dataclass(frozen=True, slots=True)
class PlacedStage:
    """A stage that runs, or is to run."""

    application: str
    """Its name: the usual one, with a number behind it where that is taken by other files."""
    name: str
    """The usual name of such a stage (`Names`)."""
    files: str
    """Of `FileMarks`: what it was loaded from."""


@dataclass(frozen=True, slots=True)
class Placement:
    """One version of a model, and its stages."""

    number: int
    """Its own, of all versions of all models of the server."""
    model: ResolvedModel
    text_encoder: PlacedStage
    denoiser: PlacedStage
    vae: PlacedStage

    @property
    def stages(self) -> tuple[PlacedStage, PlacedStage, PlacedStage]:
        """All three."""
        return self.text_encoder, self.denoiser, self.vae

    @property
    def applications(self) -> tuple[str, str, str]:
        """The names of all three."""
        return self.text_encoder.application, self.denoiser.application, self.vae.application

    def is_of(self, model: ResolvedModel, marks: FileMarks) -> bool:
        """Tell whether a model, as its files are now, is this version."""
        files = (self.text_encoder.files, self.denoiser.files, self.vae.files)
        return self.model == model and files == (marks.text_encoder, marks.denoiser, marks.vae)


def place(
    model: ResolvedModel,
    marks: FileMarks,
    names: Names,
    there: Sequence[Placement],
    *,
    number: int,
    taken: Collection[str] = (),
) -> Placement:
    """Return where a model is to run beside what is `there`.

    It shares each stage that is there with the same files, and has the others for itself, under
    names that are not `taken`.
    """

    def stage(name: str, files: str, of: Callable[[Placement], PlacedStage]) -> PlacedStage:
        alike = [of(placement) for placement in there]
        for one in alike:
            if (one.name, one.files) == (name, files):
                return one
        return PlacedStage(_free(name, {*taken, *(one.application for one in alike)}), name, files)

    return Placement(
        number,
        model,
        stage(names.text_encoder(model.text_encoder_key), marks.text_encoder, _text_encoder),
        stage(names.denoiser(model.name), marks.denoiser, _denoiser),
        stage(names.vae(model.vae_key), marks.vae, _vae),
    )


def unused(applications: Iterable[str], there: Iterable[Placement]) -> list[str]:
    """Return those of `applications` that no placement has."""
    used = {application for placement in there for application in placement.applications}
    return [application for application in applications if application not in used]


def _free(name: str, taken: set[str]) -> str:
    """Return the usual name, or the first free one with a number behind it."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}.{number}"
    return free


def _text_encoder(placement: Placement) -> PlacedStage:
    return placement.text_encoder


def _denoiser(placement: Placement) -> PlacedStage:
    return placement.denoiser


def _vae(placement: Placement) -> PlacedStage:
    return placement.vae
