package ai.leyden.example;

import ai.leyden.client.Event;
import ai.leyden.client.EventStream;
import ai.leyden.client.GenerateRequest;
import ai.leyden.client.LeydenClient;
import ai.leyden.client.LeydenException;
import java.io.IOException;
import java.nio.file.Path;

/** Generates one image, shows how far it is, and writes the file. */
public final class Lighthouse {
  private static final int BAR_WIDTH = 30;

  private Lighthouse() {}

  /**
   * Runs the example.
   *
   * @param arguments prompt, file and host:port, each with a default
   * @throws IOException if the file cannot be written
   */
  public static void main(String[] arguments) throws IOException {
    String prompt = arguments.length > 0 ? arguments[0] : "a lighthouse at dusk";
    Path file = Path.of(arguments.length > 1 ? arguments[1] : "lighthouse.png");
    String target = arguments.length > 2 ? arguments[2] : LeydenClient.DEFAULT_TARGET;

    GenerateRequest request = GenerateRequest.builder(prompt).build();
    try (LeydenClient client = LeydenClient.connect(target);
        EventStream events = client.streamImage(request)) {
      for (Event event : events) {
        if (event instanceof Event.Queued queued) {
          show("waiting, %d before this".formatted(queued.position()));
        } else if (event instanceof Event.DenoiseProgress progress) {
          show(bar(progress));
        } else if (event instanceof Event.Image image) {
          image.save(file);
          System.err.printf("%n%s, seed %d%n", file, image.seed());
        } else if (event instanceof Event.Summary summary) {
          summary.warnings().forEach(warning -> System.err.println(warning.message()));
        }
      }
    } catch (LeydenException error) {
      System.err.printf("%n%s%n", error.getMessage());
      System.exit(1);
    }
  }

  private static String bar(Event.DenoiseProgress progress) {
    int done = BAR_WIDTH * progress.step() / progress.totalSteps();
    return "%s%s step %d of %d, %.1f s left"
        .formatted(
            "█".repeat(done),
            "░".repeat(BAR_WIDTH - done),
            progress.step(),
            progress.totalSteps(),
            progress.remaining().toMillis() / 1e3);
  }

  /** Writes a line over the one before. */
  private static void show(String line) {
    System.err.printf("\r\u001b[K%s", line);
  }
}
