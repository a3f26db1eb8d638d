/** Largest number of JavaScript's and of many other languages' that is exact. */
const MOST_SEED = 2n ** 53n - 1n;

/** What was typed is no seed. */
export class SeedError extends Error {
  override readonly name = "SeedError";
}

/** Returns the seed that was typed, nothing where none was. Throws `SeedError`. */
export function parseSeed(text: string): bigint | undefined {
  const digits = text.trim();
  if (digits === "") return undefined;
  const seed = /^\d{1,16}$/.test(digits) ? BigInt(digits) : -1n;
  if (seed < 0n || seed > MOST_SEED) {
    throw new SeedError(
      `A whole number from 0 to ${MOST_SEED}, or nothing for a new one each time.`,
    );
  }
  return seed;
}

/** Draws a seed that is short enough to be typed in again. */
export function drawnSeed(): bigint {
  return BigInt(crypto.getRandomValues(new Uint32Array(1))[0] ?? 0);
}
