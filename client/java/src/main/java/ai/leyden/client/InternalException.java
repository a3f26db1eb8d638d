package ai.leyden.client;

/** A defect of the server; {@link #errorId()} is in its log. */
public final class InternalException extends RpcException {
  private static final long serialVersionUID = 1L;

  InternalException(Failure failure) {
    super(failure);
  }

  /**
   * Returns the id under which the server logged the defect.
   *
   * @return the id; empty if the server gave none
   */
  public String errorId() {
    return metadata().getOrDefault("error_id", "");
  }
}
