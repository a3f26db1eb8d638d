package ai.leyden.client;

import java.time.Duration;
import java.util.List;

/**
 * What a generation cost, stage by stage.
 *
 * @param queue from acceptance to the first denoise step's start, less the text encoding
 * @param textEncode text encoding
 * @param total from acceptance to the summary
 * @param textEncoderReplica replica that encoded the text
 * @param gatewayReplica Gateway replica that served the request
 * @param images the share of each image, in the order of their indices
 */
public record Bill(
    Duration queue,
    Duration textEncode,
    Duration total,
    String textEncoderReplica,
    String gatewayReplica,
    List<ImageShare> images) {
  /**
   * What one image cost.
   *
   * @param imageIndex index of the image, from 0
   * @param steps the denoise steps, first to last
   * @param vaeDecode VAE decode, with the wait for it
   * @param imageEncode encoding of the pixels as PNG, JPEG or WebP
   * @param denoiserReplica replica that ran the denoise steps
   * @param imageDecoderReplica replica that decoded and encoded the image
   */
  public record ImageShare(
      int imageIndex,
      List<Step> steps,
      Duration vaeDecode,
      Duration imageEncode,
      String denoiserReplica,
      String imageDecoderReplica) {}

  /**
   * What one denoise step cost.
   *
   * @param duration time that the step took on the device, for the whole batch
   * @param batchRows rows of the UNet batch; padding is not counted
   */
  public record Step(Duration duration, int batchRows) {}
}
