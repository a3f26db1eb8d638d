package ai.leyden.client;

import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;

/** What the reader of a generation has been shown, by all of its runs. */
final class ShownEvents {
  private boolean textEncoded;

  /** Of each image, the last denoise step. */
  private final Map<Integer, Integer> steps = new HashMap<>();

  private final Set<Integer> images = new HashSet<>();

  /** Whether a run that begins anew tells nothing new by this event. */
  boolean has(Event event) {
    if (event instanceof Event.Queued) {
      // Who has seen steps is not told of a queue, which comes before them.
      return !steps.isEmpty();
    }
    if (event instanceof Event.TextEncoded) {
      return textEncoded;
    }
    if (event instanceof Event.DenoiseProgress progress) {
      return progress.step() <= steps.getOrDefault(progress.imageIndex(), 0);
    }
    return event instanceof Event.Image image && images.contains(image.imageIndex());
  }

  /** Remembers that an event was shown. */
  void note(Event event) {
    if (event instanceof Event.TextEncoded) {
      textEncoded = true;
    } else if (event instanceof Event.DenoiseProgress progress) {
      steps.put(progress.imageIndex(), progress.step());
    } else if (event instanceof Event.Image image) {
      images.add(image.imageIndex());
    }
  }
}
