/** How a client reaches its server: TLS, keepalive, and what goes with every call. */

import { readFileSync } from "node:fs";

import { Http2SessionManager } from "@connectrpc/connect-node";

import type { CallHeaders, ClientOptions, Pem, TlsOptions } from "./options.js";
import { Rpc, type Sessions } from "./rpc.js";
import { VERSION } from "./version.js";

// A server that vanished is noticed within 30 s, however long a stream is silent. Leyden's Gateway
// allows a ping every 5 s; a gRPC server that is not told so refuses under 5 minutes.
const PING_MS = 15_000;

const TARGET = /^(\[[\da-f:.]+\]|[^\s:/?#@[\]]+):\d{1,5}$/i;

// How much a stream, and the connection, may be ahead of their reader. Node's 64 KiB hold up each image.
const WINDOW_BYTES = 4 * 2 ** 20;

// HTTP/2's default of 16 KiB cuts a small image into five pieces, which cost both ends more than its bytes.
const FRAME_BYTES = 256 * 2 ** 10;

const CLIENT_OPTIONS = ["tls", "apiKey", "headers"];
const TLS_OPTIONS = ["rootCertificates", "privateKey", "certificateChain"];

/** One HTTP/2 connection, made when it is first needed and again after it broke. */
export class Connection {
  /** What calls are made by. */
  readonly rpc: Rpc;
  readonly #headersOfCalls: () => CallHeaders;
  readonly #sessions: Http2SessionManager;

  /**
   * Prepare; nothing is sent yet.
   *
   * Throws `TypeError` where the options do not go together or cannot be, and Node's own error
   * for a file that cannot be read.
   */
  constructor(target: string, options: ClientOptions) {
    refuseUnknown(options, CLIENT_OPTIONS);
    const tls = options.tls ?? false;
    const baseUrl = urlOf(target, tls !== false);
    const { headers } = options;
    const further = typeof headers === "function" ? headers : () => headers;
    const own = authorization(options.apiKey);
    const userAgent = `leyden-typescript/${VERSION}`;
    this.#headersOfCalls = () => ({ "user-agent": userAgent, ...further(), ...own });
    this.#sessions = new Http2SessionManager(
      baseUrl,
      // Not `pingIdleConnection`: of connect-node 2.1 it pings a session that has broken, which ends
      // the process. An idle connection is looked after before the next call.
      { pingIntervalMs: PING_MS, pingTimeoutMs: PING_MS },
      {
        ...(typeof tls === "object" && secureOptions(tls)),
        settings: { initialWindowSize: WINDOW_BYTES, maxFrameSize: FRAME_BYTES },
      },
    );
    this.rpc = new Rpc(withWindows(this.#sessions));
  }

  /** What goes with the calls that are made for whoever calls now. */
  get headers(): CallHeaders {
    return this.#headersOfCalls();
  }

  /** Break the connection; calls that run fail. */
  close(): void {
    this.#sessions.abort();
  }
}

/** Return `sessions` with the connection's own window, which is no setting of HTTP/2. */
function withWindows(sessions: Http2SessionManager): Sessions {
  const seen = new WeakSet();
  return {
    notifyResponseByteRead: (stream) => {
      sessions.notifyResponseByteRead(stream);
    },
    request: async (...request) => {
      const stream = await sessions.request(...request);
      const { session } = stream;
      if (session !== undefined && !session.destroyed && !seen.has(session)) {
        seen.add(session);
        session.setLocalWindowSize(WINDOW_BYTES);
      }
      return stream;
    },
  };
}

function refuseUnknown(options: object, known: readonly string[]): void {
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) {
      throw new TypeError(`there is no option ${name}; there are ${known.join(", ")}`);
    }
  }
}

function urlOf(target: string, secure: boolean): string {
  if (!TARGET.test(target)) {
    throw new TypeError(`the target must be HOST:PORT; got ${JSON.stringify(target)}`);
  }
  return new URL(`${secure ? "https" : "http"}://${target}`).origin;
}

function authorization(apiKey: string | undefined): Readonly<Record<string, string>> {
  if (apiKey === undefined) {
    return {};
  }
  // Node would name the header's value in its error.
  if (!/^[!-~]+$/.test(apiKey)) {
    throw new TypeError("apiKey must be one word of printable ASCII characters");
  }
  return { authorization: `Bearer ${apiKey}` };
}

function secureOptions(tls: TlsOptions): { ca?: Buffer; key?: Buffer; cert?: Buffer } {
  refuseUnknown(tls, TLS_OPTIONS);
  const { rootCertificates, privateKey, certificateChain } = tls;
  if ((privateKey === undefined) !== (certificateChain === undefined)) {
    throw new TypeError("privateKey and certificateChain are given both, or neither");
  }
  return {
    ...(rootCertificates !== undefined && { ca: pem("rootCertificates", rootCertificates) }),
    ...(privateKey !== undefined && { key: pem("privateKey", privateKey) }),
    ...(certificateChain !== undefined && { cert: pem("certificateChain", certificateChain) }),
  };
}

function pem(name: string, value: Pem): Buffer {
  const data = typeof value === "string" ? readFileSync(value) : Buffer.from(value);
  // Node fails at the first call, with a text about its parser.
  if (!data.includes("-----BEGIN ")) {
    const whence = typeof value === "string" ? value : "the bytes";
    throw new TypeError(`${name}: ${whence}: not a PEM, which has a line -----BEGIN ...-----`);
  }
  return data;
}
