import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from "stubs/google/rpc/error_details_pb";

import { secondsOf } from "./duration";

/** A field of a request and what is wrong with it, as the server says it. */
export interface FieldViolation {
  /** Name of the field as the API has it, such as `width_px`. */
  readonly field: string;
  readonly description: string;
}

/** A call that failed: what the server, or the way to it, said of it. */
export class Failure extends Error {
  override readonly name = "Failure";

  constructor(
    message: string,
    /** The status, such as `InvalidArgument`. */
    readonly code: Code,
    /** The server's own word for it, such as `QUEUE_FULL`; empty: the server said nothing. */
    readonly reason = "",
    readonly violations: readonly FieldViolation[] = [],
    /** Seconds until another try may succeed. */
    readonly retryAfterS?: number,
  ) {
    super(message);
  }

  /** Reads an error of a call; anything that is none is `Unknown`. */
  static from(error: unknown): Failure {
    if (error instanceof Failure) return error;
    const failed = ConnectError.from(error);
    const delay = failed.findDetails(RetryInfoSchema)[0]?.retryDelay;
    return new Failure(
      failed.rawMessage,
      failed.code,
      failed.findDetails(ErrorInfoSchema)[0]?.reason ?? "",
      failed
        .findDetails(BadRequestSchema)
        .flatMap((request) => request.fieldViolations)
        .map(({ field, description }) => ({ field, description })),
      delay && secondsOf(delay),
    );
  }

  /** Whether it is a connection that broke: all that Leyden itself says has a reason. */
  get isBroken(): boolean {
    return this.reason === "" && BROKEN.has(this.code);
  }
}

const BROKEN: ReadonlySet<Code> = new Set([
  Code.Unavailable,
  Code.Unknown,
  Code.Internal,
  Code.Canceled,
  // What connect makes of a body that ends in the midst of a message.
  Code.InvalidArgument,
  Code.DataLoss,
]);
