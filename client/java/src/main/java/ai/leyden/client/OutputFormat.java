package ai.leyden.client;

/** Encoding of an image. */
public enum OutputFormat {
  /** In a request: the server's default. In a reply: one that this client does not know. */
  UNSPECIFIED,
  /** Lossless. */
  PNG,
  /** Small, fast, lossy. */
  JPEG,
  /** Smaller, slower, lossy. */
  WEBP
}
