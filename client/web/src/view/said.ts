import { Code } from "@connectrpc/connect";

import { Failure } from "../api/failure";

/** Names of fields that have a place in the form; errors of others are told beside it. */
const FIELDS: ReadonlySet<string> = new Set([
  "prompt",
  "negative_prompt",
  "model",
  "width_px",
  "height_px",
  "num_inference_steps",
  "guidance_scale",
  "solver",
  "image_count",
  "seed",
  "output_format",
  "output_quality",
]);

/** Returns what is wrong with each field, by its name. */
export function fieldErrors(failure: Failure | undefined): Map<string, string> {
  const errors = new Map<string, string>();
  if (failure?.code === Code.NotFound && failure.reason === "MODEL_NOT_FOUND") {
    errors.set("model", sentence(failure.message));
  }
  for (const { field, description } of failure?.violations ?? []) {
    if (FIELDS.has(field)) errors.set(field, sentence(description));
  }
  return errors;
}

/** Returns what a failure says that no field shows; empty: nothing. */
export function beyondFields(failure: Failure): string {
  const shown = fieldErrors(failure);
  if (shown.size > 0) {
    const rest = failure.violations.filter(({ field }) => !shown.has(field));
    return rest.map(({ field, description }) => `${field}: ${sentence(description)}`).join(" ");
  }
  if (failure.isBroken) return "The server cannot be reached.";
  if (failure.reason === "GENERATION_NOT_FOUND") {
    return "The server no longer has the generation that ran here.";
  }
  return sentence(failure.message);
}

/** Returns a message of the server's as a sentence. */
function sentence(message: string): string {
  const text = message.trim();
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
