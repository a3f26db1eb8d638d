package ai.leyden.client;

import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptor;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.stub.MetadataUtils;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.TimeUnit;

/** Builds a {@link LeydenClient}. */
public final class LeydenClientBuilder {
  /** A server that vanished is noticed within two of these, however long a stream is silent. */
  private static final Duration KEEPALIVE = Duration.ofSeconds(15);

  private final String target;
  private final List<ClientInterceptor> interceptors = new ArrayList<>();
  private ChannelCredentials credentials = InsecureChannelCredentials.create();
  private Optional<Duration> callTimeout = Optional.empty();

  LeydenClientBuilder(String target) {
    this.target = Objects.requireNonNull(target, "target");
  }

  /**
   * Turns on TLS, and believes the certificate authorities that Java believes.
   *
   * @return this
   */
  public LeydenClientBuilder tls() {
    return tls(new TlsConfig());
  }

  /**
   * Turns on TLS.
   *
   * @param config whom to believe, and who this client is
   * @return this
   */
  public LeydenClientBuilder tls(TlsConfig config) {
    credentials = config.credentials();
    return this;
  }

  /**
   * Sends an API key with every call: over a network rather with TLS, or everybody on the way reads
   * it.
   *
   * @param key the key
   * @return this
   * @throws IllegalArgumentException if no key can look like this
   */
  public LeydenClientBuilder apiKey(String key) {
    return intercept(MetadataUtils.newAttachHeadersInterceptor(Headers.authorization(key)));
  }

  /**
   * Sets the deadline of every call that follows no generation, such as {@link
   * LeydenClient#listModels}. Not set: none.
   *
   * @param limit how long a call may take
   * @return this
   */
  public LeydenClientBuilder callTimeout(Duration limit) {
    callTimeout = Optional.of(limit);
    return this;
  }

  /**
   * Lets an interceptor of gRPC see every call: for traces, metrics or metadata.
   *
   * @param interceptor the interceptor
   * @return this
   */
  public LeydenClientBuilder intercept(ClientInterceptor interceptor) {
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
