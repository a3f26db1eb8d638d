package ai.leyden.client;

import java.util.List;

/**
 * A generation that is done.
 *
 * @param images the images, in the order of their indices
 * @param summary what was used, what was ignored, and what it cost
 */
public record Generation(List<Event.Image> images, Event.Summary summary) {
  /**
   * Returns the name of the generation.
   *
   * @return the id that was given, or that the client drew
   */
  public String requestId() {
    return summary.requestId();
  }
}
