/** From the status of a call to the error that it is. */

import { Code, ConnectError } from "@connectrpc/connect";

import * as errors from "./errors.js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from "./gen/google/rpc/error_details_pb.js";
import { seconds } from "./reading.js";

type ErrorClass = new (message: string, details: errors.RpcErrorDetails) => errors.RpcError;

const NAMES: Readonly<Record<Code, errors.StatusCode>> = {
  [Code.Canceled]: "CANCELLED",
  [Code.Unknown]: "UNKNOWN",
  [Code.InvalidArgument]: "INVALID_ARGUMENT",
  [Code.DeadlineExceeded]: "DEADLINE_EXCEEDED",
  [Code.NotFound]: "NOT_FOUND",
  [Code.AlreadyExists]: "ALREADY_EXISTS",
  [Code.PermissionDenied]: "PERMISSION_DENIED",
  [Code.ResourceExhausted]: "RESOURCE_EXHAUSTED",
  [Code.FailedPrecondition]: "FAILED_PRECONDITION",
  [Code.Aborted]: "ABORTED",
  [Code.OutOfRange]: "OUT_OF_RANGE",
  [Code.Unimplemented]: "UNIMPLEMENTED",
  [Code.Internal]: "INTERNAL",
  [Code.Unavailable]: "UNAVAILABLE",
  [Code.DataLoss]: "DATA_LOSS",
  [Code.Unauthenticated]: "UNAUTHENTICATED",
};

const CLASS_OF_CODE: Readonly<Partial<Record<errors.StatusCode, ErrorClass>>> = {
  INVALID_ARGUMENT: errors.InvalidArgumentError,
  NOT_FOUND: errors.NotFoundError,
  OUT_OF_RANGE: errors.EventsExpiredError,
  FAILED_PRECONDITION: errors.FailedPreconditionError,
  ALREADY_EXISTS: errors.AlreadyExistsError,
  RESOURCE_EXHAUSTED: errors.OverloadedError,
  UNAVAILABLE: errors.UnavailableError,
  UNAUTHENTICATED: errors.UnauthenticatedError,
  PERMISSION_DENIED: errors.PermissionDeniedError,
  DEADLINE_EXCEEDED: errors.DeadlineExceededError,
  CANCELLED: errors.GenerationCancelledError,
  INTERNAL: errors.InternalError,
};

// Where one code has several meanings, the reason tells them apart.
const CLASS_OF_REASON: ReadonlyMap<string, ErrorClass> = new Map<string, ErrorClass>([
  ["GENERATION_NOT_FOUND", errors.GenerationNotFoundError],
  ["MANAGED_BY_SERVE_CONFIG", errors.ModelsManagedError],
  ["MODEL_LOAD_FAILED", errors.ModelLoadError],
  ["NO_RESOURCES", errors.NoResourcesError],
  ["OUT_OF_MEMORY", errors.OutOfMemoryError],
  ["READER_TOO_SLOW", errors.ReaderTooSlowError],
]);

// What gRPC says of a message over its limit, in C, Go, Java and here.
const OVER_THE_LIMIT = /larger than (max|configured)|exceeds maximum size/i;

/** Return the typed error for what a call threw. */
export function errorOfCall(thrown: unknown): errors.RpcError {
  const error = ConnectError.from(thrown);
  const [info] = error.findDetails(ErrorInfoSchema);
  const [request] = error.findDetails(BadRequestSchema);
  const [retry] = error.findDetails(RetryInfoSchema);
  const reason = info?.reason ?? "";
  const code = reason === "" && isOfTheConnection(error) ? "UNAVAILABLE" : NAMES[error.code];
  const message = error.rawMessage || code;
  const Class = classOf(code, reason, message);
  return new Class(message, {
    code,
    reason,
    metadata: info?.metadata ?? {},
    violations: (request?.fieldViolations ?? []).map(({ field, description }) => ({
      field,
      description,
    })),
    retryAfterS: retry?.retryDelay && seconds(retry.retryDelay),
    cause: error,
  });
}

/** Return the error of a deadline that this client set, and that passed. */
export function timedOut(timeoutS: number): errors.DeadlineExceededError {
  const message = `the timeout of ${timeoutS} s passed`;
  return new errors.DeadlineExceededError(message, { code: "DEADLINE_EXCEEDED" });
}

/** Return the error of a call that was running when its client was closed. */
export function closedWhileRunning(): errors.GenerationCancelledError {
  const message = "the client was closed while the call ran";
  return new errors.GenerationCancelledError(message, { code: "CANCELLED" });
}

/**
 * Tell whether it is Node that says it, of a connection that cannot be made, or broke. Connect
 * gives such errors several codes, and gRPC one.
 */
function isOfTheConnection(error: ConnectError): boolean {
  for (let cause = error.cause; cause instanceof Error; cause = cause.cause) {
    if ("code" in cause && typeof cause.code === "string") {
      return true;
    }
  }
  return false;
}

function classOf(code: errors.StatusCode, reason: string, message: string): ErrorClass {
  if (code === "RESOURCE_EXHAUSTED" && reason === "" && OVER_THE_LIMIT.test(message)) {
    return errors.MessageTooLargeError;
  }
  return CLASS_OF_REASON.get(reason) ?? CLASS_OF_CODE[code] ?? errors.RpcError;
}
