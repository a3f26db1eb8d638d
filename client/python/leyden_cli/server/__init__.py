"""The server's commands: `serve`, `demo`, `config`, `models pull`, `models check`, `keys` and more.

This module stays light, since the client's `leyden --help` imports it: no Ray, no torch.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from leyden_cli.server import keys, plan_arguments

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_commands"]

SERVE_EPILOG = """\
examples:
  leyden serve
  leyden serve --model my-sdxl --model-repository ./models --port 9000
  leyden config > leyden.yaml && leyden serve --config leyden.yaml
  leyden serve --host 0.0.0.0 --tls-certificate cert.pem --tls-private-key key.pem \\
    --api-keys keys.yaml

It prints `ready: grpc HOST:PORT` (grpcs: with TLS) when the first request would succeed. Ctrl-C (or
SIGTERM) drains: running generations finish, new ones are refused; a second Ctrl-C
stops at once. One line for each request goes to stderr: JSON, as in the request log, or
with --log-format text for people.
"""

PULL_EPILOG = """\
examples:
  leyden models pull sdxl-lightning-4step --dry-run
  leyden models pull sdxl-lightning-4step

HF_ENDPOINT names another hub, such as a mirror; HF_HOME or HF_HUB_CACHE the cache's folder;
HF_TOKEN logs in.
"""

CHECK_EPILOG = """\
examples:
  leyden models check my-checkpoint.safetensors
  leyden models check my-lora.safetensors --json
  leyden models check ./my-sdxl
"""


def add_commands(subparsers: "Subparsers") -> None:
    """Add the server's commands to the `leyden` command."""
    serve = subparsers.add_parser(
        "serve",
        help="run a server in the foreground",
        description="Run a server in the foreground. Options override the config file.",
        epilog=SERVE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    serve.add_argument(
        "--port", type=int, help="TCP port to listen on; 0 picks a free one (default: 8001)"
    )
    serve.add_argument(
        "--metrics-port",
        type=int,
        metavar="PORT",
        help="TCP port of the page with metrics for Prometheus; 0 picks a free one (default: "
        "8002, and a free one with --port 0)",
    )
    serve.add_argument(
        "--web",
        nargs="?",
        const="",
        metavar="[HOST:]PORT",
        help="open the HTTP door too: a page for people, Connect and gRPC-Web (docs/web.md); "
        "alone it is 127.0.0.1:8080, and port 0 picks a free one (default: it is closed)",
    )
    serve.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help="model to load, by its name in the repository; may be given several times, the "
        "first is the default model (default: leyden-tiny-lightning-4step)",
    )
    serve.add_argument(
        "--model-repository",
        action="append",
        type=Path,
        metavar="DIR",
        help="folder with further models: diffusers SDXL folders, or folders with a model.yaml; "
        "may be given several times",
    )
    serve.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML file with settings; `leyden config` prints one with every default",
    )
    serve.add_argument(
        "--in-process",
        action="store_true",
        help="run everything in this process, without Ray: min_replicas of each stage, in threads",
    )
    serve.add_argument(
        "--log-format",
        choices=("json", "text"),
        help="how requests are shown on stderr: json, as the request log has them, or text for "
        "people, in colours on a terminal unless NO_COLOR is set (default: json)",
    )
    _add_security(serve)
    serve.add_argument(
        "--print-serve-config",
        action="store_true",
        help="run nothing; print a Ray Serve config (`serve deploy`, KubeRay's serveConfigV2) "
        "whose applications are this server",
    )
    serve.set_defaults(run=_serve)

    demo = subparsers.add_parser(
        "demo",
        help="start a server, generate one picture, stop",
        description="Start a server on a free port, generate one picture with live progress, "
        "and stop everything that was started.",
    )
    demo.add_argument(
        "-o", "--output", type=Path, default=Path("demo.png"), help="(default: demo.png)"
    )
    demo.set_defaults(run=_demo)

    config = subparsers.add_parser(
        "config",
        help="print every setting with its meaning and default",
        description="Print every setting with its meaning and default, as YAML that "
        "`leyden serve --config` reads.",
    )
    config.set_defaults(run=_config)

    fit = subparsers.add_parser(
        "fit-previews",
        help="fit the preview factors of a model",
        description="Generate images with a model, fit the linear map from their latents to "
        "their pixels by least squares, and print it as YAML for the model's model.yaml. "
        "Runs in this process, without a server.",
    )
    fit.add_argument("model", metavar="NAME", help="the model's name in the repository")
    fit.add_argument(
        "--model-repository",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="folder with further models; may be given several times",
    )
    fit.add_argument(
        "--images", type=int, default=64, help="images to fit to (default: %(default)s)"
    )
    fit.set_defaults(run=_fit_previews)
    _add_pull(subparsers)
    _add_check(subparsers)
    keys.add_command(subparsers)
    plan_arguments.add_command(subparsers)


def _add_security(serve: argparse.ArgumentParser) -> None:
    group = serve.add_argument_group("TLS and API keys")
    for option, what in (
        ("--tls-certificate", "PEM file with the server's certificate: speak TLS"),
        ("--tls-private-key", "PEM file with the certificate's private key"),
        ("--tls-client-ca", "PEM file: let in clients alone whose certificate is by one of these"),
        ("--api-keys", "file of API keys, of which each call then needs one; see leyden keys"),
    ):
        group.add_argument(option, metavar="FILE", type=Path, help=what)
    group.add_argument(
        "--insecure",
        action="store_true",
        default=None,
        help="speak plaintext beyond this machine, where --host says so and there is no TLS",
    )


def _add_pull(subparsers: "Subparsers") -> None:
    pull = subparsers.add_parser(
        "models pull",
        help="fetch the files of a model from the hub",
        description="Fetch the files that a model needs, and no others, from the Hugging Face "
        "hub into the local hub cache. Goes on where it was interrupted, and checks sizes and "
        "hashes against the hub's.",
        epilog=PULL_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pull.add_argument("model", metavar="NAME", help="the model's name in the repository")
    pull.add_argument(
        "--model-repository",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="folder with further models; may be given several times",
    )
    pull.add_argument(
        "--dry-run", action="store_true", help="list the files and their sizes, fetch nothing"
    )
    pull.set_defaults(run=_pull)


def _add_check(subparsers: "Subparsers") -> None:
    check = subparsers.add_parser(
        "models check",
        help="say what a model file or folder is, and how to serve it",
        description="Say what a model file or folder is, and whether it can be served and with "
        "which model.yaml, from its headers and configs alone: whether its numbers are finite is "
        "seen when it is loaded. The exit status is 1 where it cannot be served.",
        epilog=CHECK_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("path", metavar="PATH", type=Path, help="a safetensors file, or a folder")
    check.add_argument(
        "--base",
        metavar="DIR",
        type=Path,
        help="diffusers folder that a file is to be laid over (default: SDXL base's own sizes)",
    )
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.set_defaults(run=_check)


def _serve(args: argparse.Namespace) -> int:
    from leyden_cli.server.serve import serve

    return serve(args)


def _demo(args: argparse.Namespace) -> int:
    from leyden_cli.server.demo import demo

    return demo(args.output)


def _fit_previews(args: argparse.Namespace) -> int:
    from leyden_cli.server.fit_previews import fit_previews

    return fit_previews(args.model, args.model_repository, args.images)


def _pull(args: argparse.Namespace) -> int:
    from leyden_cli.server.pull import pull

    return pull(args.model, args.model_repository, dry_run=args.dry_run)


def _check(args: argparse.Namespace) -> int:
    from leyden_cli.server.check import check_path

    return check_path(args.path, args.base, as_json=args.json)


def _config(_args: argparse.Namespace) -> int:
    from leyden_cli.server.config_text import config_text

    print(config_text(), end="")
    return 0
