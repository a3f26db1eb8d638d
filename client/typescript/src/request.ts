/** From options to the message of a request, with every option looked at. */

import { randomInt } from "node:crypto";

import { create, type MessageInitShape } from "@bufbuild/protobuf";

import * as pb from "./gen/leyden/v1/image_generation_service_pb.js";
import { type GenerateOptions, LINGER_S } from "./options.js";
import { FORMAT_TO_WIRE, SOLVER_TO_WIRE } from "./reading.js";

// As the server draws: short enough to be typed in again.
const DRAWN_SEEDS = 2 ** 32;

const INT32 = { least: -(2 ** 31), most: 2 ** 31 - 1 };
const INT64 = { least: -(2n ** 63n), most: 2n ** 63n - 1n };

type Check = (name: string, value: unknown) => void;

const PREVIEW_OPTIONS: Readonly<Record<string, Check>> = {
  sizePx: int32,
  everySteps: int32,
  format: oneOf(FORMAT_TO_WIRE),
};

const CALL_OPTIONS: Readonly<Record<string, Check>> = { timeoutS: secondsOption, signal };

/** The options of a watch, by what each may be. */
export const WATCH_OPTIONS: Readonly<Record<string, Check>> = {
  ...CALL_OPTIONS,
  afterEventIndex: int64,
};

/** The options of `start`, `stream` and `generate`, by what each may be. */
export const GENERATE_OPTIONS: Readonly<Record<string, Check>> = {
  ...CALL_OPTIONS,
  model: text,
  negativePrompt: text,
  seed: int64,
  widthPx: int32,
  heightPx: int32,
  numInferenceSteps: int32,
  guidanceScale: number,
  solver: oneOf(SOLVER_TO_WIRE),
  imageCount: int32,
  outputFormat: oneOf(FORMAT_TO_WIRE),
  outputQuality: int32,
  preview: (name, value) => {
    checkOptions(value, PREVIEW_OPTIONS, `${name}.`);
  },
  requestId: text,
  lingerS: secondsOption,
  priority: int32,
};

/** Options that every call has. */
export { CALL_OPTIONS };

/**
 * Refuse options that there are not, and values of another type.
 *
 * JavaScript has nobody else who would: protobuf drops unknown fields in silence. Throws
 * `TypeError` and, for a number that does not fit its field, `RangeError`.
 */
export function checkOptions(
  options: unknown,
  checks: Readonly<Record<string, Check>>,
  within = "",
): void {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`${within || "the options "}must be an object; got ${described(options)}`);
  }
  for (const [name, value] of Object.entries(options)) {
    const check = Object.hasOwn(checks, name) ? checks[name] : undefined;
    if (check === undefined) {
      const known = Object.keys(checks).join(", ");
      throw new TypeError(`there is no option ${within}${name}; there are ${known}`);
    }
    if (value !== undefined) {
      check(within + name, value);
    }
  }
}

/**
 * Write a request that can be sent again: with an id and a seed, drawn where not given.
 *
 * A server refuses what it cannot end within a call's deadline only where nothing lingers. So a
 * call with `timeoutS` lingers only if `lingerS` is given. Throws as `checkOptions`.
 */
export function repeatableRequest(
  prompt: string,
  options: GenerateOptions,
): pb.GenerateImageRequest {
  text("prompt", prompt);
  const fields: MessageInitShape<typeof pb.GenerateImageRequestSchema> = {
    prompt,
    model: options.model ?? "",
    negativePrompt: options.negativePrompt ?? "",
    seed: options.seed === undefined ? drawnSeed() : BigInt(options.seed),
    widthPx: options.widthPx ?? 0,
    heightPx: options.heightPx ?? 0,
    numInferenceSteps: options.numInferenceSteps ?? 0,
    solver: SOLVER_TO_WIRE.get(options.solver ?? "unspecified") ?? pb.Solver.UNSPECIFIED,
    imageCount: options.imageCount ?? 0,
    outputFormat: format(options.outputFormat),
    outputQuality: options.outputQuality ?? 0,
    requestId: options.requestId ?? "",
  };
  if (options.guidanceScale !== undefined) {
    fields.guidanceScale = options.guidanceScale;
  }
  if (options.preview !== undefined) {
    const { sizePx = 0, everySteps = 0 } = options.preview;
    fields.preview = { sizePx, everySteps, format: format(options.preview.format) };
  }
  if (options.priority) {
    fields.priority = options.priority;
  }
  // An empty one is absent too.
  fields.requestId ||= crypto.randomUUID();
  const lingerS = options.lingerS ?? (options.timeoutS === undefined ? LINGER_S : 0);
  if (lingerS !== 0) {
    const whole = Math.trunc(lingerS);
    const nanos = Math.round((lingerS - whole) * 1e9);
    fields.lingerDuration = { seconds: BigInt(whole), nanos };
  }
  return create(pb.GenerateImageRequestSchema, fields);
}

function drawnSeed(): bigint {
  return BigInt(randomInt(DRAWN_SEEDS));
}

function format(name: string | undefined): pb.OutputFormat {
  return FORMAT_TO_WIRE.get(name ?? "unspecified") ?? pb.OutputFormat.UNSPECIFIED;
}

function text(name: string, value: unknown): void {
  if (typeof value !== "string") {
    throw new TypeError(`${name} must be a string; got ${described(value)}`);
  }
}

function number(name: string, value: unknown): void {
  if (typeof value !== "number") {
    throw new TypeError(`${name} must be a number; got ${described(value)}`);
  }
}

function secondsOption(name: string, value: unknown): void {
  number(name, value);
  if (!Number.isFinite(value)) {
    throw new RangeError(`${name} must be a number of seconds; got ${described(value)}`);
  }
}

function int32(name: string, value: unknown): void {
  number(name, value);
  const whole = value as number;
  if (!Number.isInteger(whole) || whole < INT32.least || whole > INT32.most) {
    throw new RangeError(`${name} must be an integer of 32 bits; got ${described(value)}`);
  }
}

function int64(name: string, value: unknown): void {
  if (typeof value === "bigint") {
    if (value < INT64.least || value > INT64.most) {
      throw new RangeError(`${name} must be an integer of 64 bits; got ${described(value)}`);
    }
    return;
  }
  number(name, value);
  if (!Number.isSafeInteger(value)) {
    const cure = "beyond 2^53 - 1 give a bigint";
    throw new RangeError(`${name} must be an integer, and ${cure}; got ${described(value)}`);
  }
}

function oneOf(names: ReadonlyMap<string, number>): Check {
  return (name, value) => {
    if (typeof value !== "string" || !names.has(value)) {
      const known = [...names.keys()].map((known) => `"${known}"`).join(", ");
      throw new TypeError(`${name} must be one of ${known}; got ${described(value)}`);
    }
  };
}

function signal(name: string, value: unknown): void {
  if (!(value instanceof AbortSignal)) {
    throw new TypeError(`${name} must be an AbortSignal; got ${described(value)}`);
  }
}

function described(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
