/**
 * What can go wrong:
 *
 * ```
 * LeydenError
 * ├── ProtocolError                 the stream broke the API's contract
 * └── RpcError                      the call ended with a status other than OK
 *     ├── InvalidArgumentError      a field is wrong; `violations` says which
 *     ├── NotFoundError             no such model
 *     │   └── GenerationNotFoundError   no such generation runs or is kept
 *     ├── EventsExpiredError        the events to watch are no longer kept
 *     ├── FailedPreconditionError   the model is known but not loaded
 *     │   ├── ModelLoadError        it cannot be loaded
 *     │   └── ModelsManagedError    others decide which models run
 *     ├── AlreadyExistsError        the requestId belongs to another generation
 *     ├── OverloadedError           the queue is full, or the key's limit; `retryAfterS`
 *     ├── NoResourcesError          no replica of the model's stages can be placed
 *     ├── OutOfMemoryError          the server's device has not enough for this image
 *     ├── ReaderTooSlowError        this client has stopped reading
 *     ├── MessageTooLargeError      a message is over a size limit
 *     ├── UnavailableError          not reachable, loading or draining; `retryAfterS`
 *     ├── UnauthenticatedError      no or wrong credentials
 *     ├── PermissionDeniedError     not allowed
 *     ├── DeadlineExceededError     the timeout passed
 *     ├── GenerationCancelledError  ended by `cancel` or the server, or the client was closed
 *     └── InternalError             a defect of the server; `errorId` is in its log
 * ```
 *
 * A status that is not in the tree is a plain `RpcError`, with its `code`. What the caller gets wrong
 * before anything is sent is a `TypeError` or a `RangeError`.
 */

/** Name of a gRPC status code. */
export type StatusCode =
  | "CANCELLED"
  | "UNKNOWN"
  | "INVALID_ARGUMENT"
  | "DEADLINE_EXCEEDED"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "PERMISSION_DENIED"
  | "RESOURCE_EXHAUSTED"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "OUT_OF_RANGE"
  | "UNIMPLEMENTED"
  | "INTERNAL"
  | "UNAVAILABLE"
  | "DATA_LOSS"
  | "UNAUTHENTICATED";

/** A field of the request that is wrong. */
export interface FieldViolation {
  /** Name of the field, as in the API: `width_px`. */
  readonly field: string;
  /** What is wrong with it, and what is allowed. */
  readonly description: string;
}

/** What an `RpcError` is made of. */
export interface RpcErrorDetails {
  /** The gRPC status code. */
  readonly code: StatusCode;
  /** Why, in UPPER_SNAKE_CASE. */
  readonly reason?: string;
  /** More on the reason. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** The fields that are wrong. */
  readonly violations?: readonly FieldViolation[];
  /** When a later try can succeed, in seconds. */
  readonly retryAfterS?: number | undefined;
  /** The error below this one. */
  readonly cause?: unknown;
}

/** Base of everything that this package throws on its own account. */
export class LeydenError extends Error {
  /** @internal */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The stream broke the API's contract: a gap, a wrong size, no summary at its end. */
export class ProtocolError extends LeydenError {}

/** The call ended with a status other than OK. */
export class RpcError extends LeydenError {
  /** The gRPC status code. */
  readonly code: StatusCode;
  /** Why, in UPPER_SNAKE_CASE. Empty where no Leyden server answered. */
  readonly reason: string;
  /** More on the reason. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The fields that are wrong; empty unless the code is INVALID_ARGUMENT. */
  readonly violations: readonly FieldViolation[];
  /** When a later try can succeed, in seconds; undefined: the server did not say. */
  readonly retryAfterS: number | undefined;

  /** @internal */
  constructor(message: string, details: RpcErrorDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = details.code;
    this.reason = details.reason ?? "";
    this.metadata = details.metadata ?? {};
    this.violations = details.violations ?? [];
    this.retryAfterS = details.retryAfterS;
  }
}

/** A field of the request is wrong. */
export class InvalidArgumentError extends RpcError {}
/** There is no such model. */
export class NotFoundError extends RpcError {}
/** No such generation runs, or is kept any more. */
export class GenerationNotFoundError extends NotFoundError {}
/** The generation is known, but the events that were asked for are no longer kept. */
export class EventsExpiredError extends RpcError {}
/** The model is known but not loaded. */
export class FailedPreconditionError extends RpcError {}
/** The model cannot be loaded: something of its files is missing or wrong. */
export class ModelLoadError extends FailedPreconditionError {}
/** The server's applications stand in a Serve config, whose owner decides what is loaded. */
export class ModelsManagedError extends FailedPreconditionError {}
/** The requestId belongs to another generation, which runs or is kept. */
export class AlreadyExistsError extends RpcError {}
/** The queue is full, the deadline cannot be met, or a limit of the API key is reached. */
export class OverloadedError extends RpcError {}
/** No replica of the model's stages can be placed; the message says what is lacking. */
export class NoResourcesError extends RpcError {}
/** The server's device has not enough memory; a smaller size or fewer images are the remedy. */
export class OutOfMemoryError extends RpcError {}
/** The server ended the stream because this client has stopped reading it. */
export class ReaderTooSlowError extends RpcError {}
/** A message is over a size limit, which this client or the server has set. */
export class MessageTooLargeError extends RpcError {}
/** The server cannot be reached, is loading or draining, or lost a stage. */
export class UnavailableError extends RpcError {}
/** There are no credentials, or they are wrong. */
export class UnauthenticatedError extends RpcError {}
/** The credentials do not allow this. */
export class PermissionDeniedError extends RpcError {}
/** The timeout passed. */
export class DeadlineExceededError extends RpcError {}
/** `cancel` or the server ended the generation, or the client was closed while it ran. */
export class GenerationCancelledError extends RpcError {}
/** A defect of the server. */
export class InternalError extends RpcError {
  /** Id under which the server logged the defect; empty if it gave none. */
  get errorId(): string {
    return this.metadata.error_id ?? "";
  }
}
