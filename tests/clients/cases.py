"""The table of cases, `cases.yaml`, with its types: an unknown key is an error."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Case",
    "Events",
    "Expectation",
    "ExpectedError",
    "ExpectedLog",
    "Image",
    "Meanwhile",
    "Security",
    "read_cases",
]

FILE = Path(__file__).resolve().parent / "cases.yaml"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Security(_Entry):
    """How the client connects to a server that asks for it."""

    ca: Literal["", "ours", "another"] = ""
    """Whom it believes by TLS; empty: plaintext."""
    certificate: bool = False
    """Whether it has a certificate of its own."""
    key: Literal["", "plain", "spent", "unknown"] = ""
    """Its API key, by the name that servers.py gives it."""


class Meanwhile(_Entry):
    """What the harness does while the client is at work."""

    after: str
    """Once so many events of this kind have been sent, as the harness sees by a watch."""
    count: int = 1
    do: Literal["cancel", "cut", "cut_and_forget"]
    """cancel: end the generation by CancelGeneration. cut: break the connection, through a proxy.
    cut_and_forget: likewise, and lead the client to another server."""


class Image(_Entry):
    """An image that is to come."""

    seed: str | None = None
    """Its seed; None: one that was drawn, from 0 to 2^32 - 1."""
    format: Literal["PNG", "JPEG", "WEBP"] = "PNG"
    """Its encoding."""
    least_bytes: int = 1
    """Its least size."""
    compared: bool = True
    """Whether its file is to be the one that the server gives by plain stubs. What has shared its
    steps with another image differs by single bits from run to run."""


class Events(_Entry):
    """A stream that comes to its end well."""

    steps: int
    """Denoise steps of each image, each to come once and in order."""
    images: int = 1
    """How many images."""
    begins_after: int = -1
    """Index of the event after which it begins."""
    chunked: bool = False
    """Whether the images come in chunks, whose indices nobody sees."""
    again: bool = False
    """Whether the generation ran anew on the way, so that indices begin anew."""
    least_previews: int = 0
    """Denoise steps that come with a preview."""


class ExpectedError(_Entry):
    """The error that the client gives its caller."""

    kind: str
    """Which of behaviour.md's kinds; "misuse": the client's own, before anything is sent."""
    code: str = ""
    """The gRPC code."""
    reason: str = ""
    """ErrorInfo's reason; empty: there is none."""
    violations: tuple[str, ...] = ()
    """The fields that are named."""
    retry_after: bool = False
    """Whether it is told when to come back."""
    says: str = ""
    """Part of its message."""


class ExpectedLog(_Entry):
    """What the server's request log says of the generation in the end."""

    code: str
    """How it ended."""
    reason: str = ""
    """Why, where it was not OK."""
    least_rows: int = 0
    """UNet rows of its own, at least."""
    most_rows: int | None = None
    """At most, where it ended early: a part of what it would have had."""


class Expectation(_Entry):
    """What is to be seen; what is not named is to be absent or empty."""

    events: Events | None = None
    """A stream that ends well. None: it does not, or there is none."""
    partial: bool = False
    """Whether events may come though the stream does not end well."""
    images: tuple[Image, ...] = ()
    """The images, whose files are to be those that the server itself gives for that seed."""
    warnings: tuple[str, ...] = ()
    """The summary's warnings."""
    models: tuple[str, ...] = ()
    """Models that are to be named, in this order, maybe among others."""
    error: ExpectedError | None = None
    """None: there is to be none."""
    left: Literal["break", "cancel"] | None = None
    """How the stream was left."""
    log: ExpectedLog | None = None
    """None: the log is not looked at."""
    sends_nothing: bool = False
    """Whether the server is to hear of no request of that name."""
    least_connections: int = 0
    """Connections through the proxy."""


class Case(_Entry):
    """A row of the table."""

    name: str
    about: str
    """What it shows, in a few words."""
    server: Literal["open", "tls", "mutual", "draining", "nobody"] = "open"
    """Which server is asked."""
    proxied: bool = False
    """Whether there is a proxy between, which the harness can break."""
    security: Security = Security()
    before: tuple[dict[str, Any], ...] = ()
    """Requests that the harness sends beforehand; `wait: false` leaves one to itself."""
    meanwhile: Meanwhile | None = None
    """What the harness does while the client is at work."""
    ask: dict[str, Any]
    """What the runner is asked, but for what the harness adds: target, tls and key."""
    expect: Expectation
    """What is to be seen."""


class _Table(_Entry):
    cases: tuple[Case, ...] = Field(min_length=1)


def read_cases() -> tuple[Case, ...]:
    """Return the cases; raises ValueError where the file is wrong."""
    cases = _Table.model_validate(yaml.safe_load(FILE.read_text("utf-8"))).cases
    names = [case.name for case in cases]
    if len(set(names)) < len(names):
        raise ValueError(f"{FILE.name}: a name stands there twice")
    return cases
