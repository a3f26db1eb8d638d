/** Calls as gRPC makes them, over HTTP/2 by Node itself. */

import {
  create,
  type DescMessage,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Http2SessionManager } from "@connectrpc/connect-node";

import { framed } from "./framing.js";
import type { CallHeaders } from "./options.js";
import { Responses } from "./responses.js";

// grpc-timeout has 8 digits at most.
const MOST_TIMEOUT = 99_999_999;

/** What of connect-node's sessions a call needs. */
export type Sessions = Pick<Http2SessionManager, "request" | "notifyResponseByteRead">;

/** What goes with a call, and how it may end before its time. */
export interface RpcOptions {
  /** Its metadata, by names in lower case. */
  readonly headers: CallHeaders;
  /** Its deadline, from now. Absent: none. */
  readonly timeoutMs?: number | undefined;
  /** Ends it where it is aborted. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * What calls are made by.
 *
 * connect-node's own transport makes the same calls, by ten async generators and several AbortSignals each,
 * and grpc-js by six layers of listeners: a generation took a client of the one 1.0 ms of CPU time, of the
 * other 0.65 ms, and takes 0.4 ms here (docs/figures.md). Connections are connect-node's all the same.
 */
export class Rpc {
  readonly #sessions: Sessions;

  /** Make calls over `sessions`. */
  constructor(sessions: Sessions) {
    this.#sessions = sessions;
  }

  /** Begin a call that streams its responses. Whatever is wrong, they say. */
  stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    options: RpcOptions,
  ): Responses<O> {
    return this.#begin(method, request, options);
  }

  /** Make a call that has one response. Rejects with `ConnectError`. */
  async unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: RpcOptions,
  ): Promise<MessageShape<O>> {
    const responses = this.#begin(method, request, options);
    const response = await responses.next();
    if (response === undefined) {
      throw new ConnectError("the call ended with no response", Code.Internal);
    }
    if ((await responses.next()) !== undefined) {
      responses.cancel();
      throw new ConnectError("the call had more than one response", Code.Internal);
    }
    return response;
  }

  #begin<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O> | DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    { headers, signal, timeoutMs }: RpcOptions,
  ): Responses<O> {
    const path = `/${method.parent.typeName}/${method.name}`;
    const sent: Record<string, string> = {
      ...headers,
      "content-type": "application/grpc+proto",
      te: "trailers",
    };
    if (timeoutMs !== undefined) {
      sent["grpc-timeout"] = grpcTimeout(timeoutMs);
    }
    const body = framed(toBinary(method.input, create(method.input, request)));
    const responses = new Responses(method.output, signal, timeoutMs);
    this.#sessions.request("POST", path, sent, {}).then(
      (stream) => {
        responses.carry(stream, body, () => {
          this.#sessions.notifyResponseByteRead(stream);
        });
      },
      (error: unknown) => {
        responses.fail(error);
      },
    );
    return responses;
  }
}

function grpcTimeout(timeoutMs: number): string {
  const whole = Math.ceil(timeoutMs);
  return whole <= MOST_TIMEOUT
    ? `${whole}m`
    : `${Math.min(Math.ceil(timeoutMs / 1e3), MOST_TIMEOUT)}S`;
}
