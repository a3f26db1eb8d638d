package ai.leyden.client;

import static java.util.concurrent.TimeUnit.NANOSECONDS;

import ai.leyden.v1.CancelGenerationRequest;
import ai.leyden.v1.GetModelRequest;
import ai.leyden.v1.GetServerStateRequest;
import ai.leyden.v1.ImageGenerationServiceGrpc;
import ai.leyden.v1.ListModelsRequest;
import ai.leyden.v1.LoadModelRequest;
import ai.leyden.v1.ModelServiceGrpc;
import ai.leyden.v1.UnloadModelRequest;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.Flow;
import java.util.function.Consumer;

/**
 * Client of one Leyden server.
 *
 * <pre>{@code
 * try (LeydenClient client = LeydenClient.connect("127.0.0.1:8001")) {
 *   Generation generation =
 *       client.generateImage(GenerateRequest.builder("a lighthouse at dusk").seed(7).build());
 *   generation.images().get(0).save(Path.of("lighthouse.png"));
 * }
 * }</pre>
 *
 * <p>It may be used by any number of threads at once. Every call throws an exception of the tree of
 * {@link LeydenException} where the server refuses or fails, and {@link IllegalStateException} once
 * the client is closed. Interrupting a thread that waits ends its call, and its generation on the
 * server; it sees {@link GenerationCancelledException}, and its interrupt stays set.
 *
 * <p>Where the program has OpenTelemetry, the span that is current in the thread that calls goes
 * along with the call, and with those that take up a broken connection.
 */
public final class LeydenClient implements AutoCloseable {
  /** Where a server is that was not told otherwise. */
  public static final String DEFAULT_TARGET = "127.0.0.1:8001";

  /** For how long a generation goes on that was started to be left alone. */
  public static final Duration DETACHED_LINGER = Duration.ofMinutes(10);

  private final ManagedChannel connection;
  private final List<ClientInterceptor> interceptors;
  private final Channel channel;
  private final Followings followings;
  private final Health health;
  private final Optional<Duration> callTimeout;

  LeydenClient(
      ManagedChannel connection,
      List<ClientInterceptor> interceptors,
      Optional<Duration> callTimeout) {
    this.connection = connection;
    this.callTimeout = callTimeout;
    this.interceptors = List.copyOf(interceptors);
    this.channel = ClientInterceptors.intercept(connection, interceptors);
    this.followings = new Followings(() -> new ImageCalls(channelOfCaller()));
    this.health = new Health(channel);
    new Reconnection(connection).begin();
  }

  /**
   * Makes a client without TLS or API key; it connects with its first call.
   *
   * @param target host:port, or any name that gRPC resolves
   * @return the client, to be closed
   */
  public static LeydenClient connect(String target) {
    return builder(target).build();
  }

  /**
   * Begins a client that is told more than where the server is.
   *
   * @param target host:port, or any name that gRPC resolves
   * @return a builder
   */
  public static LeydenClientBuilder builder(String target) {
    return new LeydenClientBuilder(target);
  }

  /**
   * Generates images and gives each event as it comes, the {@link Event.Summary} last.
   *
   * <p>Closing the stream before its end ends the generation on the server.
   *
   * <p>A connection that breaks in the midst of it is taken up again for as long as the request
   * lingers, and no event comes twice: the generation goes on meanwhile, and is watched again from
   * where its events stopped. If the server does not know it any more, the same request, with the
   * same id and seed, is sent again.
   *
   * @param request what to generate
   * @return the events, to be closed
   */
  public EventStream streamImage(GenerateRequest request) {
    return EventStream.of(followings::follow, FollowPlan.of(request));
  }

  /**
   * Generates images and returns them with their summary.
   *
   * @param request what to generate
   * @return the finished generation
   */
  public Generation generateImage(GenerateRequest request) {
    FinishedGeneration finished = new FinishedGeneration();
    return finished.await(followings.follow(FollowPlan.of(request), finished));
  }

  /**
   * Generates images and returns them with their summary. What the listener throws ends the
   * generation and is thrown.
   *
   * @param request what to generate
   * @param listener is given each event as it comes, by this thread
   * @return the finished generation
   */
  public Generation generateImage(GenerateRequest request, Consumer<? super Event> listener) {
    List<Event.Image> images = new ArrayList<>();
    Event.Summary summary = null;
    try (EventStream events = streamImage(request)) {
      for (Event event : events) {
        listener.accept(event);
        if (event instanceof Event.Image image) {
          images.add(image);
        } else if (event instanceof Event.Summary last) {
          summary = last;
        }
      }
    }
    return FinishedGeneration.of(images, summary);
  }

  /**
   * Prepares the events of a generation for reactive code. Each subscription generates anew.
   *
   * <p>A subscriber is never sent more events than it asks for, and what it does not ask for stays
   * on the connection and, beyond its buffers, on the server. Cancelling the subscription ends the
   * generation: the server is told at once, and nobody waits for its answer; {@link #close} does.
   * {@link #streamImage} tells what a broken connection does.
   *
   * @param request what to generate
   * @return the events, the {@link Event.Summary} last
   */
  public Flow.Publisher<Event> publishImage(GenerateRequest request) {
    Objects.requireNonNull(request, "request");
    return subscriber ->
        followings.follow(FollowPlan.of(request), Objects.requireNonNull(subscriber, "subscriber"));
  }

  /**
   * Starts a generation, leaves it to itself, and returns its name once the server has accepted it.
   *
   * <p>It then goes on for as long as the request lingers ({@link #DETACHED_LINGER} unless it says)
   * without being watched, and its events are kept for as long after its end: {@link
   * #watch(String)} gives them. The request's timeout is that of the acceptance alone.
   *
   * @param request what to generate
   * @return the generation's name
   * @throws IllegalArgumentException if the request's linger is not above zero
   */
  public String startImage(GenerateRequest request) {
    Duration linger = request.linger().orElse(DETACHED_LINGER);
    if (linger.isZero() || linger.isNegative()) {
      throw new IllegalArgumentException(
          "linger is %s; a generation that is left needs more than zero".formatted(linger));
    }
    try (EventStream events = streamImage(request.withLinger(linger))) {
      events.next();
      events.detach();
      return events.requestId();
    }
  }

  /**
   * Watches a generation from its first event on. Closing the stream leaves the generation as it
   * is.
   *
   * @param requestId the generation's name
   * @return the events, to be closed
   */
  public EventStream watch(String requestId) {
    return watch(WatchRequest.of(requestId));
  }

  /**
   * Watches a generation. Events of the past come without their previews. Closing the stream leaves
   * the generation as it is. A broken connection is taken up again for {@link
   * GenerateRequest#DEFAULT_LINGER}.
   *
   * @param request which generation, and from where
   * @return the events, to be closed
   */
  public EventStream watch(WatchRequest request) {
    return EventStream.of(followings::follow, FollowPlan.of(request));
  }

  /**
   * Prepares the events of a generation that runs already for reactive code. Cancelling the
   * subscription leaves the generation as it is.
   *
   * @param request which generation, and from where
   * @return the events, the {@link Event.Summary} last
   */
  public Flow.Publisher<Event> publishWatch(WatchRequest request) {
    Objects.requireNonNull(request, "request");
    return subscriber ->
        followings.follow(FollowPlan.of(request), Objects.requireNonNull(subscriber, "subscriber"));
  }

  /**
   * Ends a generation at once; who watches it gets {@link GenerationCancelledException}. One that
   * has ended and is kept stays as it is.
   *
   * @param requestId the generation's name
   */
  public void cancel(String requestId) {
    CancelGenerationRequest request =
        CancelGenerationRequest.newBuilder().setRequestId(requestId).build();
    call(ImageGenerationServiceGrpc.getCancelGenerationMethod(), request);
  }

  /**
   * Returns the server's models, by name, the loaded and the others.
   *
   * @return the models
   */
  public List<Model> listModels() {
    ListModelsRequest request = ListModelsRequest.getDefaultInstance();
    return call(ModelServiceGrpc.getListModelsMethod(), request).getModelsList().stream()
        .map(Wire::model)
        .toList();
  }

  /**
   * Returns one model.
   *
   * @param name the model's name; empty: the server's default model
   * @return the model
   */
  public Model getModel(String name) {
    GetModelRequest request = GetModelRequest.newBuilder().setModel(name).build();
    return Wire.model(call(ModelServiceGrpc.getGetModelMethod(), request).getModel());
  }

  /**
   * Loads a model, and returns it once it is ready. One that is ready is loaded anew where its
   * files have changed, and left alone where not. Leaving the call does not stop the load.
   *
   * @param name the model's name
   * @return the model
   */
  public Model loadModel(String name) {
    LoadModelRequest request = LoadModelRequest.newBuilder().setModel(name).build();
    return Wire.model(call(ModelServiceGrpc.getLoadModelMethod(), request).getModel());
  }

  /**
   * Unloads a model, and returns once its stages are gone; at once where it is not loaded. New
   * requests are refused from the call on, and what was accepted finishes for as long as the
   * server's drain lasts.
   *
   * @param name the model's name
   */
  public void unloadModel(String name) {
    UnloadModelRequest request = UnloadModelRequest.newBuilder().setModel(name).build();
    call(ModelServiceGrpc.getUnloadModelMethod(), request);
  }

  /**
   * Returns what the server does now; for operators.
   *
   * @return the server's state
   */
  public ServerState getServerState() {
    GetServerStateRequest request = GetServerStateRequest.getDefaultInstance();
    return Wire.serverState(call(ModelServiceGrpc.getGetServerStateMethod(), request));
  }

  /** Waits for as long as it takes until the server says that it serves. */
  public void waitUntilReady() {
    followings.checkOpen();
    health.awaitServing(Optional.empty());
  }

  /**
   * Waits until the server says that it serves. A server that is not there yet, loads or drains is
   * waited for.
   *
   * @param timeout how long to wait at most
   * @throws DeadlineExceededException if it does not serve by then
   */
  public void waitUntilReady(Duration timeout) {
    followings.checkOpen();
    health.awaitServing(Optional.of(timeout));
  }

  /**
   * Closes the connection, and cancels the generations that were started and still run; the server
   * has heard of it when this returns, or does not answer within two seconds. Who reads their
   * events gets {@link GenerationCancelledException}.
   */
  @Override
  public void close() {
    followings.close();
    connection.shutdownNow();
  }

  private <Q, A> A call(MethodDescriptor<Q, A> method, Q request) {
    followings.checkOpen();
    CallOptions options =
        callTimeout
            .map(limit -> CallOptions.DEFAULT.withDeadlineAfter(limit.toNanos(), NANOSECONDS))
            .orElse(CallOptions.DEFAULT);
    try {
      return ClientCalls.blockingUnaryCall(channelOfCaller(), method, options, request);
    } catch (StatusRuntimeException thrown) {
      throw followings.isClosed() ? Failures.closedWhileRunning() : Failures.of(thrown);
    }
  }

  /** The channel for calls of this thread's trace. */
  private Channel channelOfCaller() {
    // Below the caller's own interceptors, which may have set the trace already.
    return TraceContext.ofCaller()
        .map(trace -> ClientInterceptors.intercept(connection, trace))
        .map(traced -> ClientInterceptors.intercept(traced, interceptors))
        .orElse(channel);
  }
}
