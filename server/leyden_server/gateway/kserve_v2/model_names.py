"""Which model a request means: a name of the listing, and its one version."""

import re

from leyden_server.errors import ModelNotFoundError, ModelVersionNotFoundError
from leyden_server.gateway.kserve_v2.signature import VERSION
from leyden_server.gateway.parsing import invalid
from leyden_server.generations.catalog import ModelCatalog
from leyden_server.generations.served_model import ServedModel

__all__ = ["check_version", "ready_model"]

NUMBER = re.compile(r"[0-9]{1,18}")


def ready_model(catalog: ModelCatalog, name: str, version: str) -> ServedModel:
    """Return the model of that name and version.

    Raises:
        ModelNotFoundError: there is none; an empty name is no model's here.
        ModelVersionNotFoundError: it has no such version.
        InvalidRequestError: that is no version at all.
        ModelNotLoadedError: the server does not load it.
        UnavailableError: it is still being loaded, or a stage of it is gone.

    """
    if not name:
        names = tuple(view.entry.name for view in catalog.view_all())
        raise ModelNotFoundError(name, names[:30])
    catalog.view(name)
    check_version(name, version)
    return catalog.get(name)


def check_version(name: str, version: str) -> None:
    """See that a model has this version: "1", and "" is the same.

    Raises:
        ModelVersionNotFoundError: it has not.
        InvalidRequestError: that is no version at all.

    """
    if version in {"", VERSION}:
        return
    if not NUMBER.fullmatch(version) or int(version) < 1:
        raise invalid("model_version", f"a whole number above 0, or empty; got {version[:100]!r}")
    if int(version) != int(VERSION):
        raise ModelVersionNotFoundError(name, version)
