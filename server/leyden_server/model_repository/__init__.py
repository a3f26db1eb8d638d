"""What a model is: its entry (`model.yaml`), and the repository that holds the entries."""

from leyden_server.model_repository.entry import ModelEntry
from leyden_server.model_repository.repository import ModelRepository, RepositoryItem
from leyden_server.model_repository.resolved import ResolvedModel

__all__ = ["ModelEntry", "ModelRepository", "RepositoryItem", "ResolvedModel"]
