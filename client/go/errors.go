package leyden

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrClosed is the error of a call on a client that is closed.
var ErrClosed = errors.New("leyden: the client is closed")

// Kind says in one word what went wrong. The Kind of an [*Error] is found by errors.Is:
//
//	if errors.Is(err, leyden.ErrOverloaded) {
type Kind string

// The kinds of error. One that is a case of another is both: an error that is ErrGenerationNotFound
// is ErrNotFound too.
const (
	// ErrRPC is a status that is none of the following.
	ErrRPC Kind = "RPC"
	// ErrInvalidArgument: a field of the request is wrong; Violations says which.
	ErrInvalidArgument Kind = "InvalidArgument"
	// ErrNotFound: there is no such model.
	ErrNotFound Kind = "NotFound"
	// ErrGenerationNotFound: no such generation runs, or is kept any more. It is ErrNotFound.
	ErrGenerationNotFound Kind = "GenerationNotFound"
	// ErrEventsExpired: the generation is known, but the events asked for are no longer kept.
	ErrEventsExpired Kind = "EventsExpired"
	// ErrFailedPrecondition: the model is known but not loaded.
	ErrFailedPrecondition Kind = "FailedPrecondition"
	// ErrModelLoad: the model cannot be loaded. It is ErrFailedPrecondition.
	ErrModelLoad Kind = "ModelLoad"
	// ErrModelsManaged: others decide which models run. It is ErrFailedPrecondition.
	ErrModelsManaged Kind = "ModelsManaged"
	// ErrAlreadyExists: the request's id belongs to another generation.
	ErrAlreadyExists Kind = "AlreadyExists"
	// ErrOverloaded: the queue is full, the deadline cannot be met, or a limit of the API key is
	// reached; RetryAfter says when to come back.
	ErrOverloaded Kind = "Overloaded"
	// ErrNoResources: no replica of the model's stages can be placed.
	ErrNoResources Kind = "NoResources"
	// ErrOutOfMemory: the server's device has not enough for this image; a smaller size or fewer
	// images are the remedy.
	ErrOutOfMemory Kind = "OutOfMemory"
	// ErrReaderTooSlow: the server ended the stream because it was not read.
	ErrReaderTooSlow Kind = "ReaderTooSlow"
	// ErrMessageTooLarge: a message is over gRPC's size limit.
	ErrMessageTooLarge Kind = "MessageTooLarge"
	// ErrUnavailable: the server cannot be reached, is loading or draining, or lost a stage;
	// RetryAfter may say when to come back.
	ErrUnavailable Kind = "Unavailable"
	// ErrUnauthenticated: there are no credentials, or they are wrong.
	ErrUnauthenticated Kind = "Unauthenticated"
	// ErrPermissionDenied: the credentials do not allow this.
	ErrPermissionDenied Kind = "PermissionDenied"
	// ErrDeadlineExceeded: the deadline passed. It is context.DeadlineExceeded.
	ErrDeadlineExceeded Kind = "DeadlineExceeded"
	// ErrGenerationCancelled: Cancel or the server ended the generation, the client was closed while it
	// ran, or the context was cancelled; only the last is context.Canceled.
	ErrGenerationCancelled Kind = "GenerationCancelled"
	// ErrInternal: a defect of the server; ErrorID is in its log.
	ErrInternal Kind = "Internal"
)

var parentOfKind = map[Kind]Kind{
	ErrGenerationNotFound: ErrNotFound,
	ErrModelLoad:          ErrFailedPrecondition,
	ErrModelsManaged:      ErrFailedPrecondition,
}

// Error makes a Kind a target of errors.Is.
func (k Kind) Error() string { return "leyden: " + string(k) }

// is says whether k is other, or a case of it.
func (k Kind) is(other Kind) bool { return k == other || parentOfKind[k] == other }

// FieldViolation is a field of the request that is wrong.
type FieldViolation struct {
	// Field is its name, as in the API.
	Field string
	// Description says what is wrong with it, and what is allowed.
	Description string
}

// Error is a call that ended with a status other than OK.
type Error struct {
	// Kind says what went wrong in one word.
	Kind Kind
	// Code is the gRPC status code.
	Code codes.Code
	// Reason says why, in UPPER_SNAKE_CASE. Empty where no Leyden server answered.
	Reason string
	// Message says what went wrong, in words.
	Message string
	// Metadata has more on the reason.
	Metadata map[string]string
	// Violations are the fields that are wrong; none unless Kind is ErrInvalidArgument.
	Violations []FieldViolation
	// RetryAfter is when a later try can succeed. 0: the server did not say.
	RetryAfter time.Duration

	status *status.Status
	cause  error
}

// Error returns the message, and the violations that it does not name.
func (e *Error) Error() string {
	var text strings.Builder
	text.WriteString("leyden: " + e.Message)
	for _, violation := range e.Violations {
		if !strings.Contains(e.Message, violation.Description) {
			fmt.Fprintf(&text, "; %s: %s", violation.Field, violation.Description)
		}
	}
	return text.String()
}

// Is says whether target is the Kind of e, or one that it is a case of.
func (e *Error) Is(target error) bool {
	kind, ok := target.(Kind)
	return ok && e.Kind.is(kind)
}

// Unwrap returns the error of the context that ended the call, if one did.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus returns the status, so that status.Code and status.Convert understand e.
func (e *Error) GRPCStatus() *status.Status { return e.status }

// ErrorID returns the id under which the server logged a defect; empty if it gave none.
func (e *Error) ErrorID() string { return e.Metadata["error_id"] }

// ProtocolError is a stream that broke the API's contract: a gap, a wrong size, no summary at its
// end.
type ProtocolError struct {
	// Message says what was due, and what came.
	Message string
}

// Error returns the message.
func (e *ProtocolError) Error() string { return "leyden: " + e.Message }

func protocolErrorf(format string, arguments ...any) error {
	return &ProtocolError{Message: fmt.Sprintf(format, arguments...)}
}
