package ai.leyden.client;

/** The stream broke the API's contract: a gap, a wrong size, no summary at its end. */
public final class ProtocolException extends LeydenException {
  private static final long serialVersionUID = 1L;

  ProtocolException(String message) {
    super(message, null);
  }
}
