package ai.leyden.client;

import java.lang.ref.Cleaner;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Flow;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * The events of one generation as they come, the {@link Event.Summary} last.
 *
 * <pre>{@code
 * try (EventStream events = client.streamImage(request)) {
 *   for (Event event : events) {
 *     ...
 *   }
 * }
 * }</pre>
 *
 * <p>Closing it before its end, as leaving the {@code try} does, ends the generation on the server:
 * {@link #close} returns once the server has heard of it, or after two seconds at most. So does
 * interrupting the thread that waits for an event. A stream from {@link LeydenClient#watch} leaves
 * its generation as it is.
 *
 * <p>It can be read once, by one thread at a time; {@link #close} may be called by any thread, and
 * wakes the one that waits. {@link #hasNext} and {@link #next} throw what the server or the
 * connection says: {@link RpcException}, {@link ProtocolException}.
 */
public final class EventStream implements Iterator<Event>, Iterable<Event>, AutoCloseable {
  private static final Cleaner ABANDONED = Cleaner.create();

  private final Following following;
  private final Inbox inbox;
  private final Cleaner.Cleanable abandoned;

  /** What is to be read next, if that is known; an end stays. */
  private Signal current;

  private EventStream(Following following, Inbox inbox) {
    this.following = following;
    this.inbox = inbox;
    // Whoever forgets to close it does not keep the server at work for nobody.
    this.abandoned = ABANDONED.register(this, following::leave);
  }

  /** Begins to follow a generation. */
  static EventStream of(Follower follower, FollowPlan plan) {
    Inbox inbox = new Inbox();
    return new EventStream(follower.follow(plan, inbox), inbox);
  }

  /** Follows generations. */
  @FunctionalInterface
  interface Follower {
    Following follow(FollowPlan plan, Flow.Subscriber<Event> subscriber);
  }

  /**
   * Returns the name of the generation, which {@link LeydenClient#watch} and {@link
   * LeydenClient#cancel} take.
   *
   * @return the id that was given, or that the client drew
   */
  public String requestId() {
    return following.requestId();
  }

  /** Returns this: the events can be read once. */
  @Override
  public Iterator<Event> iterator() {
    return this;
  }

  /** Waits until there is a further event, or the generation has ended. */
  @Override
  public boolean hasNext() {
    if (current == null) {
      current = await();
    }
    if (current.error().isPresent()) {
      RuntimeException error = current.error().get();
      current = Signal.END;
      throw error;
    }
    return current.event().isPresent();
  }

  /** Waits for the next event. */
  @Override
  public Event next() {
    if (!hasNext()) {
      throw new NoSuchElementException("the generation has ended");
    }
    Event event = current.event().orElseThrow();
    current = null;
    inbox.wasRead();
    return event;
  }

  /** Ends the generation, unless it has ended; does nothing after its end. */
  @Override
  public void close() {
    following.leave().join();
    abandoned.clean();
    inbox.end();
  }

  /** Leaves the generation to itself. */
  void detach() {
    following.detach();
    close();
  }

  private Signal await() {
    try {
      return inbox.take();
    } catch (InterruptedException interrupt) {
      close();
      Thread.currentThread().interrupt();
      throw Failures.interrupted(interrupt);
    }
  }

  /** What came: an event, an error, or else the end. */
  private record Signal(Optional<Event> event, Optional<RuntimeException> error) {
    static final Signal END = new Signal(Optional.empty(), Optional.empty());
  }

  /**
   * Keeps what has come until it is read. It asks for some events ahead of its reader, or each
   * would take the way between the threads of reader and connection on its own.
   */
  private static final class Inbox implements Following.Handover {
    private static final int MOST_AHEAD = 8;

    private final BlockingQueue<Signal> signals = new LinkedBlockingQueue<>();
    private volatile Flow.Subscription subscription;

    /** The reader's alone. */
    private int read;

    Signal take() throws InterruptedException {
      return signals.take();
    }

    void wasRead() {
      read++;
      if (read == MOST_AHEAD / 2) {
        read = 0;
        subscription.request(MOST_AHEAD / 2);
      }
    }

    /** Lets the reader, who may wait now, see the end next. */
    void end() {
      signals.clear();
      signals.add(Signal.END);
    }

    @Override
    public void onSubscribe(Flow.Subscription begun) {
      subscription = begun;
      subscription.request(MOST_AHEAD);
    }

    @Override
    public void onNext(Event event) {
      signals.add(new Signal(Optional.of(event), Optional.empty()));
    }

    @Override
    public void onError(Throwable error) {
      signals.add(new Signal(Optional.empty(), Optional.of((RuntimeException) error)));
    }

    @Override
    public void onComplete() {
      signals.add(Signal.END);
    }
  }
}
