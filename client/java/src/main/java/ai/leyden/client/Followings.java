package ai.leyden.client;

import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Flow;
import java.util.function.Supplier;

/** The generations that a client follows, until it is closed. */
final class Followings {
  private final Supplier<ImageCalls> calls;
  private final Set<Following> running = ConcurrentHashMap.newKeySet();
  private volatile boolean closed;

  /** Takes what gives the calls of the thread that begins to follow. */
  Followings(Supplier<ImageCalls> calls) {
    this.calls = calls;
  }

  boolean isClosed() {
    return closed;
  }

  /** Throws {@link IllegalStateException} once the client is closed. */
  void checkOpen() {
    if (closed) {
      throw new IllegalStateException("the client is closed");
    }
  }

  /** Begins to follow a generation. */
  Following follow(FollowPlan plan, Flow.Subscriber<? super Event> subscriber) {
    checkOpen();
    Following following = new Following(plan, calls.get(), subscriber);
    running.add(following);
    following.settled().thenRun(() -> running.remove(following));
    following.begin();
    if (closed) {
      following.leaveWithClient();
    }
    return following;
  }

  /** Leaves all of them, and returns once the server has heard, or does not answer in time. */
  void close() {
    closed = true;
    CompletableFuture.allOf(
            running.stream().map(Following::leaveWithClient).toArray(CompletableFuture[]::new))
        .join();
  }
}
