/** What a generation reports: its events in their order, and the whole at its end. */

import type { OutputFormat, Solver } from "./options.js";

/** What every event has. */
export interface EventBase {
  /** The request's id, the same in every event. */
  readonly requestId: string;
  /** Index of this event in the server's stream; of an image in chunks, its last chunk's. */
  readonly eventIndex: number;
}

/** The request was accepted and waits for the denoiser. Zero or more, before the first step. */
export interface Queued extends EventBase {
  /** Tells the kinds of events apart. */
  readonly kind: "queued";
  /** Number of images of earlier requests that wait too; 0: none. */
  readonly position: number;
  /** Expected time until the first denoise step, in seconds; undefined: nothing is known yet. */
  readonly expectedWaitS: number | undefined;
}

/** The prompt is encoded. Once, before the first step. */
export interface TextEncoded extends EventBase {
  /** Tells the kinds of events apart. */
  readonly kind: "textEncoded";
  /** Length of the prompt in tokens, before it was cut. */
  readonly tokenCount: number;
  /** Whether the prompt was cut at the text encoder's length. */
  readonly truncated: boolean;
}

/** A small picture of the denoised latents as estimated now; not a VAE decode. */
export interface Preview {
  /** The encoded picture. */
  readonly data: Uint8Array;
  /** Encoding of `data`. */
  readonly format: OutputFormat;
  /** Width in pixels. */
  readonly widthPx: number;
  /** Height in pixels. */
  readonly heightPx: number;
}

/** A denoise step of one image ended. For each image once a step. */
export interface DenoiseProgress extends EventBase {
  /** Tells the kinds of events apart. */
  readonly kind: "denoiseProgress";
  /** Index of the image, from 0. */
  readonly imageIndex: number;
  /** The step that ended, from 1 to `totalSteps`. */
  readonly step: number;
  /** Number of denoise steps of this image. */
  readonly totalSteps: number;
  /** Training timestep at which this step ran the UNet, from 999 (noise) down to 0. */
  readonly timestep: number;
  /** Noise level (standard deviation) at which this step started. */
  readonly sigma: number;
  /** Time since the request was accepted, in seconds. */
  readonly elapsedS: number;
  /** Estimated time until this image's last denoise step ends, in seconds. */
  readonly remainingS: number;
  /** Rows of the UNet batch that this step shared, this image's own among them. */
  readonly batchRows: number;
  /** Where one was asked for at this step and this reader is fast enough. */
  readonly preview: Preview | undefined;
}

/** An image is ready; it is always whole, however it travelled. Once for each image. */
export interface Image extends EventBase {
  /** Tells the kinds of events apart. */
  readonly kind: "image";
  /** Index of the image, from 0. */
  readonly imageIndex: number;
  /** Seed that gives this image again. */
  readonly seed: bigint;
  /** Encoding of `data`. */
  readonly format: OutputFormat;
  /** Width in pixels. */
  readonly widthPx: number;
  /** Height in pixels. */
  readonly heightPx: number;
  /** The encoded image. */
  readonly data: Uint8Array;
}

/** Something about a request that its sender should know, though it was served. */
export interface RequestWarning {
  /** What kind of warning, in UPPER_SNAKE_CASE. */
  readonly reason: string;
  /** The request's field that the warning is about. */
  readonly field: string;
  /** The warning in words. */
  readonly message: string;
}

/** What one denoise step cost. */
export interface StepBill {
  /** Time that the step took on the device, for the whole batch, in seconds. */
  readonly durationS: number;
  /** Rows of the UNet batch; padding is not counted. */
  readonly batchRows: number;
}

/** What one image cost. Times are in seconds. */
export interface ImageBill {
  /** Index of the image, from 0. */
  readonly imageIndex: number;
  /** The denoise steps, first to last. */
  readonly steps: readonly StepBill[];
  /** VAE decode, with the wait for it. */
  readonly vaeDecodeS: number;
  /** Encoding of the pixels as PNG, JPEG or WebP. */
  readonly imageEncodeS: number;
  /** Replica that ran the denoise steps. */
  readonly denoiserReplica: string;
  /** Replica that decoded and encoded the image. */
  readonly imageDecoderReplica: string;
}

/** What a generation cost, stage by stage. Times are in seconds. */
export interface Bill {
  /** From acceptance to the first denoise step's start, less the text encoding. */
  readonly queueS: number;
  /** Text encoding. */
  readonly textEncodeS: number;
  /** From acceptance to the summary. */
  readonly totalS: number;
  /** Replica that encoded the text. */
  readonly textEncoderReplica: string;
  /** Gateway replica that served the request. */
  readonly gatewayReplica: string;
  /** The share of each image, in the order of their indices. */
  readonly images: readonly ImageBill[];
}

/** The generation is done: what was used, what was ignored, and what it cost. Once, and last. */
export interface Summary extends EventBase {
  /** Tells the kinds of events apart. */
  readonly kind: "summary";
  /** What was ignored, cut or rounded; empty when all was as asked. */
  readonly warnings: readonly RequestWarning[];
  /** Name of the model that ran. */
  readonly model: string;
  /** What identifies the model's UNet. */
  readonly modelRevision: string;
  /** How many times a stage was run again because a replica died. */
  readonly retries: number;
  /** Width of the images in pixels. */
  readonly widthPx: number;
  /** Height of the images in pixels. */
  readonly heightPx: number;
  /** Number of denoise steps of each image. */
  readonly numInferenceSteps: number;
  /** The guidance scale that was applied. */
  readonly guidanceScale: number;
  /** The rule of a denoise step that was applied. */
  readonly solver: Solver;
  /** What the generation cost, stage by stage. */
  readonly bill: Bill;
}

/** One event of a generation; `kind` says which. */
export type LeydenEvent = Queued | TextEncoded | DenoiseProgress | Image | Summary;

/** A generation that is done. */
export interface Generation {
  /** The request's id: the one that was given, or drawn. */
  readonly requestId: string;
  /** The images, in the order of their indices. */
  readonly images: readonly Image[];
  /** What was used, what was ignored, and what it cost. */
  readonly summary: Summary;
}
