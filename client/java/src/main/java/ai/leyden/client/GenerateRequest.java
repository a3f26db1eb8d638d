package ai.leyden.client;

import ai.leyden.v1.GenerateImageRequest;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.Optional;
import java.util.UUID;

/**
 * What to generate.
 *
 * <pre>{@code
 * var request = GenerateRequest.builder("a lighthouse at dusk").seed(7).imageCount(2).build();
 * }</pre>
 *
 * <p>What is not set is the model's default. Nobody judges the values before the server does, which
 * names every one that is wrong: {@link InvalidArgumentException#violations()}.
 */
public final class GenerateRequest {
  /** For how long a generation outlives a broken connection, unless told otherwise. */
  public static final Duration DEFAULT_LINGER = Duration.ofSeconds(15);

  private static final SecureRandom RANDOM = new SecureRandom();

  private final GenerateImageRequest message;
  private final Optional<Duration> linger;
  private final Optional<Duration> timeout;

  private GenerateRequest(
      GenerateImageRequest message, Optional<Duration> linger, Optional<Duration> timeout) {
    this.message = message;
    this.linger = linger;
    this.timeout = timeout;
  }

  /**
   * Begins a request.
   *
   * @param prompt what the image should show, at most 4,096 characters
   * @return a builder
   */
  public static Builder builder(String prompt) {
    return new Builder(
        GenerateImageRequest.newBuilder().setPrompt(prompt), Optional.empty(), Optional.empty());
  }

  /**
   * Begins another request with the values of this one.
   *
   * @return a builder
   */
  public Builder toBuilder() {
    return new Builder(message.toBuilder(), linger, timeout);
  }

  /**
   * Returns the deadline of the whole.
   *
   * @return the deadline; empty: none
   */
  public Optional<Duration> timeout() {
    return timeout;
  }

  /** Describes the request as protobuf's text does. */
  @Override
  public String toString() {
    return message.toString();
  }

  /** Whether the caller chose the id, which may then belong to another generation too. */
  boolean namesItself() {
    return !message.getRequestId().isEmpty();
  }

  Optional<Duration> linger() {
    return linger;
  }

  GenerateRequest withLinger(Duration value) {
    return new GenerateRequest(message, Optional.of(value), timeout);
  }

  /**
   * Writes a message that can be sent again: with an id and a seed, drawn where not given.
   *
   * <p>A server refuses what it cannot end within a call's deadline only where nothing lingers. So
   * a request with a timeout lingers only if it says so.
   */
  GenerateImageRequest repeatable() {
    GenerateImageRequest.Builder drawn = message.toBuilder();
    if (!namesItself()) {
      drawn.setRequestId(UUID.randomUUID().toString());
    }
    if (!drawn.hasSeed()) {
      // 32 bits, as the server draws: short enough to be typed in again.
      drawn.setSeed(Integer.toUnsignedLong(RANDOM.nextInt()));
    }
    linger
        .or(() -> timeout.isEmpty() ? Optional.of(DEFAULT_LINGER) : Optional.empty())
        .filter(value -> !value.isZero())
        .ifPresent(value -> drawn.setLingerDuration(Wire.duration(value)));
    return drawn.build();
  }

  /** Builds a {@link GenerateRequest}. */
  public static final class Builder {
    private final GenerateImageRequest.Builder message;
    private Optional<Duration> linger;
    private Optional<Duration> timeout;

    private Builder(
        GenerateImageRequest.Builder message,
        Optional<Duration> linger,
        Optional<Duration> timeout) {
      this.message = message;
      this.linger = linger;
      this.timeout = timeout;
    }

    /**
     * Names the model.
     *
     * @param name the model's name, as {@link LeydenClient#listModels} gives it
     * @return this
     */
    public Builder model(String name) {
      message.setModel(name);
      return this;
    }

    /**
     * Says what the image should not show. It has an effect only where the guidance scale is above
     * 1.
     *
     * @param text at most 4,096 characters
     * @return this
     */
    public Builder negativePrompt(String text) {
      message.setNegativePrompt(text);
      return this;
    }

    /**
     * Sets the seed of the first image; image i has seed + i. Not set: drawn by this client.
     *
     * @param value at least 0; with the number of images at most 2^53
     * @return this
     */
    public Builder seed(long value) {
      message.setSeed(value);
      return this;
    }

    /**
     * Sets the size of the images.
     *
     * @param widthPx width in pixels; 0: the model's native width
     * @param heightPx height in pixels; 0: the model's native height
     * @return this
     */
    public Builder sizePx(int widthPx, int heightPx) {
      return widthPx(widthPx).heightPx(heightPx);
    }

    /**
     * Sets the width of the images.
     *
     * @param value width in pixels; 0: the model's native width
     * @return this
     */
    public Builder widthPx(int value) {
      message.setWidthPx(value);
      return this;
    }

    /**
     * Sets the height of the images.
     *
     * @param value height in pixels; 0: the model's native height
     * @return this
     */
    public Builder heightPx(int value) {
      message.setHeightPx(value);
      return this;
    }

    /**
     * Sets the number of denoise steps.
     *
     * @param value number of steps; 0: the model's default
     * @return this
     */
    public Builder numInferenceSteps(int value) {
      message.setNumInferenceSteps(value);
      return this;
    }

    /**
     * Sets the scale of classifier-free guidance, which is off at or below 1. Not set: the model's
     * default.
     *
     * @param value the scale; 0 is a value
     * @return this
     */
    public Builder guidanceScale(float value) {
      message.setGuidanceScale(value);
      return this;
    }

    /**
     * Sets the rule of a denoise step.
     *
     * @param value the rule
     * @return this
     */
    public Builder solver(Solver value) {
      message.setSolver(Wire.solver(value));
      return this;
    }

    /**
     * Sets the number of images.
     *
     * @param value number of images; 0: 1
     * @return this
     */
    public Builder imageCount(int value) {
      message.setImageCount(value);
      return this;
    }

    /**
     * Sets the encoding of the images.
     *
     * @param value the encoding; unspecified: PNG
     * @return this
     */
    public Builder outputFormat(OutputFormat value) {
      message.setOutputFormat(Wire.outputFormat(value));
      return this;
    }

    /**
     * Sets the quality of a JPEG or WebP; not allowed with PNG.
     *
     * @param value 1 to 100; 0: 90
     * @return this
     */
    public Builder outputQuality(int value) {
      message.setOutputQuality(value);
      return this;
    }

    /**
     * Asks for previews.
     *
     * @param options which previews
     * @return this
     */
    public Builder preview(PreviewOptions options) {
      message.setPreview(
          ai.leyden.v1.PreviewOptions.newBuilder()
              .setSizePx(options.sizePx())
              .setEverySteps(options.everySteps())
              .setFormat(Wire.outputFormat(options.format())));
      return this;
    }

    /**
     * Names the generation. Who knows the name may watch and cancel it, so draw one that nobody
     * guesses. Not set: a UUID that this client draws.
     *
     * @param name unused by any other generation
     * @return this
     */
    public Builder requestId(String name) {
      message.setRequestId(name);
      return this;
    }

    /**
     * Sets how soon it is served.
     *
     * @param value 1 (first) to 9 (last); 0: 5
     * @return this
     */
    public Builder priority(int value) {
      if (value == 0) {
        message.clearPriority();
      } else {
        message.setPriority(value);
      }
      return this;
    }

    /**
     * Sets for how long the generation goes on when its connection breaks. So long this client
     * tries to come back to it. Not set: {@link GenerateRequest#DEFAULT_LINGER}; with a {@link
     * #timeout} the server is told none all the same.
     *
     * @param value zero: a broken connection is an error at once, and the server ends the
     *     generation
     * @return this
     */
    public Builder linger(Duration value) {
      linger = Optional.of(value);
      return this;
    }

    /**
     * Sets the deadline of the whole. Not set: none.
     *
     * <p>A server looks at a deadline only where nothing lingers. So a timeout without {@link
     * #linger} sends no linger: the server refuses at once what it cannot end in time and serves
     * earlier deadlines first, and a broken connection runs the generation again. With both,
     * nothing is refused early.
     *
     * @param value from the sending of the request to the summary
     * @return this
     */
    public Builder timeout(Duration value) {
      timeout = Optional.of(value);
      return this;
    }

    /**
     * Ends the building.
     *
     * @return the request
     */
    public GenerateRequest build() {
      return new GenerateRequest(message.build(), linger, timeout);
    }
  }
}
