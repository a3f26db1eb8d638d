"""Compares what a runner answered, and what the server's log says, with what was expected."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from clients.cases import Events, Expectation, ExpectedError, ExpectedLog

__all__ = ["kind_of", "log_differences", "seen_differences", "state_differences"]

OTHER = {
    "rpc": {"rpc", "other", ""},
    "deadline exceeded": {"deadlineexceeded", "elapsed"},
}
"""Names of a kind beside behaviour.md's: what has none of its own, and tokio's timeout, which is
Rust's deadline of a call that is no generation."""

LASTING: Mapping[str, tuple[str, ...]] = {
    "stages": ("name", "kind", "models", "running_replicas", "wanted_replicas", "problem"),
    "gateways": ("replica", "draining"),
}
"""What a server says of its state that is the same from one call to the next."""

SEEDS_DRAWN = 2**32
"""Seeds that a client draws are below."""


def kind_of(name: str) -> str:
    """Return which of behaviour.md's kinds a class or variant is named for.

    `InvalidArgumentError`, `Error::InvalidArgument`, `KindInvalidArgument` and
    `ErrInvalidArgument` are one: "invalidargument".
    """
    words = re.sub(r"[^a-z]", "", re.split(r"[.:$/]", name)[-1].lower())
    words = re.sub(r"^(kind|leyden)?(error|err(?!or))?(kind)?", "", words)
    return re.sub(r"(error|exception)$", "", words)


def seen_differences(
    expect: Expectation, answer: Mapping[str, Any], files: Sequence[str]
) -> list[str]:
    """Say where an answer is not as expected; `files` are the SHA-256 of the images to come."""
    found = _error_differences(expect.error, answer.get("error"))
    if answer.get("left") != expect.left:
        found.append(f"left is {answer.get('left')!r}, not {expect.left!r}")
    events = answer.get("events") or []
    if expect.events is not None:
        found += _event_differences(expect.events, events)
    elif events and not expect.partial and expect.left is None:
        found.append(f"{len(events)} events came where none was expected")
    elif expect.partial or expect.left is not None:
        found += _order_differences(events)
    found += _image_differences(expect, answer.get("images") or [], files)
    warnings = tuple((answer.get("summary") or {}).get("warnings") or ())
    if warnings != expect.warnings:
        found.append(f"warnings are {warnings}, not {expect.warnings}")
    models = [model for model in answer.get("models") or [] if model in expect.models]
    if tuple(models) != expect.models:
        found.append(f"models are {answer.get('models')}, without {expect.models} in this order")
    return found


def _error_differences(expected: ExpectedError | None, seen: Mapping[str, Any] | None) -> list[str]:
    if expected is None or seen is None:
        if expected is None and seen is None:
            return []
        return [f"error is {seen}, not {expected and expected.kind}"]
    found = []
    if expected.kind == "misuse":
        if seen.get("code"):
            found.append(f"the error has the code {seen['code']}: it came from the server")
    elif kind_of(seen.get("type") or "") not in OTHER.get(
        expected.kind, {expected.kind.replace(" ", "")}
    ):
        found.append(f"the error's type is {seen.get('type')}, not one for {expected.kind!r}")
    code = seen.get("code") or "" if expected.code == "any" else expected.code
    pairs = {
        "code": (seen.get("code") or "", code),
        "reason": (seen.get("reason") or "", expected.reason),
        "violations": (
            tuple(violation["field"] for violation in seen.get("violations") or ()),
            expected.violations,
        ),
    }
    found += [f"{name} is {is_!r}, not {due!r}" for name, (is_, due) in pairs.items() if is_ != due]
    if not all(violation["description"] for violation in seen.get("violations") or ()):
        found.append("a violation has no description")
    said = seen.get("metadata") or {}
    found += [
        f"the error's metadata have {name}={said.get(name)!r}, not {due!r}"
        for name, due in expected.metadata.items()
        if said.get(name) != due
    ]
    retry_after_s = seen.get("retry_after_s")
    if (retry_after_s is not None and retry_after_s > 0) != expected.retry_after:
        found.append(f"retry_after_s is {retry_after_s}")
    if expected.says not in (seen.get("message") or ""):
        found.append(f"the message does not say {expected.says!r}: {seen.get('message')!r}")
    if not seen.get("message"):
        found.append("the error has no message")
    return found


def _event_differences(expected: Events, events: Sequence[Mapping[str, Any]]) -> list[str]:
    found = _order_differences(events, again=expected.again)
    kinds = [event["kind"] for event in events]
    begins = expected.begins_after < 0
    if begins and kinds.count("text_encoded") != 1:
        found.append(f"text_encoded came {kinds.count('text_encoded')} times")
    if kinds.count("summary") != 1 or kinds[-1:] != ["summary"]:
        found.append(f"the stream does not end with its one summary: {kinds[-3:]}")
    if kinds.count("image") != expected.images:
        found.append(f"{kinds.count('image')} images came, not {expected.images}")
    if events and not expected.again and events[0]["index"] != expected.begins_after + 1:
        found.append(f"the first event is {events[0]['index']}, not {expected.begins_after + 1}")
    for image in range(expected.images):
        steps = [
            event["step"]
            for event in events
            if event["kind"] == "denoise_progress" and event["image_index"] == image
        ]
        due = list(range(1, expected.steps + 1))
        if steps != (due if begins else due[len(due) - len(steps) :]):
            found.append(f"the steps of image {image} are {steps}, not 1 to {expected.steps}")
    if any(event.get("num_steps", expected.steps) != expected.steps for event in events):
        found.append(f"an event's num_steps is not {expected.steps}")
    indices = [event["index"] for event in events]
    gaps = [after for before, after in pairwise(indices) if after != before + 1]
    if gaps and not expected.chunked and not expected.again:
        found.append(f"the indices are not gapless: {indices}")
    if expected.chunked and len(gaps) != expected.images:
        found.append(f"an image in chunks has its last chunk's index: {indices}")
    previews = sum(event.get("bytes", 0) > 0 for event in events)
    if previews < expected.least_previews or (previews and not expected.least_previews):
        found.append(f"{previews} previews came; at least {expected.least_previews} were due")
    return found


ORDER = ("queued", "text_encoded", "denoise_progress", "image", "summary")


def _order_differences(events: Sequence[Mapping[str, Any]], *, again: bool = False) -> list[str]:
    """Say what is wrong with the order of a stream, also of one that was cut short."""
    found = []
    kinds = [event["kind"] for event in events]
    found += [f"there is no event {kind!r}" for kind in kinds if kind not in (*ORDER, "preview")]
    ranks = [ORDER.index(kind) for kind in kinds if kind in ORDER]
    # text_encoded may come between queued ones.
    early = [rank for rank in ranks if rank > 1]
    if early != sorted(early) and kinds.count("image") < 2:
        found.append(f"the order of the events is {kinds}")
    if "denoise_progress" in kinds and "queued" in kinds[kinds.index("denoise_progress") :]:
        found.append("queued came after a step")
    indices = [event["index"] for event in events if event["kind"] != "preview"]
    if not again and indices != sorted(set(indices)):
        found.append(f"the indices do not rise: {indices}")
    return found


def _image_differences(
    expect: Expectation, images: Sequence[Mapping[str, Any]], files: Sequence[str]
) -> list[str]:
    found = []
    # They come as they are done.
    images = sorted(images, key=lambda image: int(image["image_index"]))
    if expect.events is not None and len(images) != len(expect.images):
        found.append(f"{len(images)} images were told, not {len(expect.images)}")
        return found
    if expect.events is None and images and not expect.partial:
        found.append(f"{len(images)} images came where none was expected")
    for index, (due, image) in enumerate(zip(expect.images, images, strict=False)):
        if image["image_index"] != index:
            found.append(f"image {index} says that it is {image['image_index']}")
        seed = str(image["seed"])
        if due.seed is None and not (seed.isdecimal() and int(seed) < SEEDS_DRAWN):
            found.append(f"the drawn seed of image {index} is {seed}")
        if due.seed is not None and seed != due.seed:
            found.append(f"the seed of image {index} is {seed}, not {due.seed}")
        if image["output_format"] != due.format:
            found.append(f"image {index} is {image['output_format']}, not {due.format}")
        if image["bytes"] < due.least_bytes:
            found.append(f"image {index} has {image['bytes']} bytes, below {due.least_bytes}")
        if due.compared and image["sha256"] != files[index]:
            found.append(f"the file of image {index} is not the one that the server gives")
    return found


def log_differences(expected: ExpectedLog, line: Mapping[str, Any]) -> list[str]:
    """Say where the log's line on a generation's end is not as expected."""
    found = []
    if line["code"] != expected.code:
        found.append(f"the log's code is {line['code']}, not {expected.code}")
    if (line.get("reason") or "") != expected.reason:
        found.append(f"the log's reason is {line.get('reason')!r}, not {expected.reason!r}")
    rows = line.get("unet_rows") or 0
    if rows < expected.least_rows:
        found.append(f"{rows} UNet rows were run, below {expected.least_rows}")
    if expected.most_rows is not None and rows > expected.most_rows:
        found.append(f"{rows} UNet rows were run, above {expected.most_rows}: work went on")
    return found


def state_differences(
    due: Mapping[str, Any], seen: Mapping[str, Any] | None, *, whole: bool
) -> list[str]:
    """Say where a server's state is not as expected; `whole`: also what changes by itself."""
    if seen is None:
        return ["the client did not tell the server's state"]
    found = []
    for part, lasting in LASTING.items():
        names = [tuple(entry) if whole else lasting for entry in due[part]]
        if len(seen[part]) != len(names):
            found.append(f"there are {len(seen[part])} {part}, not {len(names)}")
            continue
        kept = [
            [{name: entry.get(name) for name in of} for entry, of in zip(said, names, strict=True)]
            for said in (due[part], seen[part])
        ]
        if kept[0] != kept[1]:
            found.append(f"the {part} are {kept[1]}, not {kept[0]}")
    for name in ("bottleneck", "bottleneck_reason"):
        if whole and due[name] != seen.get(name):
            found.append(f"{name} is {seen.get(name)!r}, not {due[name]!r}")
    return found
