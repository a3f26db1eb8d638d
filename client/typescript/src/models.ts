/** Which models a server has, and what each accepts. */

import type { OutputFormat, Solver } from "./options.js";

/** Whether a model can be used now. */
export type ModelState = "unspecified" | "ready" | "loading" | "unavailable" | "unloading";

/**
 * A model and what it accepts. All ranges are inclusive. Where files of the model are missing, sizes,
 * steps, guidance scales, solvers and `maxPromptTokens` are zero or empty.
 */
export interface Model {
  /** Name, as requests take it. */
  readonly name: string;
  /** One line on what it is. */
  readonly description: string;
  /** Whether it can be used now. */
  readonly state: ModelState;
  /** What is missing and how to get it, or which stage has no running replica. */
  readonly unavailableReason: string;
  /** Whether a request that names no model gets this one. */
  readonly isDefault: boolean;
  /** What identifies its UNet. Empty unless it is loaded. */
  readonly revision: string;
  /** Licence of the weights: an SPDX id where there is one. */
  readonly license: string;
  /** Native width in pixels. */
  readonly defaultWidthPx: number;
  /** Native height in pixels. */
  readonly defaultHeightPx: number;
  /** Smallest width and height in pixels. */
  readonly minSizePx: number;
  /** Largest width and height in pixels. */
  readonly maxSizePx: number;
  /** Width and height are multiples of this, in pixels. */
  readonly sizeMultiplePx: number;
  /** Number of denoise steps where none is asked for. */
  readonly defaultNumInferenceSteps: number;
  /** Fewest denoise steps. */
  readonly minNumInferenceSteps: number;
  /** Most denoise steps. */
  readonly maxNumInferenceSteps: number;
  /** Guidance scale where none is asked for. */
  readonly defaultGuidanceScale: number;
  /** Smallest guidance scale. */
  readonly minGuidanceScale: number;
  /** Largest guidance scale. */
  readonly maxGuidanceScale: number;
  /** Solvers that it can run, the default first. */
  readonly solvers: readonly Solver[];
  /** Formats that it can send, the default first. */
  readonly outputFormats: readonly OutputFormat[];
  /** Most images of one request. */
  readonly maxImageCount: number;
  /** Length in tokens at which a prompt is cut, with the two that mark start and end. */
  readonly maxPromptTokens: number;
  /** Whether it can send previews. */
  readonly previews: boolean;
  /** Whether all of its files are at hand. */
  readonly filesPresent: boolean;
  /** The words that it knows, where it was trained on few; empty: they are not limited so. */
  readonly knownWords: readonly string[];
}
