package ai.leyden.client;

import io.grpc.Metadata;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.Properties;

/** What a client says of itself with every call. */
final class Headers {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private Headers() {}

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
    try (InputStream file = Headers.class.getResourceAsStream("version.properties")) {
      properties.load(file);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    return "leyden-java/" + properties.getProperty("version");
  }
}
