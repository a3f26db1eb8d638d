"""/v1/models: what clients list before they generate."""

from typing import Any

from leyden_server.errors import ModelNotFoundError
from leyden_server.generations.catalog import ModelCatalog, ModelView

__all__ = ["model", "models"]


def models(catalog: ModelCatalog) -> dict[str, Any]:
    """Return the models that can be used now."""
    return {"object": "list", "data": [_model(view) for view in _usable(catalog)]}


def model(catalog: ModelCatalog, name: str) -> dict[str, Any]:
    """Return one of them.

    Raises:
        ModelNotFoundError: it is not among them.

    """
    views = {view.entry.name: view for view in _usable(catalog)}
    if name not in views:
        raise ModelNotFoundError(name, tuple(views))
    return _model(views[name])


def _usable(catalog: ModelCatalog) -> list[ModelView]:
    return [view for view in catalog.view_all() if view.state == "ready"]


def _model(view: ModelView) -> dict[str, Any]:
    # `created` must be there; when its weights were made nobody has written down.
    return {"id": view.entry.name, "object": "model", "created": 0, "owned_by": "leyden"}
