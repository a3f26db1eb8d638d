"""The table of cases, `cases.yaml`, with its types: an unknown key is an error."""

from collections.abc import Mapping
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
    "Script",
    "ScriptedError",
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


class ScriptedError(_Entry):
    """A status with its details, as a server sends it."""

    code: str
    """The gRPC code."""
    reason: str = ""
    """ErrorInfo's reason; empty: there are no details, as where a connection breaks."""
    message: str = "it failed"
    metadata: Mapping[str, str] = Field(default_factory=dict)
    """ErrorInfo's."""
    retry_after_s: float | None = None
    """RetryInfo's delay; None: there is no RetryInfo."""


class Script(_Entry):
    """What the scripted server answers: what a whole server cannot be brought to do on demand."""

    events: int = 6
    """So many of a whole generation's events, which are 6, the summary last."""
    data_bytes: int = 100
    """Of the image, which comes in one message."""
    fails: ScriptedError | None = None
    """How the call ends, of GenerateImage and of LoadModel; None: with OK. WatchGeneration gives
    the event after those, and holds back the rest."""
    state: Mapping[str, Any] = Field(default_factory=dict)
    """The fields of GetServerStateResponse."""


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
    """The gRPC code; "any": one, which the library below the client chooses."""
    reason: str = ""
    """ErrorInfo's reason; empty: there is none."""
    metadata: Mapping[str, str] = Field(default_factory=dict)
    """ErrorInfo's metadata, maybe among more."""
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
    model_states: Mapping[str, str] = Field(default_factory=dict)
    """Of models of the open server, as it says afterwards: "READY" and so on."""
    server_state: bool = False
    """Whether the client is to tell the server's state, as the server gives it by plain stubs."""
    traced: tuple[str, ...] = ()
    """The methods of the calls that come with the trace and the span that were asked for: as the
    scripted server hears them, or a real one's own spans show."""
    error: ExpectedError | None = None
    """None: there is to be none."""
    left: Literal["break", "cancel"] | None = None
    """How the stream was left."""
    log: ExpectedLog | None = None
    """None: the log is not looked at."""
    sends_nothing: bool = False
    """Whether the server is to hear of no request of that name."""
    cancels: bool = False
    """Whether the scripted server is to hear a CancelGeneration."""
    least_connections: int = 0
    """Connections through the proxy."""


class Case(_Entry):
    """A row of the table."""

    name: str
    about: str
    """What it shows, in a few words."""
    server: Literal["open", "tls", "mutual", "draining", "scripted", "nobody"] = "open"
    """Which server is asked. All but "scripted" and "nobody" are real ones."""
    script: Script | None = None
    """What the scripted server answers."""
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

    @property
    def servers(self) -> set[str]:
        """Names of the servers that it needs: the open one gives the files to compare with."""
        led_away = self.meanwhile is not None and self.meanwhile.do == "cut_and_forget"
        return {"open", self.server} | ({"draining"} if led_away else set())


class _Table(_Entry):
    cases: tuple[Case, ...] = Field(min_length=1)


def read_cases() -> tuple[Case, ...]:
    """Return the cases; raises ValueError where the file is wrong."""
    cases = _Table.model_validate(yaml.safe_load(FILE.read_text("utf-8"))).cases
    names = [case.name for case in cases]
    if len(set(names)) < len(names):
        raise ValueError(f"{FILE.name}: a name stands there twice")
    return cases
