package ai.leyden.client;

import io.grpc.ChannelCredentials;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.TlsChannelCredentials;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;

/** What gRPC takes for TLS, an API key and the user agent. */
final class TransportSettings {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private TransportSettings() {}

  static ChannelCredentials plaintext() {
    return InsecureChannelCredentials.create();
  }

  /**
   * Returns gRPC's credentials. Throws {@link IOException} for a file that cannot be read, and
   * {@link IllegalArgumentException} for one that is no PEM.
   */
  static ChannelCredentials tls(TlsConfig config) throws IOException {
    TlsChannelCredentials.Builder credentials = TlsChannelCredentials.newBuilder();
    if (config.rootCertificates().isPresent()) {
      credentials.trustManager(pem(config.rootCertificates().get()));
    }
    if (config.identity().isPresent()) {
      TlsConfig.Identity identity = config.identity().get();
      credentials.keyManager(pem(identity.certificateChain()), pem(identity.privateKey()));
    }
    return credentials.build();
  }

  /** Returns the metadata that carry an API key. */
  static Metadata authorization(String apiKey) {
    // gRPC would name the header's value in its error. The text does not show it.
    if (apiKey.isEmpty() || !apiKey.chars().allMatch(c -> c > ' ' && c < 0x7f)) {
      throw new IllegalArgumentException(
          "the API key must be one word of printable ASCII characters");
    }
    Metadata headers = new Metadata();
    headers.put(AUTHORIZATION, "Bearer " + apiKey);
    return headers;
  }

  static String userAgent() {
    Properties properties = new Properties();
    try (InputStream file = TransportSettings.class.getResourceAsStream("version.properties")) {
      properties.load(file);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    return "leyden-java/" + properties.getProperty("version");
  }

  private static InputStream pem(Path path) throws IOException {
    byte[] data = Files.readAllBytes(path);
    // gRPC's own error would not say which file.
    if (!new String(data, StandardCharsets.ISO_8859_1).contains("-----BEGIN ")) {
      throw new IllegalArgumentException(
          path + ": not a PEM, which has a line -----BEGIN ...-----");
    }
    return new ByteArrayInputStream(data);
  }
}
