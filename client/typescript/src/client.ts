/** The client: connects, generates, watches, cancels, and lists models. */

import type {
  DescMessage,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";

import { Call } from "./call.js";
import { Connection } from "./connection.js";
import { LeydenError, ProtocolError } from "./errors.js";
import type { Generation, Image, LeydenEvent, Summary } from "./events.js";
import { Following, type Plan } from "./follow.js";
import { ImageGenerationService } from "./gen/leyden/v1/image_generation_service_pb.js";
import { ModelService } from "./gen/leyden/v1/model_service_pb.js";
import { waitUntilServing } from "./health.js";
import type { Model } from "./models.js";
import {
  type CallOptions,
  type ClientOptions,
  DEFAULT_TARGET,
  DETACHED_LINGER_S,
  type GenerateOptions,
  type CallHeaders,
  LINGER_S,
  type WatchOptions,
} from "./options.js";
import * as reading from "./reading.js";
import {
  CALL_OPTIONS,
  checkOptions,
  GENERATE_OPTIONS,
  repeatableRequest,
  WATCH_OPTIONS,
} from "./request.js";
import type { Rpc } from "./rpc.js";
import type { ServerState } from "./server_state.js";
import { closedWhileRunning, errorOfCall } from "./status.js";
import { GenerationStream } from "./stream.js";

/** For how long whoever leaves a generation waits for the server to hear of it. */
const LONGEST_CANCEL_MS = 2_000;

/** What a generation is left by, where its reader leaves it. */
const LEFT = Symbol("left");

/**
 * Client of one Leyden server.
 *
 * ```ts
 * const client = new Client("127.0.0.1:8001");
 * const { images } = await client.generateImage("a lighthouse at dusk", { seed: 7 });
 * await client.close(); // or `await using client = …`, where the language has it
 * ```
 *
 * Every call rejects with an error of this package where the server refuses or fails, and with an
 * `Error` once the client is closed. A misspelt option, or a value of another type, is a `TypeError`
 * before anything is sent.
 */
export class Client {
  readonly #connection: Connection;
  readonly #rpc: Rpc;
  readonly #running = new Set<Following>();
  readonly #calls = new Set<Call>();
  #closed = false;

  /**
   * Connect to `target` (HOST:PORT) at the first call.
   *
   * Throws `TypeError` where the options do not go together or cannot be, and Node's own error
   * for a file that cannot be read.
   */
  constructor(target: string = DEFAULT_TARGET, options: ClientOptions = {}) {
    this.#connection = new Connection(target, options);
    this.#rpc = this.#connection.rpc;
  }

  /**
   * Close the connection, and cancel the generations that were started and still run.
   *
   * Their streams throw `GenerationCancelledError`.
   */
  async close(): Promise<void> {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    const running = [...this.#running];
    for (const call of this.#calls) {
      call.end(closedWhileRunning());
    }
    await Promise.all(running.map((following) => this.#cancelLeft(following)));
    this.#connection.close();
  }

  /** Close the client, where `await using` ends its block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * Generate images and give each event as it comes, the `Summary` last.
   *
   * Leaving the loop over the stream, or aborting `signal`, cancels the generation on the server.
   *
   * A connection that breaks in the midst of it is taken up again for `lingerS` seconds (15 unless
   * given; 0: not at all), and no event comes twice. If the server does not know the
   * generation any more, the same request, with the same id and seed, is sent again.
   *
   * Throws `TypeError` and `RangeError` for an option that cannot be put on the wire.
   */
  streamImage(prompt: string, options: GenerateOptions = {}): GenerationStream {
    checkOptions(options, GENERATE_OPTIONS);
    const request = repeatableRequest(prompt, options);
    return this.#stream(
      {
        requestId: request.requestId,
        request,
        idIsOurs: !options.requestId,
        reattachS: options.lingerS ?? LINGER_S,
        timeoutS: options.timeoutS,
      },
      options.signal,
    );
  }

  /**
   * Generate images and return them with their summary. `onEvent` is called with each event as it
   * comes; the rest is as in `streamImage`.
   */
  async generateImage(
    prompt: string,
    options: GenerateOptions = {},
    onEvent?: (event: LeydenEvent) => void,
  ): Promise<Generation> {
    const stream = this.streamImage(prompt, options);
    const images: Image[] = [];
    let summary: Summary | undefined;
    for await (const event of stream) {
      onEvent?.(event);
      if (event.kind === "image") {
        images.push(event);
      } else if (event.kind === "summary") {
        summary = event;
      }
    }
    if (summary === undefined) {
      throw new ProtocolError("the stream ended with no summary");
    }
    images.sort((one, other) => one.imageIndex - other.imageIndex);
    return { requestId: stream.requestId, images, summary };
  }

  /**
   * Start a generation, leave it to itself, and return its `requestId`.
   *
   * It resolves once the server has accepted the request. The generation then goes on for `lingerS`
   * seconds (600 unless given) without being watched, and its events are kept for as long after its
   * end: `watch` gives them. `timeoutS` is the deadline of the acceptance alone.
   */
  async startImage(prompt: string, options: GenerateOptions = {}): Promise<string> {
    const lingerS = options.lingerS ?? DETACHED_LINGER_S;
    if (lingerS <= 0) {
      throw new RangeError(`lingerS is ${lingerS}; a generation that is left needs more than 0`);
    }
    checkOptions(options, GENERATE_OPTIONS);
    const request = repeatableRequest(prompt, { ...options, lingerS });
    const { requestId } = request;
    const plan = { requestId, request, idIsOurs: !options.requestId, reattachS: lingerS };
    const { headers } = this.#connection;
    await this.#within(options.signal, async (signal) => {
      const { timeoutS } = options;
      const following = new Following(this.#rpc, headers, { ...plan, timeoutS }, signal);
      const events = following.events();
      try {
        await events.next();
      } catch (error) {
        if (Following.mayGoOn(error)) {
          await this.#cancelLeft(following);
        }
        throw error;
      } finally {
        await events.return();
      }
    });
    return requestId;
  }

  /**
   * Watch a generation and give its events as they come, the `Summary` last.
   *
   * Those of the past come without their previews. Leaving the loop leaves the generation as it
   * is. A broken connection is taken up again for 15 seconds.
   *
   * The stream throws `GenerationNotFoundError`, `EventsExpiredError`, the error that the generation
   * itself ended with, the other kinds of `RpcError`, and `ProtocolError`.
   */
  watch(requestId: string, options: WatchOptions = {}): GenerationStream {
    checkOptions(options, WATCH_OPTIONS);
    const { afterEventIndex, timeoutS } = options;
    return this.#stream(
      {
        requestId,
        ...(afterEventIndex !== undefined && { afterEventIndex: BigInt(afterEventIndex) }),
        reattachS: LINGER_S,
        timeoutS,
      },
      options.signal,
    );
  }

  /**
   * End a generation at once; who watches it gets `GenerationCancelledError`. One that has ended and
   * is kept stays as it is. Rejects with `GenerationNotFoundError` and other kinds of `RpcError`.
   */
  async cancel(requestId: string, options: CallOptions = {}): Promise<void> {
    await this.#call(ImageGenerationService.method.cancelGeneration, { requestId }, options);
  }

  /** Return the server's models, by name, the loaded and the others. Rejects with `RpcError`. */
  async listModels(options: CallOptions = {}): Promise<readonly Model[]> {
    const { models } = await this.#call(ModelService.method.listModels, {}, options);
    return models.map((model) => reading.model(model));
  }

  /**
   * Return the model of that name; empty: the server's default model. Rejects with `NotFoundError`
   * and the other kinds of `RpcError`.
   */
  async getModel(name = "", options: CallOptions = {}): Promise<Model> {
    const { model } = await this.#call(ModelService.method.getModel, { model: name }, options);
    if (model === undefined) {
      throw new ProtocolError("the answer has no model");
    }
    return reading.model(model);
  }

  /**
   * Load a model, and return it once it is ready; for operators. One that is ready is loaded anew
   * where its files have changed. Leaving the call does not stop the load.
   *
   * Rejects with `NotFoundError`, `ModelLoadError`, `NoResourcesError`, `ModelsManagedError` and the
   * other kinds of `RpcError`.
   */
  async loadModel(name: string, options: CallOptions = {}): Promise<Model> {
    const { model } = await this.#call(ModelService.method.loadModel, { model: name }, options);
    if (model === undefined) {
      throw new ProtocolError("the answer has no model");
    }
    return reading.model(model);
  }

  /**
   * Unload a model; for operators. Resolves once its stages are gone: new requests are refused
   * from the call on, and what was accepted finishes for as long as the server's drain lasts.
   * Rejects with `NotFoundError`, `ModelsManagedError` and the other kinds of `RpcError`.
   */
  async unloadModel(name: string, options: CallOptions = {}): Promise<void> {
    await this.#call(ModelService.method.unloadModel, { model: name }, options);
  }

  /**
   * Return what the server does now; for operators. Rejects with `PermissionDeniedError` and the
   * other kinds of `RpcError`.
   */
  async getServerState(options: CallOptions = {}): Promise<ServerState> {
    return reading.serverState(await this.#call(ModelService.method.getServerState, {}, options));
  }

  /**
   * Wait until the server says that it serves. One that is not there yet, loads or drains is waited
   * for. Rejects with `DeadlineExceededError` after `timeoutS` seconds.
   */
  async waitUntilReady(options: CallOptions = {}): Promise<void> {
    checkOptions(options, CALL_OPTIONS);
    const { headers } = this.#connection;
    await this.#within(options.signal, (signal) =>
      waitUntilServing(this.#rpc, headers, options.timeoutS, signal),
    );
  }

  #checkOpen(): void {
    if (this.#closed) {
      throw new Error("the client is closed");
    }
  }

  /** Make a call that `signal` and the end of this client end. */
  async #within<T>(
    signal: AbortSignal | undefined,
    make: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    this.#checkOpen();
    const call = new Call();
    this.#calls.add(call);
    try {
      call.begin(signal);
      call.signal.throwIfAborted();
      return await make(call.signal);
    } catch (error) {
      call.signal.throwIfAborted();
      throw error instanceof LeydenError ? error : errorOfCall(error);
    } finally {
      call.finish();
      this.#calls.delete(call);
    }
  }

  #stream(plan: Plan, signal: AbortSignal | undefined): GenerationStream {
    this.#checkOpen();
    const call = new Call();
    const { headers } = this.#connection;
    const events = this.#events(plan, call, signal, headers);
    return new GenerationStream(plan.requestId, events, () => {
      call.end(LEFT);
    });
  }

  async *#events(
    plan: Plan,
    call: Call,
    signal: AbortSignal | undefined,
    headers: CallHeaders,
  ): AsyncGenerator<LeydenEvent, void, undefined> {
    this.#checkOpen();
    const following = new Following(this.#rpc, headers, plan, call.signal);
    this.#calls.add(call);
    if (following.lingers) {
      // Where it does not linger, the end of its call is its end.
      this.#running.add(following);
    }
    let failure: unknown = LEFT;
    try {
      call.begin(signal);
      call.signal.throwIfAborted();
      yield* following.events();
      failure = undefined;
    } catch (error) {
      failure = error;
      if (error !== LEFT) {
        throw error;
      }
    } finally {
      call.finish();
      this.#calls.delete(call);
      const wasRunning = this.#running.delete(following);
      if (wasRunning && failure !== undefined && Following.mayGoOn(failure) && !this.#closed) {
        await this.#cancelLeft(following);
      }
    }
  }

  /** Cancel a generation that its reader leaves; what goes wrong changes nothing more. */
  async #cancelLeft(following: Following): Promise<void> {
    if (following.isKnownToBeOurs) {
      const { requestId, headers } = following;
      const { cancelGeneration } = ImageGenerationService.method;
      const options = { headers, timeoutMs: LONGEST_CANCEL_MS };
      await this.#rpc.unary(cancelGeneration, { requestId }, options).catch(() => undefined);
    }
  }

  async #call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions,
  ): Promise<MessageShape<O>> {
    checkOptions(options, CALL_OPTIONS);
    const { headers } = this.#connection;
    const { timeoutS } = options;
    const timeoutMs = timeoutS === undefined ? undefined : Math.max(1, timeoutS * 1e3);
    return this.#within(options.signal, (signal) =>
      this.#rpc.unary(method, request, { headers, signal, timeoutMs }),
    );
  }
}
