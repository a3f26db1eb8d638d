"""Which models a server has: those of its config, which it loads, and the repository's others."""

from leyden_server.config import ServerConfig
from leyden_server.errors import ModelRepositoryError
from leyden_server.generations.catalog import CatalogEntry
from leyden_server.model_repository import ModelRepository, ResolvedModel

__all__ = ["build_catalog"]


def build_catalog(config: ServerConfig, repository: ModelRepository) -> tuple[CatalogEntry, ...]:
    """Describe every model of the repository, the served ones first and in order.

    Raises:
        ModelRepositoryError: a model that is to be loaded does not exist or is incomplete.

    """
    served = [_served(repository.resolve(name)) for name in config.models]
    others = [_other(repository, name) for name in repository.names if name not in config.models]
    return (*served, *others)


def _served(model: ResolvedModel) -> CatalogEntry:
    return CatalogEntry(
        name=model.name,
        description=model.description,
        license=model.license,
        model=model,
        is_served=True,
        unavailable_reason="",
    )


def _other(repository: ModelRepository, name: str) -> CatalogEntry:
    try:
        model, reason = repository.resolve(name), f"start the server with --model {name}"
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
