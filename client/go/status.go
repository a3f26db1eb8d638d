package leyden

import (
	"context"
	"regexp"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var kindOfCode = map[codes.Code]Kind{
	codes.InvalidArgument:    ErrInvalidArgument,
	codes.NotFound:           ErrNotFound,
	codes.OutOfRange:         ErrEventsExpired,
	codes.FailedPrecondition: ErrFailedPrecondition,
	codes.AlreadyExists:      ErrAlreadyExists,
	codes.ResourceExhausted:  ErrOverloaded,
	codes.Unavailable:        ErrUnavailable,
	codes.Unauthenticated:    ErrUnauthenticated,
	codes.PermissionDenied:   ErrPermissionDenied,
	codes.DeadlineExceeded:   ErrDeadlineExceeded,
	codes.Canceled:           ErrGenerationCancelled,
	codes.Internal:           ErrInternal,
}

// Where one code has several meanings, the reason tells them apart.
var kindOfReason = map[string]Kind{
	"GENERATION_NOT_FOUND":    ErrGenerationNotFound,
	"MANAGED_BY_SERVE_CONFIG": ErrModelsManaged,
	"MODEL_LOAD_FAILED":       ErrModelLoad,
	"NO_RESOURCES":            ErrNoResources,
	"OUT_OF_MEMORY":           ErrOutOfMemory,
	"READER_TOO_SLOW":         ErrReaderTooSlow,
}

// What gRPC says of a message over its limit, in C, Python, Go and Java; the code alone is a
// proxy's overload too.
var overTheLimit = regexp.MustCompile(`(?i)larger than max|exceeds maximum size`)

// errorOfCall returns the error of a call under ctx that ended with err, a status other than OK.
func errorOfCall(ctx context.Context, err error) *Error {
	s := status.Convert(err)
	e := &Error{Code: s.Code(), Message: s.Message(), status: s}
	for _, detail := range s.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			e.Reason = detail.GetReason()
			e.Metadata = detail.GetMetadata()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				e.Violations = append(e.Violations, FieldViolation{
					Field:       violation.GetField(),
					Description: violation.GetDescription(),
				})
			}
		case *errdetails.RetryInfo:
			e.RetryAfter = detail.GetRetryDelay().AsDuration()
		}
	}
	if e.Message == "" {
		e.Message = e.Code.String()
	}
	e.Kind = kindOf(e)
	switch {
	case e.Kind == ErrDeadlineExceeded:
		e.cause = context.DeadlineExceeded
	case e.Kind == ErrGenerationCancelled && e.Reason == "":
		e.cause = ctx.Err()
	}
	return e
}

func kindOf(e *Error) Kind {
	if e.Code == codes.ResourceExhausted && e.Reason == "" && overTheLimit.MatchString(e.Message) {
		return ErrMessageTooLarge
	}
	if kind, ok := kindOfReason[e.Reason]; ok {
		return kind
	}
	if kind, ok := kindOfCode[e.Code]; ok {
		return kind
	}
	return ErrRPC
}

// errorOfContext returns the error of a call that ctx ended.
func errorOfContext(ctx context.Context) *Error {
	return errorOfCall(ctx, status.FromContextError(ctx.Err()).Err())
}

// closedWhileRunning returns the error of a call that was running when its client was closed.
func closedWhileRunning() *Error {
	s := status.New(codes.Canceled, "the client was closed while the call ran")
	return &Error{Kind: ErrGenerationCancelled, Code: s.Code(), Message: s.Message(), status: s}
}
