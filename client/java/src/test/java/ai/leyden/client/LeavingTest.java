package ai.leyden.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Context;
import java.io.IOException;
import java.lang.ref.Reference;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Whoever leaves a generation ends its work, by whatever door. */
@Timeout(60)
final class LeavingTest {
  private static final GenerateRequest REQUEST = GenerateRequest.builder("a lake").build();

  private ScriptedServer server;
  private LeydenClient client;

  @BeforeEach
  void start() throws IOException {
    server = new ScriptedServer(ScriptedServer.events(4).subList(0, 3), false);
    client = LeydenClient.connect(server.target());
  }

  @AfterEach
  void stop() {
    client.close();
    server.close();
  }

  @Test
  void theServerHasHeardWhenCloseReturns() {
    String name;
    try (EventStream events = client.streamImage(REQUEST)) {
      name = events.requestId();
      events.next();
    }
    assertEquals(List.of(name), List.copyOf(server.cancels));
  }

  @Test
  void aClosedStreamIsAtItsEnd() {
    EventStream events = client.streamImage(REQUEST);
    events.next();
    events.close();
    assertFalse(events.hasNext());
  }

  @Test
  void nothingIsCancelledAfterTheEnd() throws IOException {
    try (ScriptedServer ending = new ScriptedServer(ScriptedServer.events(2), true)) {
      try (LeydenClient ended = LeydenClient.connect(ending.target())) {
        assertEquals(1, ended.generateImage(REQUEST).images().size());
      }
      assertTrue(ending.cancels.isEmpty());
    }
  }

  @Test
  void withoutLingerTheCallsEndIsEnough() throws InterruptedException {
    try (EventStream events =
        client.streamImage(REQUEST.toBuilder().linger(Duration.ZERO).build())) {
      events.next();
    }
    assertTrue(server.left.await(30, TimeUnit.SECONDS));
    assertTrue(server.cancels.isEmpty());
  }

  @Test
  void anInterruptEndsTheWork() {
    Thread reader = Thread.currentThread();
    try (EventStream events = client.streamImage(REQUEST)) {
      for (int i = 0; i < 3; i++) {
        events.next();
      }
      reader.interrupt();
      assertThrows(GenerationCancelledException.class, events::hasNext);
      assertTrue(Thread.interrupted());
      assertEquals(List.of(events.requestId()), List.copyOf(server.cancels));
    }
  }

  @Test
  void closingTheClientEndsTheWorkAndTellsTheReader() {
    EventStream events = client.streamImage(REQUEST);
    events.next();
    CompletableFuture<Void> reading =
        CompletableFuture.runAsync(() -> events.forEachRemaining(event -> {}));
    client.close();
    CompletionException seen = assertThrows(CompletionException.class, reading::join);
    assertEquals(GenerationCancelledException.class, seen.getCause().getClass());
    assertEquals(List.of(events.requestId()), List.copyOf(server.cancels));
    assertThrows(IllegalStateException.class, () -> client.streamImage(REQUEST));
  }

  @Test
  void aCancelledContextEndsTheWork() throws Exception {
    Context.CancellableContext context = Context.ROOT.withCancellation();
    EventStream events = context.call(() -> client.streamImage(REQUEST));
    events.next();
    context.cancel(null);
    assertThrows(GenerationCancelledException.class, () -> events.forEachRemaining(event -> {}));
    assertEquals(List.of(events.requestId()), List.copyOf(server.cancels));
  }

  @Test
  void aStreamThatIsForgottenEndsTheWork() throws InterruptedException {
    EventStream events = client.streamImage(REQUEST);
    String name = events.requestId();
    events.next();
    Reference.reachabilityFence(events);
    events = null;
    String cancelled = null;
    while (cancelled == null) {
      System.gc();
      cancelled = server.cancels.poll(100, TimeUnit.MILLISECONDS);
    }
    assertEquals(name, cancelled);
  }
}
