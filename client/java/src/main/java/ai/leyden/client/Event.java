package ai.leyden.client;

import com.google.protobuf.ByteString;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * One event of a generation. They come in this order:
 *
 * <ol>
 *   <li>{@link Queued}: zero or more, until the first {@code DenoiseProgress}
 *   <li>{@link TextEncoded}: once, before the first {@code DenoiseProgress}
 *   <li>{@link DenoiseProgress}: for each image once a step; those of different images may
 *       interleave
 *   <li>{@link Image}: once for each image, whole, after its last {@code DenoiseProgress}
 *   <li>{@link Summary}: once, and last
 * </ol>
 */
public sealed interface Event {
  /**
   * Returns the request's id, the same in every event.
   *
   * @return the id that was given, or that the client drew
   */
  String requestId();

  /**
   * Returns the index of this event in the server's stream; of an image in chunks, its last
   * chunk's.
   *
   * @return the index, from 0
   */
  long eventIndex();

  /**
   * The request was accepted and waits for the denoiser.
   *
   * @param requestId the request's id
   * @param eventIndex the index of this event
   * @param position number of waiting images that are served before this request's; 0: none
   * @param expectedWait expected time until the first denoise step; empty: nothing is known yet
   */
  record Queued(String requestId, long eventIndex, int position, Optional<Duration> expectedWait)
      implements Event {}

  /**
   * The prompt is encoded.
   *
   * @param requestId the request's id
   * @param eventIndex the index of this event
   * @param tokenCount length of the prompt in tokens, before it was cut
   * @param truncated whether the prompt was cut at the text encoder's length
   */
  record TextEncoded(String requestId, long eventIndex, int tokenCount, boolean truncated)
      implements Event {}

  /**
   * A denoise step of one image ended.
   *
   * @param requestId the request's id
   * @param eventIndex the index of this event
   * @param imageIndex index of the image, from 0
   * @param step the step that ended, from 1 to {@code totalSteps}
   * @param totalSteps number of denoise steps of this image
   * @param timestep training timestep at which this step ran the UNet, from 999 (noise) down to 0
   * @param sigma noise level (standard deviation) at which this step started
   * @param elapsed time since the request was accepted
   * @param remaining estimated time until this image's last denoise step ends; decoding is not in
   *     it
   * @param batchRows rows of the UNet batch that this step shared, this image's own among them
   * @param preview a small picture, where one was asked for at this step and this reader is fast
   *     enough
   */
  record DenoiseProgress(
      String requestId,
      long eventIndex,
      int imageIndex,
      int step,
      int totalSteps,
      float timestep,
      float sigma,
      Duration elapsed,
      Duration remaining,
      int batchRows,
      Optional<Preview> preview)
      implements Event {}

  /**
   * An image is ready; it is always whole, however it travelled.
   *
   * @param requestId the request's id
   * @param eventIndex the index of this event
   * @param imageIndex index of the image, from 0
   * @param seed seed that gives this image again
   * @param format encoding of {@code data}
   * @param widthPx width in pixels
   * @param heightPx height in pixels
   * @param data the encoded image
   */
  record Image(
      String requestId,
      long eventIndex,
      int imageIndex,
      long seed,
      OutputFormat format,
      int widthPx,
      int heightPx,
      ByteString data)
      implements Event {
    /**
     * Writes the image to a file, whole or not at all.
     *
     * @param path the file, which is replaced where it is there
     * @throws IOException if it cannot be written
     */
    public void save(Path path) throws IOException {
      WholeFiles.writeAtomically(path, data);
    }
  }

  /**
   * The generation is done: what was used, what was ignored, and what it cost.
   *
   * @param requestId the request's id
   * @param eventIndex the index of this event
   * @param warnings what was ignored, cut or rounded; empty when all was as asked
   * @param model name of the model that ran
   * @param modelRevision what identifies the model's UNet: a digest of its weight files, LoRA and
   *     scale
   * @param retries how many times a stage was run again because a replica died
   * @param widthPx width of the images in pixels
   * @param heightPx height of the images in pixels
   * @param numInferenceSteps number of denoise steps of each image
   * @param guidanceScale the guidance scale that was applied
   * @param solver the rule of a denoise step that was applied
   * @param bill what the generation cost, stage by stage
   */
  record Summary(
      String requestId,
      long eventIndex,
      List<RequestWarning> warnings,
      String model,
      String modelRevision,
      int retries,
      int widthPx,
      int heightPx,
      int numInferenceSteps,
      float guidanceScale,
      Solver solver,
      Bill bill)
      implements Event {}
}
