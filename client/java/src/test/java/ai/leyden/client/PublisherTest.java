package ai.leyden.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.io.IOException;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Flow;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A subscriber is sent what it asks for, and no more. */
@Timeout(60)
final class PublisherTest {
  private static final int STEPS = 2_000;
  private static final GenerateRequest REQUEST = GenerateRequest.builder("a lake").build();

  private final Signals signals = new Signals();
  private ScriptedServer server;
  private LeydenClient client;

  @BeforeEach
  void start() throws IOException {
    server = new ScriptedServer(ScriptedServer.events(STEPS), true);
    client = LeydenClient.connect(server.target());
    client.publishImage(REQUEST).subscribe(signals);
  }

  @AfterEach
  void stop() {
    client.close();
    server.close();
  }

  @Test
  void nothingComesUnaskedFor() throws InterruptedException {
    assertNull(signals.came.poll(300, TimeUnit.MILLISECONDS));
    signals.subscription.request(3);
    for (long index = 0; index < 3; index++) {
      assertEquals(index, ((Event) signals.came.take()).eventIndex());
    }
    assertNull(signals.came.poll(300, TimeUnit.MILLISECONDS));
  }

  @Test
  void allComesInOrderAndThenTheEnd() throws InterruptedException {
    signals.subscription.request(Long.MAX_VALUE);
    for (long index = 0; index < STEPS + 3; index++) {
      assertEquals(index, ((Event) signals.came.take()).eventIndex());
    }
    assertEquals("complete", signals.came.take());
  }

  @Test
  void cancelEndsTheWorkAndTheSignals() throws InterruptedException {
    signals.subscription.request(1);
    String name = ((Event) signals.came.take()).requestId();
    signals.subscription.cancel();
    assertEquals(name, server.cancels.take());
    signals.subscription.request(1);
    assertNull(signals.came.poll(300, TimeUnit.MILLISECONDS));
  }

  @Test
  void askingForNothingIsAnError() throws InterruptedException {
    signals.subscription.request(0);
    assertInstanceOf(IllegalArgumentException.class, signals.came.take());
    assertEquals(1, server.cancels.size());
  }

  @Test
  void eachSubscriptionIsAGenerationOfItsOwn() throws InterruptedException {
    Flow.Publisher<Event> events = client.publishImage(REQUEST);
    events.subscribe(new Signals());
    events.subscribe(new Signals());
    Set<String> names = new HashSet<>();
    for (int i = 0; i < 3; i++) {
      names.add(server.requests.take().getRequestId());
    }
    assertEquals(3, names.size());
  }

  /** Keeps all signals. */
  private static final class Signals implements Flow.Subscriber<Event> {
    private final BlockingQueue<Object> came = new LinkedBlockingQueue<>();
    private volatile Flow.Subscription subscription;

    @Override
    public void onSubscribe(Flow.Subscription begun) {
      subscription = begun;
    }

    @Override
    public void onNext(Event event) {
      came.add(event);
    }

    @Override
    public void onError(Throwable error) {
      came.add(error);
    }

    @Override
    public void onComplete() {
      came.add("complete");
    }
  }
}
