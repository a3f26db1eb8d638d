/** What ends a call before its time: its caller's signal, its caller's leaving, the client's end. */

/** A call that may be ended. Listens to its caller's signal from `begin` to `finish`. */
export class Call {
  readonly #controller = new AbortController();
  #above: AbortSignal | undefined;
  readonly #abort = () => {
    this.end(this.#above?.reason);
  };

  /** Aborted once the call is ended. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** End the call when `above` is aborted, or at once where that was so. */
  begin(above: AbortSignal | undefined): void {
    this.#above = above;
    if (above?.aborted) {
      this.#abort();
    }
    above?.addEventListener("abort", this.#abort, { once: true });
  }

  /** End the call, which throws `reason`; the first one counts. */
  end(reason: unknown): void {
    this.#controller.abort(reason);
  }

  /** Listen no more: the call is over. */
  finish(): void {
    this.#above?.removeEventListener("abort", this.#abort);
  }
}
