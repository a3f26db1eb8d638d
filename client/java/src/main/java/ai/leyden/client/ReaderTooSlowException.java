package ai.leyden.client;

/** The server ended the stream because this client has stopped reading it. */
public final class ReaderTooSlowException extends RpcException {
  private static final long serialVersionUID = 1L;

  ReaderTooSlowException(Failure failure) {
    super(failure);
  }
}
