"""An entry of the repository, with what follows from it before any file is looked at."""

from dataclasses import dataclass
from pathlib import Path

from leyden_server.model_repository.entry import ModelEntry
from leyden_server.model_repository.needed_files import PARTS, NeededFiles
from leyden_server.model_repository.sources import FileSource

__all__ = ["MODEL_FILE", "SHIPPED_MODELS", "RepositoryItem"]

MODEL_FILE = "model.yaml"
"""What an entry's file is called, in its folder."""

SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "models"


@dataclass(frozen=True, slots=True)
class RepositoryItem:
    """An entry and the folder that it stands in."""

    name: str
    folder: Path
    entry: ModelEntry

    @property
    def needed_of_base(self) -> NeededFiles:
        """What the model needs of its base."""
        entry = self.entry
        replaced = {"unet": entry.unet, "vae": entry.vae}
        parts = tuple(
            part for part in PARTS if entry.single_file is None and replaced.get(part) is None
        )
        return NeededFiles(entry.variant or None, parts)

    @property
    def files(self) -> tuple[FileSource, ...]:
        """The single files that the model needs."""
        entry = self.entry
        files = (entry.single_file, entry.unet, entry.vae, *entry.lora, *entry.embeddings)
        return tuple(file for file in files if file is not None)

    @property
    def pull_command(self) -> str:
        """What fetches the model's files from the hub."""
        command = f"leyden models pull {self.name}"
        shipped = self.folder.parent == SHIPPED_MODELS
        return command if shipped else f"{command} --model-repository {self.folder}"
