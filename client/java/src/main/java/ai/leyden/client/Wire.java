package ai.leyden.client;

import ai.leyden.v1.GenerateImageResponse;
import ai.leyden.v1.GetServerStateResponse;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalDouble;

/** From the messages of the wire to the types of this package. */
final class Wire {
  private Wire() {}

  static Duration duration(com.google.protobuf.Duration message) {
    return Duration.ofSeconds(message.getSeconds(), message.getNanos());
  }

  static com.google.protobuf.Duration duration(Duration value) {
    return com.google.protobuf.Duration.newBuilder()
        .setSeconds(value.getSeconds())
        .setNanos(value.getNano())
        .build();
  }

  static ai.leyden.v1.OutputFormat outputFormat(OutputFormat format) {
    return switch (format) {
      case UNSPECIFIED -> ai.leyden.v1.OutputFormat.OUTPUT_FORMAT_UNSPECIFIED;
      case PNG -> ai.leyden.v1.OutputFormat.OUTPUT_FORMAT_PNG;
      case JPEG -> ai.leyden.v1.OutputFormat.OUTPUT_FORMAT_JPEG;
      case WEBP -> ai.leyden.v1.OutputFormat.OUTPUT_FORMAT_WEBP;
    };
  }

  // A server newer than this client may send enum values that it does not know; a reply is not
  // refused for them.
  static OutputFormat outputFormat(ai.leyden.v1.OutputFormat format) {
    return switch (format) {
      case OUTPUT_FORMAT_PNG -> OutputFormat.PNG;
      case OUTPUT_FORMAT_JPEG -> OutputFormat.JPEG;
      case OUTPUT_FORMAT_WEBP -> OutputFormat.WEBP;
      case OUTPUT_FORMAT_UNSPECIFIED, UNRECOGNIZED -> OutputFormat.UNSPECIFIED;
    };
  }

  static ai.leyden.v1.Solver solver(Solver solver) {
    return switch (solver) {
      case UNSPECIFIED -> ai.leyden.v1.Solver.SOLVER_UNSPECIFIED;
      case EULER -> ai.leyden.v1.Solver.SOLVER_EULER;
      case EULER_ANCESTRAL -> ai.leyden.v1.Solver.SOLVER_EULER_ANCESTRAL;
      case LCM -> ai.leyden.v1.Solver.SOLVER_LCM;
      case TCD -> ai.leyden.v1.Solver.SOLVER_TCD;
      case DPMPP_2M -> ai.leyden.v1.Solver.SOLVER_DPMPP_2M;
      case DPMPP_2M_SDE -> ai.leyden.v1.Solver.SOLVER_DPMPP_2M_SDE;
    };
  }

  static Solver solver(ai.leyden.v1.Solver solver) {
    return switch (solver) {
      case SOLVER_EULER -> Solver.EULER;
      case SOLVER_EULER_ANCESTRAL -> Solver.EULER_ANCESTRAL;
      case SOLVER_LCM -> Solver.LCM;
      case SOLVER_TCD -> Solver.TCD;
      case SOLVER_DPMPP_2M -> Solver.DPMPP_2M;
      case SOLVER_DPMPP_2M_SDE -> Solver.DPMPP_2M_SDE;
      case SOLVER_UNSPECIFIED, UNRECOGNIZED -> Solver.UNSPECIFIED;
    };
  }

  static Event.Queued queued(GenerateImageResponse response) {
    ai.leyden.v1.Queued message = response.getQueued();
    return new Event.Queued(
        response.getRequestId(),
        response.getEventIndex(),
        message.getPosition(),
        message.hasExpectedWaitDuration()
            ? Optional.of(duration(message.getExpectedWaitDuration()))
            : Optional.empty());
  }

  static Event.TextEncoded textEncoded(GenerateImageResponse response) {
    return new Event.TextEncoded(
        response.getRequestId(),
        response.getEventIndex(),
        response.getTextEncoded().getTokenCount(),
        response.getTextEncoded().getTruncated());
  }

  static Event.DenoiseProgress denoiseProgress(GenerateImageResponse response) {
    ai.leyden.v1.DenoiseProgress message = response.getDenoiseProgress();
    return new Event.DenoiseProgress(
        response.getRequestId(),
        response.getEventIndex(),
        message.getImageIndex(),
        message.getStep(),
        message.getTotalSteps(),
        message.getTimestep(),
        message.getSigma(),
        duration(message.getElapsedDuration()),
        duration(message.getRemainingDuration()),
        message.getBatchRows(),
        message.hasPreview() ? Optional.of(preview(message.getPreview())) : Optional.empty());
  }

  private static Preview preview(ai.leyden.v1.Preview message) {
    return new Preview(
        message.getData(),
        outputFormat(message.getFormat()),
        message.getWidthPx(),
        message.getHeightPx());
  }

  /** Joins an image's header and data; the response is the one that completed it. */
  static Event.Image image(
      GenerateImageResponse response,
      ai.leyden.v1.Image header,
      com.google.protobuf.ByteString data) {
    return new Event.Image(
        response.getRequestId(),
        response.getEventIndex(),
        header.getImageIndex(),
        header.getSeed(),
        outputFormat(header.getFormat()),
        header.getWidthPx(),
        header.getHeightPx(),
        data);
  }

  static Event.Summary summary(GenerateImageResponse response) {
    ai.leyden.v1.Summary message = response.getSummary();
    return new Event.Summary(
        response.getRequestId(),
        response.getEventIndex(),
        message.getWarningsList().stream()
            .map(w -> new RequestWarning(w.getReason(), w.getField(), w.getMessage()))
            .toList(),
        message.getModel(),
        message.getModelRevision(),
        message.getRetries(),
        message.getWidthPx(),
        message.getHeightPx(),
        message.getNumInferenceSteps(),
        message.getGuidanceScale(),
        solver(message.getSolver()),
        bill(message.getBill()));
  }

  private static Bill bill(ai.leyden.v1.Bill message) {
    return new Bill(
        duration(message.getQueueDuration()),
        duration(message.getTextEncodeDuration()),
        duration(message.getTotalDuration()),
        message.getTextEncoderReplica(),
        message.getGatewayReplica(),
        message.getImagesList().stream().map(Wire::imageShare).toList());
  }

  private static Bill.ImageShare imageShare(ai.leyden.v1.ImageBill message) {
    return new Bill.ImageShare(
        message.getImageIndex(),
        message.getStepsList().stream()
            .map(step -> new Bill.Step(duration(step.getDuration()), step.getBatchRows()))
            .toList(),
        duration(message.getVaeDecodeDuration()),
        duration(message.getImageEncodeDuration()),
        message.getDenoiserReplica(),
        message.getImageDecoderReplica());
  }

  static Model model(ai.leyden.v1.Model message) {
    return new Model(
        message.getName(),
        message.getDescription(),
        modelState(message.getState()),
        message.getUnavailableReason(),
        message.getIsDefault(),
        message.getRevision(),
        message.getLicense(),
        message.getDefaultWidthPx(),
        message.getDefaultHeightPx(),
        message.getMinSizePx(),
        message.getMaxSizePx(),
        message.getSizeMultiplePx(),
        message.getDefaultNumInferenceSteps(),
        message.getMinNumInferenceSteps(),
        message.getMaxNumInferenceSteps(),
        message.getDefaultGuidanceScale(),
        message.getMinGuidanceScale(),
        message.getMaxGuidanceScale(),
        message.getSolversList().stream().map(Wire::solver).toList(),
        message.getOutputFormatsList().stream().map(Wire::outputFormat).toList(),
        message.getMaxImageCount(),
        message.getMaxPromptTokens(),
        message.getPreviews(),
        message.getFilesPresent(),
        message.getKnownWordsList());
  }

  static ServerState serverState(GetServerStateResponse message) {
    return new ServerState(
        message.getStagesList().stream().map(Wire::stageState).toList(),
        message.getGatewaysList().stream().map(Wire::gatewayState).toList(),
        message.getBottleneck(),
        message.getBottleneckReason());
  }

  private static StageState stageState(ai.leyden.v1.StageState message) {
    return new StageState(
        message.getName(),
        stageKind(message.getKind()),
        List.copyOf(message.getModelsList()),
        message.getRunningReplicas(),
        message.getWantedReplicas(),
        message.getRunningCount(),
        message.getWaitingCount(),
        message.hasBusyShare() ? OptionalDouble.of(message.getBusyShare()) : OptionalDouble.empty(),
        message.getProblem());
  }

  private static StageKind stageKind(ai.leyden.v1.StageKind kind) {
    return switch (kind) {
      case STAGE_KIND_TEXT_ENCODER -> StageKind.TEXT_ENCODER;
      case STAGE_KIND_DENOISER -> StageKind.DENOISER;
      case STAGE_KIND_VAE -> StageKind.VAE;
      case STAGE_KIND_UNSPECIFIED, UNRECOGNIZED -> StageKind.UNSPECIFIED;
    };
  }

  private static GatewayState gatewayState(ai.leyden.v1.GatewayState message) {
    return new GatewayState(
        message.getReplica(),
        duration(message.getUptimeDuration()),
        message.getDraining(),
        message.getOpenStreamCount(),
        message.getWaitingImageCount());
  }

  private static ModelState modelState(ai.leyden.v1.ModelState state) {
    return switch (state) {
      case MODEL_STATE_READY -> ModelState.READY;
      case MODEL_STATE_LOADING -> ModelState.LOADING;
      case MODEL_STATE_UNAVAILABLE -> ModelState.UNAVAILABLE;
      case MODEL_STATE_UNLOADING -> ModelState.UNLOADING;
      case MODEL_STATE_UNSPECIFIED, UNRECOGNIZED -> ModelState.UNSPECIFIED;
    };
  }
}
