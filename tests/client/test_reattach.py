"""A connection that breaks, and the client that comes back."""

import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2
from support.breaking_proxy import TcpProxy
from support.patience import PATIENCE_S
from support.scripted_server import (
    Fail,
    Hold,
    ScriptedServer,
    Step,
    chunks,
    image,
    numbered,
    progress,
    queued,
    serve,
    summary,
    text_encoded,
    whole_script,
)
from support.told_events import LOST, WHOLE, told

from leyden_client import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    Event,
    GenerationCancelledError,
    InternalError,
    OverloadedError,
    ProtocolError,
    Queued,
    Summary,
    TextEncoded,
    UnavailableError,
)

DATA = bytes(range(256)) * 40


@pytest.fixture
def proxy(server: ScriptedServer) -> Iterator[TcpProxy]:
    with TcpProxy(server.target) as proxy:
        yield proxy


@pytest.fixture
def far_client(proxy: TcpProxy) -> Iterator[Client]:
    with Client(proxy.target) as client:
        yield client


def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    server: ScriptedServer, proxy: TcpProxy, far_client: Client
) -> None:
    script = whole_script()
    server.script = [*script[:3], Hold()]
    server.watch_scripts = [script[3:]]
    stream = far_client.stream_image("a prompt")
    events = [next(stream) for _ in range(3)]
    proxy.cut()
    events += stream
    assert told(events) == WHOLE
    assert [event.event_index for event in events] == list(range(6))
    (request,) = server.requests
    (watch,) = server.watches
    assert (watch.request_id, watch.after_event_index) == (request.request_id, 2)
    assert proxy.accepted == 2
    assert server.cancels == []


def test_a_server_that_is_away_for_a_while_is_found_again(
    server: ScriptedServer, proxy: TcpProxy, far_client: Client
) -> None:
    script = whole_script()
    server.script = [*script[:3], Hold()]
    server.watch_scripts = [script[3:]]
    stream = far_client.stream_image("a prompt")
    events = [next(stream) for _ in range(3)]
    proxy.refuse()
    proxy.cut()
    let_in = threading.Thread(target=_let_in_after, args=(proxy, 3))
    let_in.start()
    events += stream
    let_in.join()
    assert told(events) == WHOLE


def _let_in_after(proxy: TcpProxy, connections: int) -> None:
    seen = threading.Event()
    while proxy.accepted < connections:
        seen.wait(0.01)
    proxy.refuse(refusing=False)


async def test_the_asyncio_client_does_the_same(server: ScriptedServer, proxy: TcpProxy) -> None:
    script = whole_script()
    server.script = [*script[:2], Hold()]
    server.watch_scripts = [script[2:]]
    events: list[Event] = []
    async with AsyncClient(proxy.target) as client:
        async for event in client.stream_image("a prompt"):
            events.append(event)
            if isinstance(event, TextEncoded):
                proxy.cut()
    assert told(events) == WHOLE


def test_a_connection_may_break_again_and_again(server: ScriptedServer, client: Client) -> None:
    script = whole_script()
    server.script = [*script[:1], LOST]
    server.watch_scripts = [[LOST], [*script[1:2], LOST], [LOST], script[2:]]
    assert told(list(client.stream_image("a prompt"))) == WHOLE
    assert [watch.after_event_index for watch in server.watches] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.CANCELLED,
    ],
)
def test_whatever_gRPC_or_a_proxy_calls_it(  # noqa: N802
    server: ScriptedServer, client: Client, code: grpc.StatusCode
) -> None:
    script = whole_script()
    server.script = [*script[:2], Fail(code, "Received RST_STREAM with error code 2")]
    server.watch_scripts = [script[2:]]
    assert told(list(client.stream_image("a prompt"))) == WHOLE


def test_the_chunks_that_came_are_kept(server: ScriptedServer, client: Client) -> None:
    script = numbered(
        queued(), image(DATA, chunked=True), *chunks(DATA, [3000, 6000, 9000]), summary()
    )
    server.script = [*script[:4], LOST]
    server.watch_scripts = [script[4:]]
    assert client.generate_image("a prompt").images[0].data == DATA
    assert server.watches[0].after_event_index == 3


# ---- a generation that the server does not know any more --------------------------


def test_an_unknown_generation_is_asked_for_again_and_nothing_comes_twice(
    server: ScriptedServer, client: Client
) -> None:
    first = numbered(
        queued(),
        text_encoded(),
        progress(1, image_index=0),
        progress(2, image_index=0),
        image(b"zero", 0),
        progress(1, image_index=1),
        image(DATA, 1, chunked=True),
        *chunks(DATA, [5000], 1)[:1],
    )
    again = numbered(
        queued(),
        queued(1),
        text_encoded(),
        progress(1, image_index=1),
        progress(1, image_index=0),
        progress(2, image_index=1),
        progress(2, image_index=0),
        image(DATA, 1, chunked=True),
        *chunks(DATA, [5000], 1),
        image(b"zero", 0),
        summary(2),
    )
    server.scripts = [[*first, LOST], again]
    events = list(client.stream_image("a prompt", image_count=2))
    assert told(events) == [
        Queued,
        TextEncoded,
        (0, 1),
        (0, 2),
        (0, b"zero"),
        (1, 1),
        (1, 2),
        (1, DATA),
        Summary,
    ]
    one, two = server.requests
    assert one == two
    assert one.HasField("seed")
    assert one.request_id


def test_it_may_be_asked_for_again_more_than_once(server: ScriptedServer, client: Client) -> None:
    script = whole_script()
    server.scripts = [[*script[:2], LOST], [*script[:1], LOST], script]
    assert told(list(client.stream_image("a prompt"))) == [
        Queued, TextEncoded, Queued, Queued, (0, 1), (0, 2), (0, b"pixels"), Summary
    ]  # fmt: skip
    assert len(server.requests) == 3


def test_a_request_without_linger_is_asked_for_again_where_it_has_a_deadline(
    server: ScriptedServer, client: Client
) -> None:
    script = whole_script()
    server.scripts = [[*script[:3], LOST], script]
    assert told(list(client.stream_image("a prompt", timeout_s=PATIENCE_S))) == WHOLE
    assert not server.requests[0].HasField("linger_duration")


def test_one_that_ended_since_nobody_watched_it_is_asked_for_again(
    server: ScriptedServer, client: Client
) -> None:
    info = error_details_pb2.ErrorInfo(reason="CLIENT_LEFT")
    script = whole_script()
    server.scripts = [[*script[:3], LOST], script]
    server.watch_script = [Fail(grpc.StatusCode.CANCELLED, "nobody watched", [info])]
    assert told(list(client.stream_image("a prompt"))) == WHOLE


def test_one_that_somebody_cancelled_is_not(server: ScriptedServer, client: Client) -> None:
    info = error_details_pb2.ErrorInfo(reason="CANCELLED_BY_REQUEST")
    server.script = [*whole_script()[:3], LOST]
    server.watch_script = [Fail(grpc.StatusCode.CANCELLED, "cancelled", [info])]
    with pytest.raises(GenerationCancelledError, match="cancelled"):
        client.generate_image("a prompt")
    assert len(server.requests) == 1


def test_a_connection_that_breaks_after_the_summary_breaks_nothing(
    server: ScriptedServer, client: Client
) -> None:
    server.script = [*whole_script(), LOST]
    assert told(list(client.stream_image("a prompt"))) == WHOLE
    assert server.watches == []
    assert server.cancels == []


def test_what_is_wrong_the_second_time_is_said(server: ScriptedServer, client: Client) -> None:
    info = error_details_pb2.ErrorInfo(reason="QUEUE_FULL")
    full = Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", [info])
    server.scripts = [[*whole_script()[:3], LOST], [full]]
    with pytest.raises(OverloadedError, match="queue is full"):
        client.generate_image("a prompt")


def test_a_run_that_breaks_the_protocol_the_second_time(
    server: ScriptedServer, client: Client
) -> None:
    script = whole_script()
    server.scripts = [[*script[:3], LOST], script[1:]]
    with pytest.raises(ProtocolError, match="event 0 was due, event 1 came"):
        client.generate_image("a prompt")


# ---- what ends it -----------------------------------------------------------------


def test_what_the_server_says_is_not_tried_again(server: ScriptedServer, client: Client) -> None:
    for code, kind in (
        (grpc.StatusCode.UNAVAILABLE, UnavailableError),
        (grpc.StatusCode.INTERNAL, InternalError),
    ):
        info = error_details_pb2.ErrorInfo(reason="BECAUSE")
        server.script = [*whole_script()[:3], Fail(code, "it says", [info])]
        with pytest.raises(kind, match="it says"):
            client.generate_image("a prompt")
    assert server.watches == []
    assert len(server.requests) == 2


def test_a_server_that_is_not_there_at_first_is_said_at_once(client: Client) -> None:
    with Client("127.0.0.1:1") as nobody, pytest.raises(UnavailableError):
        nobody.generate_image("a prompt")


def test_linger_0_turns_it_off(server: ScriptedServer, client: Client) -> None:
    server.script = [*whole_script()[:3], LOST]
    with pytest.raises(UnavailableError):
        client.generate_image("a prompt", linger_s=0)
    assert server.watches == []


def test_it_is_given_up_when_the_linger_has_passed(server: ScriptedServer, client: Client) -> None:
    server.script = [*whole_script()[:3], LOST]
    server.watch_script = [LOST]
    with pytest.raises(UnavailableError, match="Socket closed"):
        client.generate_image("a prompt", linger_s=0.5)
    assert 1 <= len(server.watches) <= 3
    # There is no server to tell.
    assert server.cancels == []


def test_it_is_given_up_at_the_deadline_of_the_whole(
    server: ScriptedServer, client: Client
) -> None:
    server.script = [*whole_script()[:3], LOST]
    server.watch_script = [LOST]
    with pytest.raises(DeadlineExceededError, match=r"timeout of 0\.5 s"):
        client.generate_image("a prompt", timeout_s=0.5)


def test_every_call_has_what_is_left_of_the_deadline(
    server: ScriptedServer, client: Client
) -> None:
    server.script = [*whole_script()[:3], LOST]
    server.watch_script = [Hold()]
    with pytest.raises(DeadlineExceededError):
        client.generate_image("a prompt", timeout_s=0.5)
    assert len(server.watches) == 1


# ---- what is sent -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("linger_s", "timeout_s", "sent_s"),
    [(None, None, 15), (None, PATIENCE_S, 0), (0, None, 0), (4, None, 4), (4, PATIENCE_S, 4)],
)
def test_the_linger_that_is_sent(
    server: ScriptedServer,
    client: Client,
    linger_s: float | None,
    timeout_s: float | None,
    sent_s: int,
) -> None:
    server.script = whole_script()
    client.generate_image("a prompt", linger_s=linger_s, timeout_s=timeout_s)
    (request,) = server.requests
    assert request.linger_duration.seconds == sent_s
    assert request.HasField("linger_duration") == (sent_s > 0)


def test_a_linger_that_is_no_duration(client: Client) -> None:
    for wrong in (float("nan"), float("inf"), 1e20):
        with pytest.raises(ValueError, match="linger_s"):
            client.generate_image("a prompt", linger_s=wrong)


def test_each_request_has_an_id_and_a_seed_of_its_own(
    server: ScriptedServer, client: Client
) -> None:
    server.script = whole_script()
    for _ in range(3):
        client.generate_image("a prompt")
    assert len({request.request_id for request in server.requests}) == 3
    assert len({request.seed for request in server.requests}) == 3
    assert all(0 <= request.seed < 2**32 for request in server.requests)


# ---- a server process that goes and comes -----------------------------------------


def test_a_server_that_starts_anew_is_asked_again() -> None:
    script: list[Step] = [*whole_script()[:3], Hold()]
    old = ScriptedServer(script=script)
    running = serve(old)
    with TcpProxy(old.target) as proxy, Client(proxy.target) as client:
        stream = client.stream_image("a prompt")
        events = [next(stream) for _ in range(3)]
        new = ScriptedServer(script=whole_script())
        other = serve(new)
        proxy.redirect(new.target)
        proxy.cut()
        events += stream
        assert told(events) == WHOLE
        assert new.requests == old.requests
        old.release()
        for each in (running, other):
            each.stop(grace=None).wait()


def test_a_deadline_that_passes_cancels_what_lingers(
    server: ScriptedServer, client: Client
) -> None:
    server.script = [*whole_script()[:1], Hold()]
    with pytest.raises(DeadlineExceededError):
        client.generate_image("a prompt", timeout_s=0.3, linger_s=5)
    assert server.cancels == [server.requests[0].request_id]


def test_a_client_that_is_closed_while_it_comes_back_says_so(server: ScriptedServer) -> None:
    server.script = [*whole_script()[:3], LOST]
    server.watch_script = [LOST]
    raised: list[BaseException] = []

    def generate() -> None:
        with pytest.raises(GenerationCancelledError, match="client was closed") as caught:
            client.generate_image("a prompt")
        raised.append(caught.value)

    client = Client(server.target)
    thread = threading.Thread(target=generate)
    thread.start()
    pause = threading.Event()
    while len(server.watches) < 2:
        pause.wait(0.01)
    client.close()
    thread.join(PATIENCE_S)
    assert len(raised) == 1


def test_a_server_that_does_not_answer_a_cancel_is_not_waited_for_long(
    server: ScriptedServer, client: Client
) -> None:
    server.script = [*whole_script()[:1], Hold()]
    server.cancel_fails = Hold()
    events = client.stream_image("a prompt")
    next(events)
    left_s = time.monotonic()
    events.close()
    assert 1.5 < time.monotonic() - left_s < PATIENCE_S / 2
