/** A generation followed to its end, over as many calls as broken connections make of it. */

import { setTimeout as sleep } from "node:timers/promises";

import { ConnectError } from "@connectrpc/connect";

import { EventAssembler, HeaderMissingError } from "./assemble.js";
import {
  DeadlineExceededError,
  GenerationNotFoundError,
  ReaderTooSlowError,
  RpcError,
} from "./errors.js";
import type { LeydenEvent } from "./events.js";
import * as pb from "./gen/leyden/v1/image_generation_service_pb.js";
import type { CallHeaders } from "./options.js";
import type { Responses } from "./responses.js";
import type { Rpc, RpcOptions } from "./rpc.js";
import { errorOfCall, timedOut } from "./status.js";

type Call = Responses<typeof pb.GenerateImageResponseSchema>;
type Begin = (this: Following) => Call;

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;

// What a connection, or a proxy, that breaks in the midst of a stream looks like; every status
// that a Leyden server gives has a reason.
const BROKEN: ReadonlySet<string> = new Set(["UNAVAILABLE", "UNKNOWN", "INTERNAL", "CANCELLED"]);

/** What is to be followed, and how. */
export interface Plan {
  /** Name of the generation. */
  readonly requestId: string;
  /** What to generate; absent: the generation is watched. */
  readonly request?: pb.GenerateImageRequest;
  /** Whether its id was drawn, so that nobody else has it. */
  readonly idIsOurs?: boolean;
  /** Watched from the event after this one; absent: from event 0. */
  readonly afterEventIndex?: bigint;
  /** A broken connection is given up so many seconds after its last event. */
  readonly reattachS: number;
  /** Deadline of the whole, in seconds from now. */
  readonly timeoutS: number | undefined;
}

/**
 * Follows one generation: starts it if it has a request, else watches it.
 *
 * A connection that breaks after the first event is taken up again: by watching, and where the
 * server does not know the generation any more, by the same request once more. What the server
 * says is never tried again.
 */
export class Following {
  /** What goes with every call that is made for it. */
  readonly headers: CallHeaders;
  readonly #rpc: Rpc;
  readonly #plan: Plan;
  readonly #signal: AbortSignal;
  readonly #assembler: EventAssembler;
  readonly #deadlineMs: number | undefined;
  #watches = false;
  #hasBegun = false;
  #afterEventIndex: bigint | undefined;
  #brokenSinceMs: number | undefined;
  #pauseMs = FIRST_PAUSE_MS;

  /** Prepare; `events` starts. Where `signal` is aborted, the call that runs fails. */
  constructor(rpc: Rpc, headers: CallHeaders, plan: Plan, signal: AbortSignal) {
    this.#rpc = rpc;
    this.headers = headers;
    this.#plan = plan;
    this.#signal = signal;
    this.#afterEventIndex = plan.afterEventIndex;
    const imageCount = plan.request && (plan.request.imageCount || 1);
    this.#assembler = new EventAssembler(plan.requestId, imageCount, plan.afterEventIndex);
    this.#deadlineMs =
      plan.timeoutS === undefined ? undefined : performance.now() + plan.timeoutS * 1e3;
  }

  /** Name of the generation. */
  get requestId(): string {
    return this.#plan.requestId;
  }

  /** Whether the generation outlives its call. */
  get lingers(): boolean {
    return this.#plan.request?.lingerDuration !== undefined;
  }

  /**
   * Whether the id can only mean this generation. One that the caller chose may belong to
   * another, until an event says otherwise.
   */
  get isKnownToBeOurs(): boolean {
    return (this.#plan.idIsOurs ?? false) || this.#hasBegun;
  }

  /** Tell whether the server may go on with the generation after `error` ended its following. */
  static mayGoOn(error: unknown): boolean {
    if (error instanceof RpcError) {
      // Every other status is the generation's own, or there is no server to ask.
      return error instanceof DeadlineExceededError || error instanceof ReaderTooSlowError;
    }
    return true;
  }

  /** Yield the events, none twice, the summary last. Throws `RpcError` and `ProtocolError`. */
  async *events(): AsyncGenerator<LeydenEvent, void, undefined> {
    let begin: Begin | undefined = this.#plan.request === undefined ? this.#watch : this.#generate;
    while (begin !== undefined) {
      const call: Call = begin.call(this);
      let failure: unknown;
      try {
        let response: pb.GenerateImageResponse | undefined;
        while ((response = await call.next()) !== undefined) {
          this.#connected();
          const event = this.#assembler.add(response);
          if (event !== undefined) {
            yield event;
          }
        }
        this.#assembler.finish();
        return;
      } catch (error) {
        failure = error;
      } finally {
        call.cancel();
      }
      begin = await this.#after(failure);
    }
  }

  #connected(): void {
    this.#hasBegun = true;
    this.#brokenSinceMs = undefined;
    this.#pauseMs = FIRST_PAUSE_MS;
  }

  /** Return the call that goes on after `error`, undefined at the end, or throw what it means. */
  async #after(error: unknown): Promise<Begin | undefined> {
    if (error instanceof HeaderMissingError) {
      // All of it, of which only what is new is shown.
      this.#assembler.startOver();
      this.#afterEventIndex = undefined;
      return this.#watch;
    }
    this.#signal.throwIfAborted();
    if (!(error instanceof ConnectError)) {
      throw error;
    }
    if (this.#assembler.isDone) {
      return undefined; // a connection that broke after all had come
    }
    const failure = errorOfCall(error);
    if (this.#plan.request !== undefined && this.#watches && isLost(failure)) {
      this.#assembler.startOver();
      return this.#generate;
    }
    const { timeoutS, reattachS } = this.#plan;
    if (failure instanceof DeadlineExceededError && !failure.reason && timeoutS !== undefined) {
      throw timedOut(timeoutS);
    }
    if (failure.reason || !BROKEN.has(failure.code) || !this.#hasBegun) {
      throw failure;
    }
    const nowMs = performance.now();
    this.#brokenSinceMs ??= nowMs;
    if (nowMs + this.#pauseMs >= this.#brokenSinceMs + reattachS * 1e3) {
      throw failure;
    }
    if (timeoutS !== undefined && this.#pauseMs >= (this.#remainingMs() ?? 0)) {
      throw timedOut(timeoutS);
    }
    await sleep(this.#pauseMs, undefined, { signal: this.#signal }).catch(() => {
      this.#signal.throwIfAborted();
    });
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
    return this.#watch;
  }

  #generate(): Call {
    const { request } = this.#plan;
    if (request === undefined) {
      throw new TypeError("there is nothing to generate");
    }
    this.#watches = false;
    const { generateImage } = pb.ImageGenerationService.method;
    return this.#rpc.stream(generateImage, request, this.#callOptions());
  }

  #watch(): Call {
    this.#watches = true;
    const afterEventIndex = this.#assembler.lastIndex ?? this.#afterEventIndex;
    const { watchGeneration } = pb.ImageGenerationService.method;
    const request = {
      requestId: this.#plan.requestId,
      ...(afterEventIndex !== undefined && { afterEventIndex }),
    };
    return this.#rpc.stream(watchGeneration, request, this.#callOptions());
  }

  #callOptions(): RpcOptions {
    const timeoutMs = this.#remainingMs();
    if (timeoutMs !== undefined && timeoutMs <= 0) {
      throw timedOut(this.#plan.timeoutS ?? 0);
    }
    return { signal: this.#signal, headers: this.headers, timeoutMs };
  }

  #remainingMs(): number | undefined {
    return this.#deadlineMs === undefined ? undefined : this.#deadlineMs - performance.now();
  }
}

/** Tell whether the server knows the generation no more, or ended it since nobody watched it. */
function isLost(failure: RpcError): boolean {
  const leftAlone =
    failure.code === "CANCELLED" && !["", "CANCELLED_BY_REQUEST"].includes(failure.reason);
  return leftAlone || failure instanceof GenerationNotFoundError;
}
