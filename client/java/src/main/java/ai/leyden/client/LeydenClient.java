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
import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeUnit;
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

  /** A server that vanished is noticed within two of these, however long a stream is silent. */
  private static final Duration KEEPALIVE = Duration.ofSeconds(15);

  private final ManagedChannel connection;
  private final List<ClientInterceptor> interceptors;
  private final Channel channel;
  private final Health health;
  private final Optional<Duration> callTimeout;
  private final Set<Following> running = ConcurrentHashMap.newKeySet();
  private volatile boolean closed;

  private LeydenClient(
      ManagedChannel connection,
      List<ClientInterceptor> interceptors,
      Optional<Duration> callTimeout) {
    this.connection = connection;
    this.callTimeout = callTimeout;
    this.interceptors = List.copyOf(interceptors);
    this.channel = ClientInterceptors.intercept(connection, interceptors);
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
  public static Builder builder(String target) {
    return new Builder(target);
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
    return EventStream.of(this::follow, FollowPlan.of(request));
  }

  /**
   * Generates images and returns them with their summary.
   *
   * @param request what to generate
   * @return the finished generation
   */
  public Generation generateImage(GenerateRequest request) {
    return generateImage(request, event -> {});
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
    List<Event.Image> finished = new ArrayList<>();
    Event.Summary summary = null;
    try (EventStream events = streamImage(request)) {
      for (Event event : events) {
        listener.accept(event);
        if (event instanceof Event.Image image) {
          finished.add(image);
        } else if (event instanceof Event.Summary last) {
          summary = last;
        }
      }
    }
    finished.sort(Comparator.comparingInt(Event.Image::imageIndex));
    // A stream that ends without an error has had its summary.
    return new Generation(List.copyOf(finished), Objects.requireNonNull(summary));
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
        follow(FollowPlan.of(request), Objects.requireNonNull(subscriber, "subscriber"));
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
    return EventStream.of(this::follow, FollowPlan.of(request));
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
        follow(FollowPlan.of(request), Objects.requireNonNull(subscriber, "subscriber"));
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
    checkOpen();
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
    checkOpen();
    health.awaitServing(Optional.of(timeout));
  }

  /**
   * Closes the connection, and cancels the generations that were started and still run; the server
   * has heard of it when this returns, or does not answer within two seconds. Who reads their
   * events gets {@link GenerationCancelledException}.
   */
  @Override
  public void close() {
    closed = true;
    CompletableFuture.allOf(
            running.stream().map(Following::leaveWithClient).toArray(CompletableFuture[]::new))
        .join();
    connection.shutdownNow();
  }

  private Following follow(FollowPlan plan, Flow.Subscriber<? super Event> subscriber) {
    checkOpen();
    Following following = new Following(plan, new ImageCalls(channelOfCaller()), subscriber);
    running.add(following);
    following.settled().thenRun(() -> running.remove(following));
    following.begin();
    if (closed) {
      following.leaveWithClient();
    }
    return following;
  }

  private <Q, A> A call(MethodDescriptor<Q, A> method, Q request) {
    checkOpen();
    CallOptions options =
        callTimeout
            .map(limit -> CallOptions.DEFAULT.withDeadlineAfter(limit.toNanos(), NANOSECONDS))
            .orElse(CallOptions.DEFAULT);
    try {
      return ClientCalls.blockingUnaryCall(channelOfCaller(), method, options, request);
    } catch (StatusRuntimeException thrown) {
      throw closed ? Failures.closedWhileRunning() : Failures.of(thrown);
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

  private void checkOpen() {
    if (closed) {
      throw new IllegalStateException("the client is closed");
    }
  }

  /** Builds a {@link LeydenClient}. */
  public static final class Builder {
    private final String target;
    private final List<ClientInterceptor> interceptors = new ArrayList<>();
    private ChannelCredentials credentials = InsecureChannelCredentials.create();
    private Optional<Duration> callTimeout = Optional.empty();

    private Builder(String target) {
      this.target = Objects.requireNonNull(target, "target");
    }

    /**
     * Turns on TLS, and believes the certificate authorities that Java believes.
     *
     * @return this
     */
    public Builder tls() {
      return tls(new TlsConfig());
    }

    /**
     * Turns on TLS.
     *
     * @param config whom to believe, and who this client is
     * @return this
     */
    public Builder tls(TlsConfig config) {
      credentials = config.credentials();
      return this;
    }

    /**
     * Sends an API key with every call: over a network rather with TLS, or everybody on the way
     * reads it.
     *
     * @param key the key
     * @return this
     * @throws IllegalArgumentException if no key can look like this
     */
    public Builder apiKey(String key) {
      return intercept(MetadataUtils.newAttachHeadersInterceptor(Headers.authorization(key)));
    }

    /**
     * Sets the deadline of every call that follows no generation, such as {@link
     * LeydenClient#listModels}. Not set: none.
     *
     * @param limit how long a call may take
     * @return this
     */
    public Builder callTimeout(Duration limit) {
      callTimeout = Optional.of(limit);
      return this;
    }

    /**
     * Lets an interceptor of gRPC see every call: for traces, metrics or metadata.
     *
     * @param interceptor the interceptor
     * @return this
     */
    public Builder intercept(ClientInterceptor interceptor) {
      interceptors.add(interceptor);
      return this;
    }

    /**
     * Makes the client; it connects with its first call.
     *
     * @return the client, to be closed
     * @throws IllegalArgumentException if gRPC cannot read the target
     */
    public LeydenClient build() {
      ManagedChannel connection =
          Grpc.newChannelBuilder(target, credentials)
              .userAgent(Headers.userAgent())
              .keepAliveTime(KEEPALIVE.toSeconds(), TimeUnit.SECONDS)
              .keepAliveTimeout(KEEPALIVE.toSeconds(), TimeUnit.SECONDS)
              .keepAliveWithoutCalls(true)
              .build();
      return new LeydenClient(connection, interceptors, callTimeout);
    }
  }
}
