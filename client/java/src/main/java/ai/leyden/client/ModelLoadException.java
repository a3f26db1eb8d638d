package ai.leyden.client;

/** The model cannot be loaded: something of its files is missing or wrong, or does not fit. */
public final class ModelLoadException extends FailedPreconditionException {
  private static final long serialVersionUID = 1L;

  ModelLoadException(Failure failure) {
    super(failure);
  }
}
