/** The responses of one call, as they come off its HTTP/2 stream. */

import { type ClientHttp2Stream, constants, type IncomingHttpHeaders } from "node:http2";

import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";

import { Unframing } from "./framing.js";
import { type AnswerHeaders, outcomeOf, refusalOf } from "./outcome.js";

// gRPC's default. Larger images come in chunks.
const MOST_MESSAGE_BYTES = 4 * 2 ** 20;

// So many responses may wait for their reader. Beyond them the server is held up.
const MOST_AHEAD = 16;

// A longer one Node fires at once.
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Who waits for the next response. */
interface Reader<T> {
  readonly resolve: (response: T | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** The responses of one call, to be read one after another. */
export class Responses<O extends DescMessage> {
  readonly #schema: O;
  readonly #signal: AbortSignal | undefined;
  readonly #unframing = new Unframing(MOST_MESSAGE_BYTES);
  readonly #ahead: MessageShape<O>[] = [];
  #reader: Reader<MessageShape<O>> | undefined;
  #stream: ClientHttp2Stream | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** What the server said of the end. */
  #outcome: ConnectError | "ok" | undefined;
  /** How the call ended, once it has. */
  #end: ConnectError | "ok" | undefined;

  /** Await responses that are messages of `schema`. Where `signal` is aborted, the call ends. */
  constructor(schema: O, signal: AbortSignal | undefined, timeoutMs: number | undefined) {
    this.#schema = schema;
    this.#signal = signal;
    if (timeoutMs !== undefined && timeoutMs <= LONGEST_TIMER_MS) {
      this.#timer = setTimeout(this.#timeOut, timeoutMs);
    }
    signal?.addEventListener("abort", this.#abort);
    if (signal?.aborted) {
      this.#abort();
    }
  }

  /**
   * Wait for the next response; undefined: the call has ended well. Rejects with `ConnectError`.
   * Not to be called again before it has settled.
   */
  next(): Promise<MessageShape<O> | undefined> {
    const response = this.#ahead.shift();
    if (response !== undefined) {
      if (this.#ahead.length === 0) {
        this.#stream?.resume();
      }
      return Promise.resolve(response);
    }
    if (this.#end !== undefined) {
      return this.#end === "ok" ? Promise.resolve(undefined) : Promise.reject(this.#end);
    }
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
    });
  }

  /** End the call, unless it has ended. */
  cancel(): void {
    if (this.#end === undefined) {
      this.#fail(new ConnectError("the call was left", Code.Canceled));
    }
  }

  /** Send the request by a stream, and take its responses; `onBytes` hears of all that comes. */
  carry(stream: ClientHttp2Stream, request: Uint8Array, onBytes: () => void): void {
    this.#stream = stream;
    stream.on("error", (error) => {
      const said = this.#outcome instanceof ConnectError ? this.#outcome : undefined;
      this.#finish(said ?? ConnectError.from(error, Code.Unavailable));
    });
    if (this.#end !== undefined) {
      stream.close(constants.NGHTTP2_CANCEL);
      return;
    }
    stream.on("response", (headers: AnswerHeaders) => {
      this.#begin(headers);
    });
    stream.on("trailers", (trailers: IncomingHttpHeaders) => {
      this.#outcome ??= outcomeOf(trailers);
    });
    stream.on("data", (bytes: Buffer) => {
      onBytes();
      this.#take(bytes);
    });
    stream.on("close", () => {
      this.#finish(this.#outcomeOfAll(stream.rstCode));
    });
    stream.end(request);
  }

  /** Say that there is no stream to be had. */
  fail(error: unknown): void {
    this.#finish(ConnectError.from(error, Code.Unavailable));
  }

  #begin(headers: AnswerHeaders): void {
    const refusal = refusalOf(headers);
    if (refusal === undefined) {
      this.#outcome = outcomeOf(headers);
    } else {
      this.#fail(refusal);
    }
  }

  #take(bytes: Buffer): void {
    if (this.#end !== undefined) {
      return;
    }
    try {
      // Not a Buffer, which those who are given parts of it would take for more than bytes.
      this.#unframing.add(
        new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength),
        (message) => {
          this.#came(fromBinary(this.#schema, message));
        },
      );
    } catch (error) {
      this.#fail(ConnectError.from(error, Code.Internal));
    }
  }

  #came(response: MessageShape<O>): void {
    const reader = this.#reader;
    if (reader !== undefined) {
      this.#reader = undefined;
      reader.resolve(response);
    } else if (this.#ahead.push(response) === MOST_AHEAD) {
      this.#stream?.pause();
    }
  }

  #outcomeOfAll(rstCode: number | undefined): ConnectError | "ok" {
    if (this.#outcome === undefined) {
      // A connection that is gone ends its streams so. No server of gRPC does.
      const message = `http/2 stream closed with code ${String(rstCode)}, and no status`;
      return new ConnectError(message, Code.Unavailable);
    }
    if (this.#outcome === "ok" && !this.#unframing.isBetweenMessages) {
      return new ConnectError("the stream ended within a message", Code.Internal);
    }
    return this.#outcome;
  }

  readonly #abort = () => {
    this.#fail(ConnectError.from(this.#signal?.reason, Code.Canceled));
  };

  readonly #timeOut = () => {
    this.#fail(new ConnectError("the deadline passed", Code.DeadlineExceeded));
  };

  /** End the call from this side: what is still unread is not wanted. */
  #fail(error: ConnectError): void {
    if (this.#end === undefined) {
      this.#ahead.length = 0;
      this.#finish(error);
      this.#stream?.close(constants.NGHTTP2_CANCEL);
      this.#stream?.resume();
    }
  }

  #finish(end: ConnectError | "ok"): void {
    if (this.#end !== undefined) {
      return;
    }
    this.#end = end;
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#abort);
    const reader = this.#reader;
    this.#reader = undefined;
    if (end === "ok") {
      reader?.resolve(undefined);
    } else {
      reader?.reject(end);
    }
  }
}
