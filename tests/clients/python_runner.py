"""Answers the asks of the harness by `leyden_client`: an ask a line in, an answer a line out."""

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import asdict
from typing import Any

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from leyden_client import (
    AsyncClient,
    DenoiseProgress,
    Event,
    Image,
    PreviewOptions,
    Queued,
    RpcError,
    ServerState,
    Summary,
    TextEncoded,
    TlsConfig,
)

KINDS = {
    Queued: "queued",
    TextEncoded: "text_encoded",
    DenoiseProgress: "denoise_progress",
    Image: "image",
    Summary: "summary",
}

Json = dict[str, Any]


async def main() -> None:
    """Answer until the end of the input."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        ask = json.loads(line)
        answer = await (measured(ask) if ask["call"] == "load" else answered(ask))
        print(json.dumps(answer), flush=True)


async def answered(ask: Json) -> Json:
    """Do what is asked by a client of its own, and say what was seen."""
    answer: Json = {
        "name": ask.get("name"),
        "request_id": None,
        "events": [],
        "images": [],
        "summary": None,
        "models": [],
        "state": None,
        "left": None,
        "error": None,
    }
    try:
        with traced(ask):
            async with connected(ask) as client:
                await called(client, ask, answer)
    except asyncio.CancelledError:
        answer["left"] = "cancel"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        answer["error"] = told(error)
    return answer


def connected(ask: Json) -> AsyncClient:
    """Return a client of the server that is asked for."""
    files = ask.get("tls")
    tls = (
        TlsConfig(files["ca"], files.get("private_key"), files.get("certificate"))
        if files
        else False
    )
    return AsyncClient(ask["target"], tls=tls, api_key=ask.get("api_key"))


async def called(client: AsyncClient, ask: Json, answer: Json) -> None:
    """Make the call."""
    options = ask.get("options", {})
    timeout_s = options.get("timeout_s")
    request = ask.get("request", {})
    request_id = request.get("request_id", "")
    match ask["call"]:
        case "generate":
            stream = client.stream_image(**fields(ask))
        case "watch":
            after = ask.get("after_event_index")
            stream = client.watch(request_id, after, timeout_s=timeout_s)
        case "cancel":
            await client.cancel(request_id, timeout_s=timeout_s)
            return
        case "list_models":
            models = await client.list_models(timeout_s=timeout_s)
            answer["models"] = [model.name for model in models]
            return
        case "get_model":
            model = await client.get_model(request.get("model", ""), timeout_s=timeout_s)
            answer["models"] = [model.name]
            return
        case "load_model":
            model = await client.load_model(request["model"], timeout_s=timeout_s)
            answer["models"] = [model.name]
            return
        case "unload_model":
            await client.unload_model(request["model"], timeout_s=timeout_s)
            return
        case "get_server_state":
            answer["state"] = of_state(await client.get_server_state(timeout_s=timeout_s))
            return
        case "wait_until_ready":
            await client.wait_until_ready(timeout_s)
            return
        case "start":
            answer["request_id"] = await client.start_image(**fields(ask))
            return
        case unknown:
            raise ValueError(f"no such call: {unknown}")
    await read(stream, ask, answer)


async def read(stream: AsyncGenerator[Event, None], ask: Json, answer: Json) -> None:
    """Read a stream, and leave it where that is asked for."""
    leave = ask.get("leave", {})
    seen = 0
    async with aclosing(stream):
        async for event in stream:
            record(event, answer)
            seen += KINDS[type(event)] == leave.get("after")
            if leave and seen >= leave["count"]:
                if leave["by"] == "break":
                    answer["left"] = "break"
                    break
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            await asyncio.sleep(ask.get("pause_ms", 0) / 1e3)


def fields(ask: Json) -> Json:
    """Return what is asked for as the client's own options."""
    request = {**ask.get("request", {}), **ask.get("misspelt", {}), **ask.get("options", {})}
    if "seed" in request:
        request["seed"] = int(request["seed"])
    if "output_format" in request:
        request["output_format"] = request["output_format"].lower()
    if request.pop("preview", False):
        request["preview"] = PreviewOptions()
    return request


def record(event: Event, answer: Json) -> None:
    """Write down an event."""
    entry: Json = {"kind": KINDS[type(event)], "index": event.event_index}
    answer["events"].append(entry)
    answer["request_id"] = event.request_id
    match event:
        case DenoiseProgress():
            entry |= {
                "image_index": event.image_index,
                "step": event.step,
                "num_steps": event.total_steps,
            }
            if event.preview is not None:
                entry["bytes"] = len(event.preview.data)
        case Image():
            entry["image_index"] = event.image_index
            image = {
                "image_index": event.image_index,
                "seed": str(event.seed),
                "output_format": event.format.upper(),
                "sha256": hashlib.sha256(event.data).hexdigest(),
                "bytes": event.size_bytes,
            }
            answer["images"].append(image)
        case Summary():
            warnings = [warning.reason for warning in event.warnings]
            answer["summary"] = {"model": event.model, "warnings": warnings}
        case _:
            pass


def of_state(state: ServerState) -> Json:
    """Write down a server's state."""
    return {
        "stages": [{**asdict(stage), "kind": stage.kind.value.upper()} for stage in state.stages],
        "gateways": [asdict(gateway) for gateway in state.gateways],
        "bottleneck": state.bottleneck,
        "bottleneck_reason": state.bottleneck_reason,
    }


@contextmanager
def traced(ask: Json) -> Iterator[None]:
    """Make a span of the caller's the current one, as a program that is traced has it."""
    with ExitStack() as stack:
        if "traceparent" in ask:
            context = TraceContextTextMapPropagator().extract({"traceparent": ask["traceparent"]})
            span = trace.get_current_span(context)
            stack.enter_context(trace.use_span(span))
        yield


def told(error: Exception) -> Json:
    """Describe an error."""
    said: Json = {
        "type": type(error).__name__,
        "code": None,
        "reason": "",
        "metadata": {},
        "message": str(error),
        "violations": [],
        "retry_after_s": None,
    }
    if isinstance(error, RpcError):
        said |= {
            "code": error.code.name,
            "reason": error.reason,
            "metadata": dict(error.metadata),
            "message": error.message,
            "violations": [
                {"field": violation.field, "description": violation.description}
                for violation in error.violations
            ],
            "retry_after_s": error.retry_after_s,
        }
    return said


async def measured(ask: Json) -> Json:
    """Generate `requests` times by `streams` at once over one client; tell how long each took."""
    latencies_s: list[float] = []
    async with connected(ask) as client:
        left = iter(range(ask["requests"]))

        async def stream() -> None:
            for _ in left:
                started_s = time.perf_counter()
                await client.generate_image("a lake")
                latencies_s.append(time.perf_counter() - started_s)

        started_s = time.perf_counter()
        await asyncio.gather(*(stream() for _ in range(ask["streams"])))
        elapsed_s = time.perf_counter() - started_s
    return {"name": ask.get("name"), "latencies_s": latencies_s, "elapsed_s": elapsed_s}


if __name__ == "__main__":
    asyncio.run(main())
