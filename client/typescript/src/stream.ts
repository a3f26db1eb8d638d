/** The events of one generation, as the caller iterates over them. */

import type { LeydenEvent } from "./events.js";

/**
 * The events of a generation, in their order, the `Summary` last.
 *
 * ```ts
 * for await (const event of client.streamImage("a lighthouse at dusk")) {
 *   if (event.kind === "denoiseProgress") console.log(event.step, event.totalSteps);
 * }
 * ```
 *
 * Leaving the loop by `break`, `return` or an error calls `return`, which cancels the generation on the
 * server and is waited for. A stream that nobody begins to read sends nothing.
 */
export class GenerationStream implements AsyncGenerator<LeydenEvent, void, undefined> {
  /** Name of the generation: the one that was given, or drawn. */
  readonly requestId: string;
  readonly #events: AsyncGenerator<LeydenEvent, void, undefined>;
  readonly #leave: () => void;

  /** @internal */
  constructor(
    requestId: string,
    events: AsyncGenerator<LeydenEvent, void, undefined>,
    leave: () => void,
  ) {
    this.requestId = requestId;
    this.#events = events;
    this.#leave = leave;
  }

  /**
   * Wait for the next event. Rejects with `RpcError` (its subclasses say what happened),
   * `ProtocolError`, or the reason of the signal that was aborted.
   */
  next(): Promise<IteratorResult<LeydenEvent, void>> {
    return this.#events.next();
  }

  /**
   * Leave the generation: a `next` that waits ends. Resolves once the server was told, or could
   * not be within two seconds.
   */
  return(): Promise<IteratorResult<LeydenEvent, void>> {
    this.#leave();
    return this.#events.return();
  }

  /** Leave the generation, and reject with `error`. */
  async throw(error: unknown): Promise<IteratorResult<LeydenEvent, void>> {
    await this.return();
    throw error;
  }

  /** Return this. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Leave the generation, where `await using` ends its block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}
