import { create } from "@bufbuild/protobuf";
import {
  type GenerateImageRequest,
  GenerateImageRequestSchema,
  OutputFormat,
  Solver,
} from "stubs/leyden/v1/image_generation_service_pb";
import type { Model } from "stubs/leyden/v1/model_service_pb";

import { LINGER_S } from "./api/follow";
import { drawnSeed, parseSeed } from "./seed";

/** What the form's fields hold. A number that is null is left to the model. */
export interface FormValues {
  readonly model: string;
  readonly prompt: string;
  readonly negativePrompt: string;
  /** As it was typed; empty: drawn anew for each generation. */
  readonly seed: string;
  readonly widthPx: number | null;
  readonly heightPx: number | null;
  readonly steps: number | null;
  readonly guidance: number | null;
  readonly solver: Solver;
  readonly imageCount: number | null;
  readonly format: OutputFormat;
  readonly quality: number | null;
}

export const EMPTY_FORM: FormValues = {
  model: "",
  prompt: "",
  negativePrompt: "",
  seed: "",
  widthPx: null,
  heightPx: null,
  steps: null,
  guidance: null,
  solver: Solver.UNSPECIFIED,
  imageCount: 1,
  format: OutputFormat.PNG,
  quality: 90,
};

/** Returns the values as a model takes them: what it does not know becomes its default. */
export function fitted(values: FormValues, model: Model): FormValues {
  const between = (value: number | null, least: number, most: number, otherwise: number) =>
    value !== null && value >= least && value <= most ? value : otherwise;
  const size = (value: number | null, otherwise: number) => {
    const { minSizePx, maxSizePx, sizeMultiplePx } = model;
    const kept = between(value, minSizePx, maxSizePx, otherwise);
    return kept % sizeMultiplePx === 0 ? kept : otherwise;
  };
  return {
    ...values,
    model: model.name,
    widthPx: size(values.widthPx, model.defaultWidthPx),
    heightPx: size(values.heightPx, model.defaultHeightPx),
    steps: between(
      values.steps,
      model.minNumInferenceSteps,
      model.maxNumInferenceSteps,
      model.defaultNumInferenceSteps,
    ),
    guidance: between(
      values.guidance,
      model.minGuidanceScale,
      model.maxGuidanceScale,
      model.defaultGuidanceScale,
    ),
    solver: model.solvers.includes(values.solver)
      ? values.solver
      : (model.solvers[0] ?? Solver.UNSPECIFIED),
    imageCount: between(values.imageCount, 1, model.maxImageCount, 1),
    format: model.outputFormats.includes(values.format)
      ? values.format
      : (model.outputFormats[0] ?? OutputFormat.PNG),
  };
}

/** Returns values of one model for another: what was its default becomes the other's. */
export function moved(values: FormValues, from: Model | undefined, to: Model): FormValues {
  const unless = <T>(value: T, usual: T | undefined) => (value === usual ? null : value);
  const own: FormValues = {
    ...values,
    widthPx: unless(values.widthPx, from?.defaultWidthPx),
    heightPx: unless(values.heightPx, from?.defaultHeightPx),
    steps: unless(values.steps, from?.defaultNumInferenceSteps),
    guidance: unless(values.guidance, from?.defaultGuidanceScale),
  };
  return fitted(own, to);
}

/** Returns the request, named and with its seed, so that it can be sent again. Throws `SeedError`. */
export function requestOf(values: FormValues, model: Model | undefined): GenerateImageRequest {
  const takesGuidance = model === undefined || hasGuidance(model);
  return create(GenerateImageRequestSchema, {
    model: values.model,
    prompt: values.prompt,
    negativePrompt: takesGuidance ? values.negativePrompt : "",
    seed: parseSeed(values.seed) ?? drawnSeed(),
    widthPx: values.widthPx ?? 0,
    heightPx: values.heightPx ?? 0,
    numInferenceSteps: values.steps ?? 0,
    ...(takesGuidance && values.guidance !== null ? { guidanceScale: values.guidance } : {}),
    solver: values.solver,
    imageCount: values.imageCount ?? 0,
    outputFormat: values.format,
    outputQuality: values.format === OutputFormat.PNG ? 0 : (values.quality ?? 0),
    ...(model === undefined || model.previews ? { preview: {} } : {}),
    requestId: crypto.randomUUID(),
    lingerDuration: { seconds: BigInt(LINGER_S) },
  });
}

/** Returns the values that make a request's images again; `seed` is that of one of them. */
export function formOf(request: GenerateImageRequest, seed?: bigint): FormValues {
  return {
    model: request.model,
    prompt: request.prompt,
    negativePrompt: request.negativePrompt,
    seed: String(seed ?? request.seed ?? ""),
    widthPx: request.widthPx || null,
    heightPx: request.heightPx || null,
    steps: request.numInferenceSteps || null,
    guidance: request.guidanceScale ?? null,
    solver: request.solver,
    imageCount: seed === undefined ? request.imageCount || 1 : 1,
    format: request.outputFormat,
    quality: request.outputQuality || EMPTY_FORM.quality,
  };
}

/** Returns the values that a file's parameters name; what they do not name stays. */
export function takenUp(
  values: FormValues,
  parameters: Readonly<Record<string, unknown>>,
  format: "PNG" | "JPEG" | "WEBP",
): FormValues {
  const text = (name: string, otherwise: string) => {
    const value = parameters[name];
    return typeof value === "string" ? value : otherwise;
  };
  const number = (name: string, otherwise: number | null) => {
    const value = parameters[name];
    return typeof value === "number" && Number.isFinite(value) ? value : otherwise;
  };
  const seed = parameters.seed;
  return {
    ...values,
    model: text("model", values.model),
    prompt: text("prompt", values.prompt),
    negativePrompt: text("negative_prompt", values.negativePrompt),
    seed: Number.isSafeInteger(seed) ? String(seed) : values.seed,
    widthPx: number("width_px", values.widthPx),
    heightPx: number("height_px", values.heightPx),
    steps: number("num_inference_steps", values.steps),
    guidance: number("guidance_scale", values.guidance),
    solver: solverNamed(text("solver", "")) ?? values.solver,
    imageCount: 1,
    format: OutputFormat[format],
    quality: number("output_quality", values.quality),
  };
}

/** Whether a model lets its guidance be chosen. */
export function hasGuidance(model: Model): boolean {
  return model.maxGuidanceScale > model.minGuidanceScale;
}

/** Returns how a solver is called in files and shown to people. */
export function solverName(solver: Solver): string {
  return SOLVER_NAMES.get(solver) ?? Solver[solver];
}

/** Returns how a format is called. */
export function formatName(format: OutputFormat): string {
  return format === OutputFormat.WEBP ? "WebP" : OutputFormat[format];
}

function solverNamed(name: string): Solver | undefined {
  const value = Solver[name.toUpperCase() as keyof typeof Solver];
  return typeof value === "number" ? value : undefined;
}

const SOLVER_NAMES: ReadonlyMap<Solver, string> = new Map([
  [Solver.EULER, "Euler"],
  [Solver.EULER_ANCESTRAL, "Euler ancestral"],
  [Solver.LCM, "LCM"],
  [Solver.TCD, "TCD"],
  [Solver.DPMPP_2M, "DPM++ 2M"],
  [Solver.DPMPP_2M_SDE, "DPM++ 2M SDE"],
]);
