package ai.leyden.client;

/** The server's applications stand in a Serve config, whose owner decides what is loaded. */
public final class ModelsManagedException extends FailedPreconditionException {
  private static final long serialVersionUID = 1L;

  ModelsManagedException(Failure failure) {
    super(failure);
  }
}
