"""Which models a server has: those of its config, which it loads, and the repository's others."""

from collections.abc import Sequence

from leyden_server.errors import ModelRepositoryError
from leyden_server.generations.catalog import CatalogEntry, how_to_load
from leyden_server.model_repository import ModelRepository

__all__ = ["build_catalog"]


def build_catalog(models: Sequence[str], repository: ModelRepository) -> tuple[CatalogEntry, ...]:
    """Describe every model of the repository, those of `models`, which are served, first.

    Raises:
        ModelRepositoryError: a model that is to be loaded does not exist or is incomplete.

    """
    served = [CatalogEntry.served(repository.resolve(name)) for name in models]
    others = [_other(repository, name) for name in repository.names if name not in models]
    return (*served, *others)


def _other(repository: ModelRepository, name: str) -> CatalogEntry:
    try:
        model, reason = repository.resolve(name), how_to_load(name)
    except ModelRepositoryError as error:
        model, reason = None, repository.for_clients(error)
    item = repository.items.get(name)  # None where its model.yaml is wrong
    return CatalogEntry(
        name=name,
        description="" if item is None else item.entry.description,
        license="" if item is None else item.entry.license,
        model=model,
        is_served=False,
        unavailable_reason=reason,
    )
