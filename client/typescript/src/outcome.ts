/** How a call ended, as the headers and trailers of its HTTP/2 stream say it. */

import type { IncomingHttpHeaders, IncomingHttpStatusHeader } from "node:http2";

import { fromBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";

import { StatusSchema } from "./gen/google/rpc/status_pb.js";

const OK = "0";

// https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
const CODE_OF_HTTP: ReadonlyMap<number, Code> = new Map([
  [400, Code.Internal],
  [401, Code.Unauthenticated],
  [403, Code.PermissionDenied],
  [404, Code.Unimplemented],
  [429, Code.Unavailable],
  [502, Code.Unavailable],
  [503, Code.Unavailable],
  [504, Code.Unavailable],
]);

/** The headers of an answer. */
export type AnswerHeaders = IncomingHttpHeaders & IncomingHttpStatusHeader;

/** Return why an answer with these headers is none of gRPC's; undefined: it is one. */
export function refusalOf(headers: AnswerHeaders): ConnectError | undefined {
  const type = headers["content-type"] ?? "";
  if (headers[":status"] === 200 && type.startsWith("application/grpc")) {
    return undefined;
  }
  const code = CODE_OF_HTTP.get(headers[":status"] ?? 0) ?? Code.Unknown;
  const status = String(headers[":status"]);
  return new ConnectError(`HTTP status ${status} and "${type}" came, which is not gRPC`, code);
}

/**
 * Return the error of a call that ended with these trailers, or headers where it had nothing to
 * say but its status. "ok": there is none. Undefined: they have no status.
 */
export function outcomeOf(trailers: IncomingHttpHeaders): ConnectError | "ok" | undefined {
  const status = one(trailers["grpc-status"]);
  if (status === undefined || status === OK) {
    return status && "ok";
  }
  const code = Number(status);
  const known = isCode(code) ? code : Code.Unknown;
  const error = new ConnectError(messageOf(one(trailers["grpc-message"]) ?? ""), known);
  error.details = detailsOf(one(trailers["grpc-status-details-bin"]));
  return error;
}

function isCode(code: number): code is Code {
  return code in Code;
}

function one(value: string | string[] | undefined): string | undefined {
  return typeof value === "string" ? value : value?.[0];
}

function messageOf(encoded: string): string {
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded; // as whoever wrote it has sent it
  }
}

/** Details that cannot be read are none: the code and the message count without them. */
function detailsOf(encoded: string | undefined): { type: string; value: Uint8Array }[] {
  if (encoded === undefined) {
    return [];
  }
  try {
    const { details } = fromBinary(StatusSchema, Buffer.from(encoded, "base64"));
    return details.map(({ typeUrl, value }) => ({
      type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1),
      value,
    }));
  } catch {
    return [];
  }
}
