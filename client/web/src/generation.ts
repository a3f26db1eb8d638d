import {
  type GenerateImageRequest,
  OutputFormat,
  type Warning,
} from "stubs/leyden/v1/image_generation_service_pb";

import type { GenerationEvent } from "./api/assembler";
import { secondsOf } from "./api/duration";
import type { Failure } from "./api/failure";

/** One image of a generation, as far as it has come. */
export interface Variant {
  readonly step: number;
  readonly totalSteps: number;
  /** What it will roughly look like. */
  readonly preview?: Blob;
  /** The file, as the server sent it. */
  readonly file?: Blob;
  readonly seed?: bigint;
  readonly widthPx?: number;
  readonly heightPx?: number;
}

export type Phase = "sent" | "queued" | "running" | "decoding" | "done" | "failed" | "cancelled";

/** A generation, as its events tell it. */
export interface Generation {
  readonly request: GenerateImageRequest;
  readonly phase: Phase;
  readonly variants: readonly Variant[];
  /** Images in the line before this generation's, while it waits. */
  readonly position?: number;
  /** When the wait or the denoising is expected to end, in milliseconds as `performance.now()`. */
  readonly endsAt?: number;
  readonly firstStepAt?: number;
  readonly tokenCount?: number;
  readonly warnings: readonly Warning[];
  readonly totalS?: number;
  readonly failure?: Failure;
}

/** Returns a generation of which nothing is known but its request. */
export function begun(request: GenerateImageRequest): Generation {
  const variants = Array.from({ length: request.imageCount || 1 }, () => ({
    step: 0,
    totalSteps: request.numInferenceSteps,
  }));
  return { request, phase: "sent", variants, warnings: [] };
}

/** Whether a generation may still change. */
export function isRunning(generation: Generation | undefined): boolean {
  return generation !== undefined && !["done", "failed", "cancelled"].includes(generation.phase);
}

/** Returns the generation after an event that came at `now`, as `performance.now()` has it. */
export function after(generation: Generation, event: GenerationEvent, now: number): Generation {
  switch (event.case) {
    case "queued": {
      const { endsAt: _, ...rest } = generation;
      const { position, expectedWaitDuration: wait } = event.value;
      const known = wait === undefined ? {} : { endsAt: now + secondsOf(wait) * 1e3 };
      return { ...rest, phase: "queued", position, ...known };
    }
    case "textEncoded":
      return { ...generation, tokenCount: event.value.tokenCount };
    case "denoiseProgress": {
      const { imageIndex, step, totalSteps, preview } = event.value;
      const variants = changed(generation.variants, imageIndex, {
        step,
        totalSteps,
        ...(preview && { preview: fileOf(preview.data, preview.format) }),
      });
      const { position: _, endsAt: __, ...rest } = generation;
      const firstStepAt = generation.firstStepAt ?? now;
      const isDenoised = variants.every((one) => one.step > 0 && one.step === one.totalSteps);
      const remainingMs = event.value.remainingDuration
        ? secondsOf(event.value.remainingDuration) * 1e3
        : 0;
      // The server says when this image is denoised; of those beside it the pace tells.
      const paceMs = byPace(variants, now - firstStepAt);
      const leftMs = variants.length === 1 ? remainingMs : paceMs && Math.max(paceMs, remainingMs);
      return {
        ...rest,
        phase: isDenoised ? "decoding" : "running",
        variants,
        firstStepAt,
        ...(leftMs === undefined ? {} : { endsAt: now + leftMs }),
      };
    }
    case "image": {
      const { imageIndex, data, format, seed, widthPx, heightPx } = event.value;
      const file = fileOf(data, format);
      const image = { file, seed, widthPx, heightPx };
      return { ...generation, variants: changed(generation.variants, imageIndex, image) };
    }
    case "summary": {
      const { endsAt: _, ...rest } = generation;
      const { warnings, bill } = event.value;
      const total = bill?.totalDuration;
      return {
        ...rest,
        phase: "done",
        warnings,
        ...(total && { totalS: secondsOf(total) }),
      };
    }
  }
}

/** Returns the share of the denoise steps that are done, from 0 to 1. */
export function shareDone(generation: Generation): number {
  const total = generation.variants.reduce((sum, one) => sum + (one.totalSteps || 1), 0);
  return generation.variants.reduce((sum, one) => sum + one.step, 0) / total;
}

/** Returns what a file of this encoding is called by browsers. */
export function mediaType(format: OutputFormat): string {
  return format === OutputFormat.JPEG
    ? "image/jpeg"
    : format === OutputFormat.WEBP
      ? "image/webp"
      : "image/png";
}

function changed(
  variants: readonly Variant[],
  index: number,
  change: Partial<Variant>,
): readonly Variant[] {
  return variants.map((one, at) => (at === index ? { ...one, ...change } : one));
}

/** Returns the milliseconds that are left at the pace since the first step; nothing: unknown. */
function byPace(variants: readonly Variant[], sinceFirstMs: number): number | undefined {
  const total = variants.reduce((sum, one) => sum + one.totalSteps, 0);
  const done = variants.reduce((sum, one) => sum + one.step, 0);
  return done < 2 ? undefined : (sinceFirstMs * (total - done)) / (done - 1);
}

function fileOf(data: Uint8Array, format: OutputFormat): Blob {
  return new Blob([data as Uint8Array<ArrayBuffer>], { type: mediaType(format) });
}
