package leyden

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// StreamImage generates images and yields each event as it comes, the [*Summary] last. An error is
// yielded once, with a nil event, and ends the iteration.
//
// Each range over the iterator generates anew. Leaving the loop, by break, return or panic, cancels
// the generation on the server before the loop is left: the server has answered, or two seconds have
// passed. So does the end of ctx, before its error is yielded. Where nothing lingers, both end the
// call, and with it the generation.
//
// A connection that breaks in the midst of it is taken up again for Linger, and no event comes twice:
// the generation goes on meanwhile, and is watched again from where its events stopped. If the server
// does not know it any more, the same request, with the same id and seed, is sent again.
//
// A server looks at a deadline only where nothing lingers. So a ctx with a deadline, and no Linger in
// the request, sends no linger: the server refuses at once what it cannot end in time and serves
// earlier deadlines first, and a broken connection runs the generation again. With both, nothing is
// refused early.
func (c *Client) StreamImage(ctx context.Context, request Request) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		c.follow(ctx, c.started(ctx, &request), yield)
	}
}

// GenerateImage generates images and returns them with their summary. The rest is as in StreamImage.
func (c *Client) GenerateImage(ctx context.Context, request Request) (*Generation, error) {
	return Collect(c.StreamImage(ctx, request))
}

// StartImage starts a generation, leaves it to itself, and returns its id.
//
// It returns once the server has accepted the request. The generation then goes on for Linger (nil:
// DetachedLinger) without being watched, and its events are kept for as long after its end: Watch
// gives them. A deadline of ctx is that of the acceptance alone.
func (c *Client) StartImage(ctx context.Context, request Request) (requestID string, err error) {
	if request.Linger == nil {
		request.Linger = Ptr(DetachedLinger)
	}
	if *request.Linger <= 0 {
		return "", fmt.Errorf(
			"leyden: Linger is %v; a generation that is left needs more than 0", *request.Linger)
	}
	f := c.started(ctx, &request)
	f.isDetached = true
	// The first event says that it is accepted.
	c.follow(ctx, f, func(_ Event, e error) bool {
		err = e
		return false
	})
	return f.requestID, err
}

// Watch watches a generation from its first event on and yields its events as they come, the
// [*Summary] last. Those of the past come without their previews.
//
// Leaving the loop leaves the generation as it is. A broken connection is taken up again for
// DefaultLinger. The error may be the one that the generation itself ended with, or
// [ErrGenerationNotFound], or [ErrEventsExpired].
func (c *Client) Watch(ctx context.Context, requestID string) iter.Seq2[Event, error] {
	return c.watch(ctx, requestID, nil)
}

// WatchAfter is Watch for the events after the one of an index that is known already.
func (c *Client) WatchAfter(
	ctx context.Context, requestID string, eventIndex int64,
) iter.Seq2[Event, error] {
	return c.watch(ctx, requestID, &eventIndex)
}

func (c *Client) watch(ctx context.Context, requestID string, after *int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		c.follow(ctx, &following{
			images:    c.images,
			requestID: requestID,
			after:     after,
			reattach:  DefaultLinger,
		}, yield)
	}
}

// Collect reads the events of a generation to their end and returns the whole.
func Collect(events iter.Seq2[Event, error]) (*Generation, error) {
	generation := &Generation{}
	for event, err := range events {
		if err != nil {
			return nil, err
		}
		switch event := event.(type) {
		case *Image:
			generation.Images = append(generation.Images, event)
		case *Summary:
			generation.RequestID = event.RequestID
			generation.Summary = event
		}
	}
	if generation.Summary == nil {
		return nil, protocolErrorf("the stream has no summary")
	}
	slices.SortFunc(generation.Images, func(a, b *Image) int {
		return int(a.ImageIndex - b.ImageIndex)
	})
	return generation, nil
}

func (c *Client) started(ctx context.Context, request *Request) *following {
	message := request.repeatable(ctx)
	return &following{
		images:    c.images,
		requestID: message.GetRequestId(),
		request:   message,
		idIsOurs:  request.RequestID == "",
		reattach:  request.reattach(),
	}
}

// follow gives the events of a generation to yield, and then the error that ended them, if one did.
func (c *Client) follow(ctx context.Context, f *following, yield func(Event, error) bool) {
	err := c.drive(ctx, f, func(event Event) bool { return yield(event, nil) })
	if err != nil && !errors.Is(err, errLeft) {
		yield(nil, err)
	}
}

// drive runs f, and ends the generation where it ended early, be it by a panic of its reader.
func (c *Client) drive(ctx context.Context, f *following, yield func(Event) bool) (err error) {
	if !c.remember(f) {
		return ErrClosed
	}
	defer c.forget(f)
	err = errLeft
	defer func() {
		isLeftToItself := f.isDetached && errors.Is(err, errLeft)
		if f.lingers() && mayGoOn(ctx, err) && !isLeftToItself && !c.isClosed() {
			c.cancelLeft(ctx, f)
		}
	}()
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.closing, cancel)()
	err = f.run(running, yield)
	var failure *Error
	if errors.As(err, &failure) && failure.Kind == ErrGenerationCancelled && c.isClosed() {
		return closedWhileRunning()
	}
	return err
}
