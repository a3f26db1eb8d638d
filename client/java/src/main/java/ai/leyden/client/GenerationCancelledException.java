package ai.leyden.client;

/**
 * Somebody ended the generation: {@link LeydenClient#cancel}, the server, the interrupt of a
 * waiting thread, or the closing of the client.
 */
public final class GenerationCancelledException extends RpcException {
  private static final long serialVersionUID = 1L;

  GenerationCancelledException(Failure failure) {
    super(failure);
  }
}
