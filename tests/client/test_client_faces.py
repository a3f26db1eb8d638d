"""Both faces of the client against a real server."""

import asyncio
import gc
import signal
import threading
from contextlib import aclosing

import grpc
import pytest
from grpc_health.v1 import health_pb2
from support.patience import PATIENCE_S
from support.scripted_server import (
    Fail,
    Hold,
    ScriptedServer,
    chunks,
    image,
    numbered,
    progress,
    queued,
    summary,
    text_encoded,
    whole_script,
)

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_client import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    DenoiseProgress,
    Event,
    GenerateOptions,
    GenerationCancelledError,
    Image,
    ModelState,
    NotFoundError,
    OutputFormat,
    PreviewOptions,
    ProtocolError,
    Queued,
    Solver,
    Summary,
    TextEncoded,
    UnavailableError,
)
from leyden_client._request import build_request

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
WHOLE = [Queued, TextEncoded, DenoiseProgress, DenoiseProgress, Image, Summary]
UNREACHABLE = "127.0.0.1:1"


def test_sync_events_in_order(server: ScriptedServer, client: Client) -> None:
    server.script = whole_script()
    events = list(client.stream_image("a prompt"))
    assert [type(event) for event in events] == WHOLE
    assert {event.request_id for event in events} == {server.requests[0].request_id}


async def test_async_events_in_order(server: ScriptedServer, async_client: AsyncClient) -> None:
    server.script = whole_script()
    events = [event async for event in async_client.stream_image("a prompt")]
    assert [type(event) for event in events] == WHOLE


def test_generate_image_returns_the_whole(server: ScriptedServer, client: Client) -> None:
    server.script = numbered(
        progress(1, 1, 1), image(b"second", 1), progress(1, 1, 0), image(b"first", 0), summary(2)
    )
    seen: list[Event] = []
    caller = threading.current_thread()

    def on_event(event: Event) -> None:
        assert threading.current_thread() is caller
        seen.append(event)

    generation = client.generate_image("a prompt", image_count=2, on_event=on_event)
    assert generation.request_id == server.requests[0].request_id
    assert [picture.data for picture in generation.images] == [b"first", b"second"]
    assert len(seen) == 5
    bill = generation.summary.bill
    assert (bill.queue_s, bill.text_encode_s, bill.total_s) == (0.5, 0.25, 3.75)
    assert [step.duration_s for step in bill.images[1].steps] == [1.0, 1.0]
    assert generation.summary.solver is Solver.EULER


async def test_async_generate_image(server: ScriptedServer, async_client: AsyncClient) -> None:
    server.script = whole_script(b"pixels")
    seen: list[Event] = []
    generation = await async_client.generate_image("a prompt", on_event=seen.append)
    assert generation.images[0].data == b"pixels"
    assert [type(event) for event in seen] == WHOLE


def test_an_image_over_the_default_limit_of_a_message(
    server: ScriptedServer, client: Client
) -> None:
    data = bytes(range(256)) * (5 * 4096)  # 5 MiB, in chunks of 1 MiB
    cuts = range(2**20, len(data), 2**20)
    server.script = numbered(image(data, chunked=True), *chunks(data, list(cuts)), summary())
    assert client.generate_image("a prompt").images[0].data == data


OPTIONS = GenerateOptions(
    model="tiny",
    negative_prompt="fog",
    seed=0,
    width_px=64,
    height_px=32,
    num_inference_steps=2,
    guidance_scale=0.0,
    solver=Solver.EULER_ANCESTRAL,
    image_count=1,
    output_format="webp",
    output_quality=80,
    preview=PreviewOptions(size_px=32, every_steps=2, format=OutputFormat.PNG),
    request_id="mine",
    linger_s=2.5,
    priority=3,
)


def test_every_option_reaches_the_server(server: ScriptedServer, client: Client) -> None:
    server.script = whole_script()
    client.generate_image("a prompt", **OPTIONS)
    (request,) = server.requests
    assert request == build_request("a prompt", **OPTIONS)
    assert {descriptor.name for descriptor, _ in request.ListFields()} | {
        "seed",
        "guidance_scale",
    } == {descriptor.name for descriptor in request.DESCRIPTOR.fields}
    assert request.HasField("seed")
    assert request.HasField("guidance_scale")


def test_the_options_are_the_fields_of_the_request() -> None:
    fields = {field.name for field in build_request("").DESCRIPTOR.fields}
    options = {name.replace("linger_duration", "linger_s") for name in fields - {"prompt"}}
    assert set(GenerateOptions.__annotations__) == options
    assert build_request("").ByteSize() == 0


def test_an_option_that_does_not_exist(client: Client) -> None:
    with pytest.raises(TypeError, match="stepz"):
        client.generate_image("a prompt", stepz=4)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="heun"):
        client.generate_image("a prompt", solver="heun")


def test_metadata_goes_with_the_call(server: ScriptedServer) -> None:
    server.script = whole_script()
    with Client(server.target, metadata=[("authorization", "Bearer token")]) as client:
        client.generate_image("a prompt")
    assert server.metadata["authorization"] == "Bearer token"
    assert str(server.metadata["user-agent"]).startswith("leyden-python/")


# ---- the end of an iteration is the end of the RPC --------------------------------


def test_break_cancels_on_the_server(server: ScriptedServer, client: Client) -> None:
    server.script = [*numbered(queued()), Hold()]
    for _ in client.stream_image("a prompt"):
        break
    assert server.cancelled.wait(PATIENCE_S)
    assert server.cancels == [server.requests[0].request_id]


def test_close_cancels_on_the_server(server: ScriptedServer, client: Client) -> None:
    server.script = [*numbered(queued(), text_encoded()), Hold()]
    events = client.stream_image("a prompt")
    assert isinstance(next(events), Queued)
    events.close()
    assert server.cancels == [server.requests[0].request_id]
    assert server.cancelled.wait(PATIENCE_S)
    assert list(events) == []


def test_without_linger_the_end_of_the_call_is_enough(
    server: ScriptedServer, client: Client
) -> None:
    server.script = [*numbered(queued()), Hold()]
    events = client.stream_image("a prompt", linger_s=0)
    next(events)
    events.close()
    assert server.cancelled.wait(PATIENCE_S)
    assert server.cancels == []


def test_a_cancel_that_fails_hides_nothing(server: ScriptedServer, client: Client) -> None:
    server.script = [*numbered(queued()), Hold()]
    server.cancel_fails = Fail(grpc.StatusCode.INTERNAL, "a defect")
    events = client.stream_image("a prompt")
    next(events)
    events.close()
    assert server.cancels == [server.requests[0].request_id]


def test_an_id_of_the_caller_is_cancelled_only_once_it_is_known_to_be_its_own(
    server: ScriptedServer,
) -> None:
    server.scripts = [[Hold()], [*numbered(queued()), Hold()]]
    with Client(server.target) as client:
        waiting = threading.Thread(target=_generate_until_closed, args=(client,))
        waiting.start()
        assert server.held.wait(PATIENCE_S)
        client.close()
        waiting.join()
    assert server.cancels == []
    with Client(server.target) as client:
        next(client.stream_image("a prompt", request_id="mine"))
    assert server.cancels == ["mine"]


def _generate_until_closed(client: Client) -> None:
    with pytest.raises(GenerationCancelledError):
        client.generate_image("a prompt", request_id="mine")


def test_an_error_of_the_caller_cancels_on_the_server(
    server: ScriptedServer, client: Client
) -> None:
    server.script = [*numbered(queued()), Hold()]

    def on_event(_event: Event) -> None:
        raise LookupError("the caller's own")

    with pytest.raises(LookupError):
        client.generate_image("a prompt", on_event=on_event)
    assert server.cancels == [server.requests[0].request_id]
    assert server.cancelled.wait(PATIENCE_S)


def test_a_broken_stream_is_cancelled_on_the_server(server: ScriptedServer, client: Client) -> None:
    first = numbered(queued())
    server.script = [*first, *first, Hold()]
    with pytest.raises(ProtocolError, match="event 1 was due"):
        client.generate_image("a prompt")
    assert server.cancelled.wait(PATIENCE_S)


def test_leaving_the_with_block_cancels_on_the_server(server: ScriptedServer) -> None:
    server.script = [*numbered(queued()), Hold()]
    with Client(server.target) as client:
        events = client.stream_image("a prompt")
        next(events)
    assert server.cancels == [server.requests[0].request_id]
    assert server.cancelled.wait(PATIENCE_S)
    with pytest.raises(RuntimeError, match="closed"):
        next(events)


def test_closing_the_client_ends_a_call_on_another_thread(server: ScriptedServer) -> None:
    server.script = [Hold()]
    raised: list[BaseException] = []

    def generate() -> None:
        with pytest.raises(GenerationCancelledError, match="client was closed") as caught:
            client.generate_image("a prompt")
        raised.append(caught.value)

    client = Client(server.target)
    thread = threading.Thread(target=generate)
    thread.start()
    assert server.held.wait(PATIENCE_S)
    client.close()
    thread.join(PATIENCE_S)
    assert len(raised) == 1
    assert server.cancels == [server.requests[0].request_id]
    assert server.cancelled.wait(PATIENCE_S)


def test_closing_the_client_ends_a_wait_on_another_thread(server: ScriptedServer) -> None:
    raised: list[BaseException] = []
    started = threading.Event()

    def wait() -> None:
        started.set()
        with pytest.raises((GenerationCancelledError, RuntimeError)) as caught:
            client.wait_until_ready()
        raised.append(caught.value)

    client = Client(UNREACHABLE)
    thread = threading.Thread(target=wait)
    thread.start()
    assert started.wait(PATIENCE_S)
    client.close()
    thread.join(PATIENCE_S)
    assert len(raised) == 1


def test_ctrl_c_cancels_on_the_server_and_leaves_the_client_usable(
    server: ScriptedServer, client: Client
) -> None:
    server.script = [*numbered(queued()), Hold()]
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    def interrupt() -> None:
        assert server.held.wait(PATIENCE_S)
        signal.pthread_kill(main_thread, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        client.generate_image("a prompt")
    thread.join()
    assert server.cancels == [server.requests[0].request_id]
    assert server.cancelled.wait(PATIENCE_S)
    server.script = whole_script(b"pixels")
    assert client.generate_image("a prompt").images[0].data == b"pixels"


def test_a_client_that_only_its_stream_holds_stays_open(server: ScriptedServer) -> None:
    server.script = whole_script()
    events = Client(server.target).stream_image("a prompt")
    gc.collect()
    assert [type(event) for event in events] == WHOLE


def test_a_client_that_is_dropped_ends_its_thread(server: ScriptedServer) -> None:
    client = Client(server.target)
    client.list_models()
    thread = client._portal._thread
    del client
    gc.collect()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_closed_client_says_so(server: ScriptedServer) -> None:
    client = Client(server.target)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.list_models()
    with pytest.raises(RuntimeError, match="closed"):
        client.stream_image("a prompt")


async def test_aclose_cancels_on_the_server(
    server: ScriptedServer, async_client: AsyncClient
) -> None:
    server.script = [*numbered(queued()), Hold()]
    async with aclosing(async_client.stream_image("a prompt")) as events:
        async for _ in events:
            break
    assert server.cancels == [server.requests[0].request_id]
    assert await asyncio.to_thread(server.cancelled.wait, PATIENCE_S)


async def test_cancelling_the_task_cancels_on_the_server(
    server: ScriptedServer, async_client: AsyncClient
) -> None:
    server.script = [*numbered(queued()), Hold()]
    task = asyncio.create_task(async_client.generate_image("a prompt"))
    assert await asyncio.to_thread(server.held.wait, PATIENCE_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.cancels == [server.requests[0].request_id]
    assert await asyncio.to_thread(server.cancelled.wait, PATIENCE_S)


async def test_closing_the_async_client_is_not_a_cancelled_task(server: ScriptedServer) -> None:
    server.script = [Hold()]
    client = AsyncClient(server.target)
    task = asyncio.create_task(client.generate_image("a prompt"))
    assert await asyncio.to_thread(server.held.wait, PATIENCE_S)
    await client.close()
    with pytest.raises(GenerationCancelledError):
        await task


# ---- models and readiness ---------------------------------------------------------


def test_models_are_loaded_and_unloaded(server: ScriptedServer, client: Client) -> None:
    assert client.load_model("tiny", timeout_s=PATIENCE_S).state is ModelState.READY
    client.unload_model("tiny", timeout_s=PATIENCE_S)
    assert (server.loads, server.unloads) == (["tiny"], ["tiny"])


async def test_models_are_loaded_and_unloaded_by_asyncio(
    server: ScriptedServer, async_client: AsyncClient
) -> None:
    assert (await async_client.load_model("other")).name == "other"
    await async_client.unload_model("other")
    assert (server.loads, server.unloads) == (["other"], ["other"])


def test_models(server: ScriptedServer, client: Client) -> None:
    other, tiny = client.list_models()
    assert (other.name, other.state) == ("other", ModelState.UNAVAILABLE)
    assert client.get_model() == client.get_model("tiny") == tiny
    assert tiny.solvers == (Solver.EULER, Solver.EULER_ANCESTRAL)
    assert tiny.output_formats == (OutputFormat.PNG, OutputFormat.WEBP)
    assert (tiny.min_guidance_scale, tiny.max_guidance_scale) == (0.0, 7.5)
    with pytest.raises(NotFoundError) as caught:
        client.get_model("none")
    assert caught.value.metadata == {"models": "tiny"}


async def test_async_models(server: ScriptedServer, async_client: AsyncClient) -> None:
    assert [model.name for model in await async_client.list_models()] == ["other", "tiny"]
    assert (await async_client.get_model()).name == "tiny"


def test_ready_at_once(client: Client) -> None:
    client.wait_until_ready(timeout_s=PATIENCE_S)


async def test_ready_later(server: ScriptedServer, async_client: AsyncClient) -> None:
    server.health.set("", NOT_SERVING)
    waiting = asyncio.create_task(async_client.wait_until_ready(timeout_s=PATIENCE_S))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    server.health.set("", SERVING)
    await waiting


def test_never_ready(server: ScriptedServer, client: Client) -> None:
    server.health.set("", NOT_SERVING)
    with pytest.raises(DeadlineExceededError):
        client.wait_until_ready(timeout_s=0.2)


def test_a_server_that_is_not_there() -> None:
    with Client(UNREACHABLE) as client:
        with pytest.raises(UnavailableError) as caught:
            client.list_models()
        assert caught.value.reason == ""
        with pytest.raises(DeadlineExceededError):
            client.wait_until_ready(timeout_s=0.2)


def test_a_client_that_closes_under_an_iteration_ends_it_without_an_error(
    server: ScriptedServer,
) -> None:
    server.script = [*numbered(queued()), Hold()]
    with Client(server.target) as client:
        events = client.stream_image("a prompt")
        next(events)
        client.close()
        events.close()
        assert list(events) == []


def test_every_solver_of_the_wire_has_its_name() -> None:
    names = {f"SOLVER_{solver.name}": solver.value for solver in Solver}

    assert [*names] == pb.Solver.keys()
    assert all(name == f"SOLVER_{value.upper()}" for name, value in names.items())
