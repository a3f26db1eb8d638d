package ai.leyden.client;

/** The model is known but not loaded. */
public sealed class FailedPreconditionException extends RpcException
    permits ModelLoadException, ModelsManagedException {
  private static final long serialVersionUID = 1L;

  FailedPreconditionException(Failure failure) {
    super(failure);
  }
}
