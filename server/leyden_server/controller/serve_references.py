"""What a Serve config names is there: import paths, deployments, and the Gateway's applications."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from leyden_server.controller.serve_app import GatewayArgs, StageArgs, build_app
from leyden_server.controller.stage_applications import STAGES
from leyden_server.errors import ConfigError
from leyden_server.gateway.deployment import Gateway

__all__ = ["reference_faults"]

GATEWAY = "gateway"

DEPLOYMENTS: dict[str, Any] = {GATEWAY: Gateway} | dict(STAGES.items())
"""The one deployment of each kind of application."""


def reference_faults(applications: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return, of applications that have Ray's keys alone, what they name and what is not there."""
    faults: list[str] = []
    stages: dict[str, StageArgs] = {}
    gateways: dict[str, GatewayArgs] = {}
    for number, application in enumerate(applications):
        at, args = f"applications[{number}]", application.get("args", {})
        builder, problem = _imported(application["import_path"])
        if problem:
            faults.append(f"{at}.import_path: {problem}")
        if builder is not build_app:
            continue  # somebody else's
        try:
            if args.get("stage") == GATEWAY:
                gateways[at] = GatewayArgs.from_mapping(args, f"{at}.args", ConfigError)
            else:
                name = application["name"]
                stages[name] = StageArgs.from_mapping(args, f"{at}.args", ConfigError)
        except ConfigError as error:
            faults += str(error).splitlines()
        else:
            has = DEPLOYMENTS[args["stage"]].name
            faults += [
                f"{at}.deployments[{index}].name: {has!r} is this application's only deployment "
                f"(got {deployment['name']!r})"
                for index, deployment in enumerate(application.get("deployments", []))
                if deployment["name"] != has
            ]
    if not faults:  # else stages that are there would be missed
        for at, gateway in gateways.items():
            faults += _stages_of(f"{at}.args", gateway, stages)
    return faults


def _stages_of(at: str, gateway: GatewayArgs, stages: Mapping[str, StageArgs]) -> Iterator[str]:
    models = set(gateway.config.models)
    if set(gateway.stages) != models:
        yield f"{at}.stages: of the models of config.models each once: {', '.join(sorted(models))}"
    for model, names in gateway.stages.items():
        for kind in STAGES:
            name: str = getattr(names, kind)
            found = stages.get(name)
            if found is None or found.stage != kind:
                there = [other for other, args in stages.items() if args.stage == kind]
                yield (
                    f"{at}.stages.{model}.{kind}: no application {name!r} of that stage; there "
                    f"is {', '.join(there) or 'none'}"
                )


def _imported(path: str) -> tuple[object, str]:
    """Return what an import path, `module:attribute` or `module.attribute`, names, or why not."""
    module, _, attribute = path.partition(":") if ":" in path else path.rpartition(".")
    try:
        return getattr(import_module(module), attribute), ""
    except ImportError as error:
        return None, f"{path!r} cannot be imported: {error}"
    except AttributeError:
        return None, f"{path!r}: {module} has no {attribute!r}"
