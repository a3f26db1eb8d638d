package ai.leyden.client;

/**
 * Asks for previews with the denoise progress.
 *
 * @param sizePx longer side in pixels, at most 1,024; 0: one pixel for each latent
 * @param everySteps a preview every so many steps, counted back from the last; 0: every step
 * @param format encoding; unspecified means JPEG
 */
public record PreviewOptions(int sizePx, int everySteps, OutputFormat format) {
  /** Asks for a preview of the model's own size at every step. */
  public PreviewOptions() {
    this(0, 0, OutputFormat.UNSPECIFIED);
  }
}
