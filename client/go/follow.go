package leyden

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"leyden.ai/leyden-go/leydenv1"
)

const (
	firstPause   = 100 * time.Millisecond
	longestPause = 2 * time.Second
)

// errLeft says that the reader left.
var errLeft = errors.New("the reader left")

// What a connection, or a proxy, that breaks in the midst of a stream looks like; every status that
// a Leyden server gives has a reason.
var isBroken = map[codes.Code]bool{
	codes.Unavailable: true,
	codes.Unknown:     true,
	codes.Internal:    true,
	codes.Canceled:    true,
}

type responseStream = grpc.ServerStreamingClient[leydenv1.GenerateImageResponse]

// opener makes a call that streams.
type opener func(context.Context) (responseStream, error)

// following follows one generation: starts it if it has a request, else watches it.
//
// A connection that breaks after the first event is taken up again: by watching, and where the server
// does not know the generation any more, by the same request once more. What the server says is never
// tried again.
type following struct {
	images    leydenv1.ImageGenerationServiceClient
	requestID string
	// Nil: it is watched alone.
	request *leydenv1.GenerateImageRequest
	// Whether the id was drawn, so that nobody else has it.
	idIsOurs bool
	hasBegun atomic.Bool
	// Whether it goes on when its reader leaves.
	isDetached bool
	// The last event that the caller has; nil: none.
	after *int64
	// For how long after its last event a broken connection is taken up again.
	reattach time.Duration

	assembler   *assembler
	watches     bool
	brokenSince time.Time
	pause       time.Duration
}

// lingers says whether the generation outlives its call.
func (f *following) lingers() bool {
	return f.request.GetLingerDuration() != nil
}

// isKnownToBeOurs says whether the id can only mean this generation. One that the caller chose may
// belong to another, until an event says otherwise.
func (f *following) isKnownToBeOurs() bool {
	return f.request != nil && (f.idIsOurs || f.hasBegun.Load())
}

// run gives the events to yield, none twice, the summary last. The error is an *Error, a
// *ProtocolError, or errLeft where yield returned false.
func (f *following) run(ctx context.Context, yield func(Event) bool) error {
	f.assembler = newAssembler(f.requestID, f.imageCount(), f.after)
	f.pause = firstPause
	open := opener(f.generate)
	if f.request == nil {
		open = f.watch
	}
	for {
		failure, err := f.read(ctx, open, yield)
		switch {
		case errors.Is(err, errHeaderMissing):
			// All of it, of which only what is new is shown.
			f.assembler.startOver()
			f.after = nil
			open = f.watch
		case err != nil:
			return err
		case failure == nil:
			return f.assembler.finish()
		case f.assembler.done:
			return nil // a connection that broke after all had come
		default:
			if open, err = f.afterFailure(ctx, failure); err != nil {
				return err
			}
		}
	}
}

// read makes one call and gives its events to yield. The call's own end is failure, nil if it is OK.
func (f *following) read(
	ctx context.Context,
	open opener,
	yield func(Event) bool,
) (failure *Error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := open(ctx)
	if err != nil {
		return errorOfCall(ctx, err), nil
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return errorOfCall(ctx, err), nil
		}
		f.connected()
		event, err := f.assembler.add(response)
		if err != nil {
			return nil, err
		}
		if event != nil && !yield(event) {
			return nil, errLeft
		}
	}
}

func (f *following) connected() {
	f.hasBegun.Store(true)
	f.brokenSince = time.Time{}
	f.pause = firstPause
}

// afterFailure returns the call that goes on after failure, or what failure means.
func (f *following) afterFailure(ctx context.Context, failure *Error) (opener, error) {
	if f.request != nil && f.watches && isLost(failure) {
		f.assembler.startOver()
		return f.generate, nil
	}
	if failure.Reason == "" && ctx.Err() != nil {
		return nil, errorOfContext(ctx)
	}
	if failure.Reason != "" || !isBroken[failure.Code] || !f.hasBegun.Load() {
		return nil, failure
	}
	now := time.Now()
	if f.brokenSince.IsZero() {
		f.brokenSince = now
	}
	again := now.Add(f.pause)
	if !again.Before(f.brokenSince.Add(f.reattach)) {
		return nil, failure
	}
	if err := sleep(ctx, f.pause); err != nil {
		return nil, err
	}
	f.pause = min(2*f.pause, longestPause)
	return f.watch, nil
}

func (f *following) generate(ctx context.Context) (responseStream, error) {
	f.watches = false
	return f.images.GenerateImage(ctx, f.request)
}

func (f *following) watch(ctx context.Context) (responseStream, error) {
	f.watches = true
	after := f.assembler.lastIndex()
	if after == nil {
		after = f.after
	}
	return f.images.WatchGeneration(ctx, &leydenv1.WatchGenerationRequest{
		RequestId:       f.requestID,
		AfterEventIndex: after,
	})
}

// imageCount is how many images come; 0: not known.
func (f *following) imageCount() int32 {
	if f.request == nil {
		return 0
	}
	return max(f.request.GetImageCount(), 1)
}

// isLost says whether the server knows the generation no more, or ended it since nobody watched it.
func isLost(failure *Error) bool {
	leftAlone := failure.Code == codes.Canceled &&
		failure.Reason != "" && failure.Reason != "CANCELLED_BY_REQUEST"
	return leftAlone || failure.Kind == ErrGenerationNotFound
}

// mayGoOn says whether the server may go on with a generation whose following ended with err.
func mayGoOn(ctx context.Context, err error) bool {
	var failure *Error
	if errors.As(err, &failure) && ctx.Err() == nil {
		// Every other status is the generation's own, or there is no server to ask.
		return failure.Kind == ErrDeadlineExceeded || failure.Kind == ErrReaderTooSlow
	}
	return err != nil
}

// sleep waits for the pause, or for the end of ctx.
func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errorOfContext(ctx)
	}
}
