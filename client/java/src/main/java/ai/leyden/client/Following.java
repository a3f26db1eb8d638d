package ai.leyden.client;

import ai.leyden.v1.GenerateImageRequest;
import ai.leyden.v1.GenerateImageResponse;
import ai.leyden.v1.ImageGenerationServiceGrpc;
import ai.leyden.v1.WatchGenerationRequest;
import io.grpc.CallOptions;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.SynchronizationContext;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import java.time.Duration;
import java.util.EnumSet;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Follows one generation to its end, over as many calls as broken connections make of it: starts it
 * if it has a request, else watches it.
 *
 * <p>A connection that breaks after the first event is taken up again: by watching, and where the
 * server does not know the generation any more, by the same request once more. What the server says
 * is never tried again.
 *
 * <p>Events go to one subscriber, never more than it has asked for, and none twice. Nothing is
 * taken off the connection that the subscriber does not want.
 */
final class Following implements Flow.Subscription {
  /**
   * What a connection, or a proxy, that breaks in the midst of a stream looks like; every status
   * that a Leyden server gives has a reason.
   */
  private static final Set<Status.Code> BROKEN =
      EnumSet.of(
          Status.Code.UNAVAILABLE,
          Status.Code.UNKNOWN,
          Status.Code.INTERNAL,
          Status.Code.CANCELLED);

  /** Who wants all that comes need not ask anew at every response. */
  private static final int ENOUGH_DUE = 1 << 16;

  private final FollowPlan plan;
  private final ImageCalls calls;
  private final CallOptions options;
  private final Flow.Subscriber<? super Event> subscriber;

  /** The caller's: a server that calls Leyden cancels with its own call. */
  private final Context context = Context.current();

  private final Optional<Deadline> deadline;
  private final EventAssembler assembler;
  private final Reattachment reattachment;

  /** All signals to the subscriber, and all that is not final or volatile, belong to it. */
  private final SynchronizationContext serial = new SynchronizationContext(this::subscriberFailed);

  private final AtomicBoolean over = new AtomicBoolean();
  private final CompletableFuture<Void> settled = new CompletableFuture<>();

  private volatile Attempt<?> attempt;
  private volatile boolean begun;
  private OptionalLong afterEventIndex;
  private boolean watches;
  private long demand;

  /** A subscriber that only keeps what comes for another thread, and does so at once. */
  interface Handover extends Flow.Subscriber<Event> {}

  /** Prepares; {@link #begin} starts. The deadline counts from here. */
  Following(FollowPlan plan, ImageCalls calls, Flow.Subscriber<? super Event> subscriber) {
    this.plan = plan;
    this.calls = calls;
    this.subscriber = subscriber;
    this.deadline =
        plan.timeout().map(limit -> Deadline.after(limit.toNanos(), TimeUnit.NANOSECONDS));
    CallOptions timed = CallOptions.DEFAULT.withDeadline(deadline.orElse(null));
    // One of this package hands over what it is given. The connection's own thread may do that.
    this.options = subscriber instanceof Handover ? timed.withExecutor(Runnable::run) : timed;
    this.afterEventIndex = plan.afterEventIndex();
    this.assembler = new EventAssembler(plan.requestId(), plan.imageCount(), afterEventIndex);
    this.reattachment = new Reattachment(plan.reattachFor());
  }

  /** Sends the request. */
  void begin() {
    serial.execute(
        () -> {
          subscriber.onSubscribe(this);
          plan.request().ifPresentOrElse(this::generate, this::watch);
        });
  }

  String requestId() {
    return plan.requestId();
  }

  @Override
  public void request(long count) {
    serial.execute(
        () -> {
          if (count <= 0) {
            fail(new IllegalArgumentException("request(" + count + "): at least 1 is needed"));
            return;
          }
          demand = demand + count < 0 ? Long.MAX_VALUE : demand + count;
          pull();
        });
  }

  @Override
  public void cancel() {
    leave();
  }

  /** Leaves the generation and ends it; completes once the server has heard. */
  CompletableFuture<Void> leave() {
    if (over.compareAndSet(false, true)) {
      hangUp();
      cancelOnServer().thenRun(() -> settled.complete(null));
    }
    return settled;
  }

  /** Leaves the generation to itself. */
  void detach() {
    if (over.compareAndSet(false, true)) {
      hangUp();
      settled.complete(null);
    }
  }

  /** Leaves since the client is closed, which is an error to who still reads. */
  CompletableFuture<Void> leaveWithClient() {
    if (over.compareAndSet(false, true)) {
      hangUp();
      cancelOnServer().thenRun(() -> settled.complete(null));
      serial.execute(() -> subscriber.onError(Failures.closedWhileRunning()));
    }
    return settled;
  }

  /** Completes once nothing is left to do, by whatever end. */
  CompletableFuture<Void> settled() {
    return settled;
  }

  private void generate(GenerateImageRequest request) {
    watches = false;
    open(ImageGenerationServiceGrpc.getGenerateImageMethod(), request);
  }

  private void watch() {
    watches = true;
    WatchGenerationRequest.Builder request =
        WatchGenerationRequest.newBuilder().setRequestId(plan.requestId());
    OptionalLong last = assembler.lastIndex();
    (last.isPresent() ? last : afterEventIndex).ifPresent(request::setAfterEventIndex);
    open(ImageGenerationServiceGrpc.getWatchGenerationMethod(), request.build());
  }

  private <T> void open(MethodDescriptor<T, GenerateImageResponse> method, T request) {
    if (over.get()) {
      return;
    }
    Attempt<T> next = new Attempt<>();
    attempt = next;
    context.run(() -> calls.stream(method, request, options, next));
    if (over.get()) {
      // Somebody left meanwhile, maybe before there was a call to hang up.
      hangUp();
      cancelOnServer();
      return;
    }
    pull();
  }

  private void pull() {
    Attempt<?> current = attempt;
    if (current == null || over.get()) {
      return;
    }
    // A response may bring no event, such as a chunk that is not the last: then another is due.
    int more = (int) Math.min(demand - current.due, Integer.MAX_VALUE - current.due);
    if (more > 0 && current.due < ENOUGH_DUE) {
      current.due += more;
      current.call.request(more);
    }
  }

  private void received(Attempt<?> from, GenerateImageResponse response) {
    if (from != attempt || over.get()) {
      return;
    }
    from.due--;
    begun = true;
    reattachment.connected();
    try {
      assembler.add(response).ifPresent(this::show);
    } catch (EventAssembler.HeaderMissingException missing) {
      // All of it, of which only what is new is shown.
      hangUp();
      assembler.startOver();
      afterEventIndex = OptionalLong.empty();
      watch();
      return;
    } catch (ProtocolException broken) {
      fail(broken);
      return;
    }
    pull();
  }

  private void show(Event event) {
    demand--;
    subscriber.onNext(event);
  }

  private void ended(Attempt<?> from) {
    if (from != attempt || over.get()) {
      return;
    }
    try {
      assembler.finish();
      complete();
    } catch (ProtocolException early) {
      fail(early);
    }
  }

  private void broke(Attempt<?> from, Throwable thrown) {
    if (from != attempt || over.get()) {
      return;
    }
    if (assembler.isDone()) {
      complete(); // a connection that broke after all had come
      return;
    }
    RpcException failure = Failures.of(thrown);
    if (plan.request().isPresent() && watches && isLost(failure)) {
      assembler.startOver();
      generate(plan.request().get());
    } else if (isOurDeadline(failure)) {
      fail(Failures.timedOut(plan.timeout().orElseThrow(), thrown));
    } else if (!isBroken(failure) || !begun || context.isCancelled()) {
      fail(failure);
    } else {
      tryAgain(failure);
    }
  }

  private void tryAgain(RpcException failure) {
    Optional<Duration> pause = reattachment.broken();
    if (pause.isEmpty()) {
      fail(failure);
      return;
    }
    long pauseNanos = pause.get().toNanos();
    if (deadline.filter(end -> end.timeRemaining(TimeUnit.NANOSECONDS) <= pauseNanos).isPresent()) {
      fail(Failures.timedOut(plan.timeout().orElseThrow(), failure));
      return;
    }
    CompletableFuture.delayedExecutor(pauseNanos, TimeUnit.NANOSECONDS, serial)
        .execute(this::watch);
  }

  private void complete() {
    if (over.compareAndSet(false, true)) {
      settled.complete(null);
      subscriber.onComplete();
    }
  }

  private void fail(RuntimeException error) {
    if (!over.compareAndSet(false, true)) {
      return;
    }
    hangUp();
    // Whoever sees the error may count on the end of the work.
    CompletableFuture<Void> told =
        mayGoOn(error) ? cancelOnServer() : CompletableFuture.completedFuture(null);
    told.thenRun(
        () -> {
          settled.complete(null);
          serial.execute(() -> subscriber.onError(error));
        });
  }

  private void hangUp() {
    Attempt<?> current = attempt;
    ClientCallStreamObserver<?> call = current == null ? null : current.call;
    if (call != null) {
      call.cancel("the generation is left", null);
    }
  }

  /** Where it does not linger, the end of its call is its end. */
  private CompletableFuture<Void> cancelOnServer() {
    // An id that the caller chose may belong to another one, until an event says otherwise.
    boolean isOurs = attempt != null && (plan.idIsOurs() || begun);
    return plan.lingers() && isOurs && !assembler.isDone()
        ? calls.cancelLeft(plan.requestId())
        : CompletableFuture.completedFuture(null);
  }

  /** Whether the server may go on with the generation after an error ended its following. */
  private boolean mayGoOn(RuntimeException error) {
    // Every other status is the generation's own, or there is no server to ask.
    return !(error instanceof RpcException)
        || error instanceof DeadlineExceededException
        || error instanceof ReaderTooSlowException
        || context.isCancelled();
  }

  private boolean isOurDeadline(RpcException failure) {
    return failure instanceof DeadlineExceededException
        && failure.reason().isEmpty()
        && plan.timeout().isPresent();
  }

  private static boolean isBroken(RpcException failure) {
    return failure.reason().isEmpty() && BROKEN.contains(failure.code());
  }

  /** Whether the server knows the generation no more, or ended it since nobody watched it. */
  private static boolean isLost(RpcException failure) {
    boolean leftAlone =
        failure.code() == Status.Code.CANCELLED
            && !failure.reason().isEmpty()
            && !failure.reason().equals("CANCELLED_BY_REQUEST");
    return leftAlone || failure instanceof GenerationNotFoundException;
  }

  private void subscriberFailed(Thread thread, Throwable thrown) {
    leave();
    thread.getUncaughtExceptionHandler().uncaughtException(thread, thrown);
  }

  /** One call of the generation. */
  private final class Attempt<T> implements ClientResponseObserver<T, GenerateImageResponse> {
    private volatile ClientCallStreamObserver<T> call;

    /** How many responses were asked for that have not come. */
    private int due;

    @Override
    public void beforeStart(ClientCallStreamObserver<T> started) {
      call = started;
      call.disableAutoRequestWithInitial(0);
    }

    @Override
    public void onNext(GenerateImageResponse response) {
      serial.execute(() -> received(this, response));
    }

    @Override
    public void onError(Throwable thrown) {
      serial.execute(() -> broke(this, thrown));
    }

    @Override
    public void onCompleted() {
      serial.execute(() -> ended(this));
    }
  }
}
