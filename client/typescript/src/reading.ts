/** From the messages of the wire to the types of this package. */

import type { Duration } from "@bufbuild/protobuf/wkt";

import type * as events from "./events.js";
import * as pb from "./gen/leyden/v1/image_generation_service_pb.js";
import * as modelPb from "./gen/leyden/v1/model_service_pb.js";
import type { Model, ModelState } from "./models.js";
import type { OutputFormat, Solver } from "./options.js";
import type { ServerState, StageKind, StageState } from "./server_state.js";

// A server newer than this client may send enum values that it does not know: a reply is not
// refused for them.
const SOLVERS: Readonly<Record<pb.Solver, Solver>> = {
  [pb.Solver.UNSPECIFIED]: "unspecified",
  [pb.Solver.EULER]: "euler",
  [pb.Solver.EULER_ANCESTRAL]: "euler_ancestral",
  [pb.Solver.LCM]: "lcm",
  [pb.Solver.TCD]: "tcd",
  [pb.Solver.DPMPP_2M]: "dpmpp_2m",
  [pb.Solver.DPMPP_2M_SDE]: "dpmpp_2m_sde",
};
const FORMATS: Readonly<Record<pb.OutputFormat, OutputFormat>> = {
  [pb.OutputFormat.UNSPECIFIED]: "unspecified",
  [pb.OutputFormat.PNG]: "png",
  [pb.OutputFormat.JPEG]: "jpeg",
  [pb.OutputFormat.WEBP]: "webp",
};
const STATES: Readonly<Record<modelPb.ModelState, ModelState>> = {
  [modelPb.ModelState.UNSPECIFIED]: "unspecified",
  [modelPb.ModelState.READY]: "ready",
  [modelPb.ModelState.LOADING]: "loading",
  [modelPb.ModelState.UNAVAILABLE]: "unavailable",
  [modelPb.ModelState.UNLOADING]: "unloading",
};
const KINDS: Readonly<Record<modelPb.StageKind, StageKind>> = {
  [modelPb.StageKind.UNSPECIFIED]: "unspecified",
  [modelPb.StageKind.TEXT_ENCODER]: "text_encoder",
  [modelPb.StageKind.DENOISER]: "denoiser",
  [modelPb.StageKind.VAE]: "vae",
};

/** The solvers by their names here. */
export const SOLVER_TO_WIRE: ReadonlyMap<string, pb.Solver> = reversed(SOLVERS);
/** The formats by their names here. */
export const FORMAT_TO_WIRE: ReadonlyMap<string, pb.OutputFormat> = reversed(FORMATS);

function reversed<Wire extends number>(
  names: Readonly<Record<Wire, string>>,
): ReadonlyMap<string, Wire> {
  const pairs = Object.entries<string>(names);
  return new Map(pairs.map(([wire, name]) => [name, Number(wire) as Wire]));
}

function named<Name extends string>(names: Readonly<Record<number, Name>>, wire: number) {
  return names[wire] ?? ("unspecified" as Name);
}

/** Return a duration in seconds; an absent one is 0. */
export function seconds(duration: Duration | undefined): number {
  return duration === undefined ? 0 : Number(duration.seconds) + duration.nanos / 1e9;
}

function base(response: pb.GenerateImageResponse): events.EventBase {
  return { requestId: response.requestId, eventIndex: Number(response.eventIndex) };
}

/** Read a `queued` event. */
export function queued(response: pb.GenerateImageResponse, event: pb.Queued): events.Queued {
  const wait = event.expectedWaitDuration;
  return {
    kind: "queued",
    ...base(response),
    position: event.position,
    expectedWaitS: wait && seconds(wait),
  };
}

/** Read a `text_encoded` event. */
export function textEncoded(
  response: pb.GenerateImageResponse,
  event: pb.TextEncoded,
): events.TextEncoded {
  return {
    kind: "textEncoded",
    ...base(response),
    tokenCount: event.tokenCount,
    truncated: event.truncated,
  };
}

/** Read a `denoise_progress` event. */
export function denoiseProgress(
  response: pb.GenerateImageResponse,
  event: pb.DenoiseProgress,
): events.DenoiseProgress {
  return {
    kind: "denoiseProgress",
    ...base(response),
    imageIndex: event.imageIndex,
    step: event.step,
    totalSteps: event.totalSteps,
    timestep: event.timestep,
    sigma: event.sigma,
    elapsedS: seconds(event.elapsedDuration),
    remainingS: seconds(event.remainingDuration),
    batchRows: event.batchRows,
    preview: event.preview && {
      data: event.preview.data,
      format: named(FORMATS, event.preview.format),
      widthPx: event.preview.widthPx,
      heightPx: event.preview.heightPx,
    },
  };
}

/** Join an image's header and data; `response` is the one that completed it. */
export function image(
  response: pb.GenerateImageResponse,
  header: pb.Image,
  data: Uint8Array,
): events.Image {
  return {
    kind: "image",
    ...base(response),
    imageIndex: header.imageIndex,
    seed: header.seed,
    format: named(FORMATS, header.format),
    widthPx: header.widthPx,
    heightPx: header.heightPx,
    data,
  };
}

/** Read a `summary` event. */
export function summary(response: pb.GenerateImageResponse, event: pb.Summary): events.Summary {
  return {
    kind: "summary",
    ...base(response),
    warnings: event.warnings.map(({ reason, field, message }) => ({ reason, field, message })),
    model: event.model,
    modelRevision: event.modelRevision,
    retries: event.retries,
    widthPx: event.widthPx,
    heightPx: event.heightPx,
    numInferenceSteps: event.numInferenceSteps,
    guidanceScale: event.guidanceScale,
    solver: named(SOLVERS, event.solver),
    bill: {
      queueS: seconds(event.bill?.queueDuration),
      textEncodeS: seconds(event.bill?.textEncodeDuration),
      totalS: seconds(event.bill?.totalDuration),
      textEncoderReplica: event.bill?.textEncoderReplica ?? "",
      gatewayReplica: event.bill?.gatewayReplica ?? "",
      images: (event.bill?.images ?? []).map(imageBill),
    },
  };
}

function imageBill(bill: pb.ImageBill): events.ImageBill {
  return {
    imageIndex: bill.imageIndex,
    steps: bill.steps.map((step) => ({
      durationS: seconds(step.duration),
      batchRows: step.batchRows,
    })),
    vaeDecodeS: seconds(bill.vaeDecodeDuration),
    imageEncodeS: seconds(bill.imageEncodeDuration),
    denoiserReplica: bill.denoiserReplica,
    imageDecoderReplica: bill.imageDecoderReplica,
  };
}

/** Read a server's state. */
export function serverState(message: modelPb.GetServerStateResponse): ServerState {
  const { bottleneck, bottleneckReason } = message;
  return {
    stages: message.stages.map(stageState),
    gateways: message.gateways.map((gateway) => ({
      replica: gateway.replica,
      uptimeS: seconds(gateway.uptimeDuration),
      draining: gateway.draining,
      openStreamCount: gateway.openStreamCount,
      waitingImageCount: gateway.waitingImageCount,
    })),
    bottleneck,
    bottleneckReason,
  };
}

function stageState(stage: modelPb.StageState): StageState {
  return {
    name: stage.name,
    kind: named(KINDS, stage.kind),
    models: [...stage.models],
    runningReplicas: stage.runningReplicas,
    wantedReplicas: stage.wantedReplicas,
    runningCount: stage.runningCount,
    waitingCount: stage.waitingCount,
    busyShare: stage.busyShare,
    problem: stage.problem,
  };
}

/** Read a model. */
export function model(message: modelPb.Model): Model {
  return {
    name: message.name,
    description: message.description,
    state: named(STATES, message.state),
    unavailableReason: message.unavailableReason,
    isDefault: message.isDefault,
    revision: message.revision,
    license: message.license,
    defaultWidthPx: message.defaultWidthPx,
    defaultHeightPx: message.defaultHeightPx,
    minSizePx: message.minSizePx,
    maxSizePx: message.maxSizePx,
    sizeMultiplePx: message.sizeMultiplePx,
    defaultNumInferenceSteps: message.defaultNumInferenceSteps,
    minNumInferenceSteps: message.minNumInferenceSteps,
    maxNumInferenceSteps: message.maxNumInferenceSteps,
    defaultGuidanceScale: message.defaultGuidanceScale,
    minGuidanceScale: message.minGuidanceScale,
    maxGuidanceScale: message.maxGuidanceScale,
    solvers: message.solvers.map((wire) => named(SOLVERS, wire)),
    outputFormats: message.outputFormats.map((wire) => named(FORMATS, wire)),
    maxImageCount: message.maxImageCount,
    maxPromptTokens: message.maxPromptTokens,
    previews: message.previews,
    filesPresent: message.filesPresent,
    knownWords: [...message.knownWords],
  };
}
