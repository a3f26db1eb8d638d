import type { Duration } from "@bufbuild/protobuf/wkt";

/** Returns a duration in seconds. */
export function secondsOf(duration: Duration): number {
  return Number(duration.seconds) + duration.nanos / 1e9;
}
