"""Checks a Serve config file against what Ray Serve knows, key by key.

Ray drops what it does not know in silence, at every level, passes `autoscaling_config` on unread,
and takes a deployment that is named twice (Ray Serve 2.60): a misspelt key is a setting that does
not hold. So this reads the fields of Ray's own schema, and what `serve_app` takes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from leyden_server.controller.serve_references import reference_faults

__all__ = ["faults_of"]


def faults_of(config: object) -> list[str]:
    """Return what is wrong with a Serve config, a line each; empty: nothing is.

    `config` is what the YAML file, or a RayService's `serveConfigV2`, says. Import paths are
    imported.
    """
    if not isinstance(config, Mapping):
        return [f"a mapping with `applications` belongs here (got {type(config).__name__})"]
    faults = [*_unknown(config, ServeDeploySchema, "")] or [*_wrong(config)]
    if not faults:
        applications: Sequence[Mapping[str, Any]] = config["applications"]
        for number, application in enumerate(applications):
            faults += _of_application(f"applications[{number}]", application)
        faults += reference_faults(applications)
    return faults


def _unknown(data: object, model: type[BaseModel], where: str) -> Iterator[str]:
    """Yield each key, at any depth, that its model has not."""
    if data is None:
        return
    if not isinstance(data, Mapping):
        yield f"{where.removesuffix('.')}: a mapping belongs here (got {data!r})"
        return
    known = {name: field.annotation for name, field in model.model_fields.items()}
    known |= {field.alias: field.annotation for field in model.model_fields.values() if field.alias}
    for key, value in data.items():
        at = f"{where}{key}"
        if key not in known:
            near = get_close_matches(str(key), list(known), n=1, cutoff=0)
            yield f"{at}: unknown key; the nearest known one is {near[0]!r}"
            continue
        inner = _model_in(known[key])
        if inner is None:
            continue  # free, as `args` and `resources` are
        for index, one in enumerate(value) if isinstance(value, list) else [(None, value)]:
            yield from _unknown(one, inner, f"{at}." if index is None else f"{at}[{index}].")


def _model_in(annotation: object) -> type[BaseModel] | None:
    """Return the model that an annotation is, or has somewhere in it: `dict | Model`, of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _model_in(one))), None)


def _wrong(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what Ray's schema itself refuses, of values as the file has them: no "7" for 7."""
    try:
        text = json.dumps(config)
    except TypeError as error:  # a date, say, which YAML makes of what looks like one
        yield f"not plain data: {error}"
        return
    try:
        ServeDeploySchema.model_validate_json(text, strict=True)
    except ValidationError as error:
        yield from _lines(error, "")


def _of_application(at: str, application: Mapping[str, Any]) -> Iterator[str]:
    prefix = application.get("route_prefix")
    if prefix is not None and (not prefix.startswith("/") or (prefix != "/" and prefix[-1] == "/")):
        yield f"{at}.route_prefix: begins with / and ends without one (got {prefix!r})"
    seen: set[str] = set()
    for number, deployment in enumerate(application.get("deployments", [])):
        here, name = f"{at}.deployments[{number}]", deployment["name"]
        if name in seen:
            yield f"{here}.name: {name!r} is named twice; the last one alone would hold"
        seen.add(name)
        scaling = deployment.get("autoscaling_config")
        if isinstance(scaling, Mapping):
            try:
                AutoscalingConfig.model_validate_json(json.dumps(scaling), strict=True)
            except ValidationError as error:
                yield from _lines(error, f"{here}.autoscaling_config")


def _lines(error: ValidationError, where: str) -> Iterator[str]:
    for one in error.errors():
        at = where
        for part in one["loc"]:
            at += f"[{part}]" if isinstance(part, int) else f".{part}" if at else str(part)
        yield f"{at or 'the config'}: {one['msg'].removeprefix('Value error, ')}"
