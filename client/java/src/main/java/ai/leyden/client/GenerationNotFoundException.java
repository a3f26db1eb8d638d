package ai.leyden.client;

/** No such generation runs, or is kept any more. */
public final class GenerationNotFoundException extends NotFoundException {
  private static final long serialVersionUID = 1L;

  GenerationNotFoundException(Failure failure) {
    super(failure);
  }
}
