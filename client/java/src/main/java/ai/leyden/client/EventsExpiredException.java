package ai.leyden.client;

/** The generation is known, but the events that were asked for are no longer kept. */
public final class EventsExpiredException extends RpcException {
  private static final long serialVersionUID = 1L;

  EventsExpiredException(Failure failure) {
    super(failure);
  }
}
