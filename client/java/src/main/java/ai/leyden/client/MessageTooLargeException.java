package ai.leyden.client;

/** A message is over a size limit of gRPC, which this client or the server has set. */
public final class MessageTooLargeException extends RpcException {
  private static final long serialVersionUID = 1L;

  MessageTooLargeException(Failure failure) {
    super(failure);
  }
}
