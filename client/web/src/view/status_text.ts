import type { Generation } from "../generation";
import { isRunning, shareDone } from "../generation";

/** Returns where a generation stands, in words, without figures that change by the second. */
export function standing(generation: Generation): string {
  const { variants } = generation;
  switch (generation.phase) {
    case "sent":
      return "Sent";
    case "queued":
      return placeInLine(generation.position ?? 0);
    case "running":
      return variants.length === 1
        ? `Step ${variants[0]?.step ?? 0} of ${variants[0]?.totalSteps ?? 0}`
        : `${Math.round(shareDone(generation) * 100)} % of ${variants.length} images`;
    case "decoding":
      return variants.length === 1 ? "Finishing the image" : "Finishing the images";
    case "done":
      return variants.length === 1
        ? "The image is ready"
        : `All ${variants.length} images are ready`;
    case "cancelled":
      return "Cancelled";
    case "failed":
      return "Failed";
  }
}

/** Returns how long it is expected to take on, in words; empty: not known. */
export function timeLeft(generation: Generation, now: number): string {
  if (!isRunning(generation) || generation.endsAt === undefined) return "";
  if (generation.phase === "decoding") return "";
  const left = (generation.endsAt - now) / 1e3;
  const words = generation.phase === "queued" ? "starts" : "done";
  return left < 1 ? `${words} in a moment` : `${words} in about ${inWords(left)}`;
}

/** Returns a number of seconds as people say it. */
export function inWords(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(seconds < 3 ? 1 : 0)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return `${Math.round(seconds / 60)} min`;
}

function placeInLine(position: number): string {
  if (position === 0) return "Next in line";
  return position === 1
    ? "In line, 1 image before yours"
    : `In line, ${position} images before yours`;
}
