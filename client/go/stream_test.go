package leyden_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"leyden.ai/leyden-go"
	"leyden.ai/leyden-go/leydenv1"
)

var request = leyden.Request{Prompt: "a prompt"}

var told = []string{"queued", "text", "0:1", "0:2", "0=pixels", "summary"}

// tell reads a generation to its end, and says each event in a word.
func tell(events iter.Seq2[leyden.Event, error]) (words []string, err error) {
	for event, err := range events {
		if err != nil {
			return words, err
		}
		words = append(words, word(event))
	}
	return words, nil
}

func word(event leyden.Event) string {
	switch event := event.(type) {
	case *leyden.Queued:
		return "queued"
	case *leyden.TextEncoded:
		return "text"
	case *leyden.DenoiseProgress:
		return fmt.Sprintf("%d:%d", event.ImageIndex, event.Step)
	case *leyden.Image:
		return fmt.Sprintf("%d=%s", event.ImageIndex, event.Data)
	case *leyden.Summary:
		return "summary"
	}
	return "?"
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestEventsComeInOrder(t *testing.T) {
	server := newServer(script{events: whole()})
	words, err := tell(server.client(t).StreamImage(t.Context(), request))
	equal(t, "error", err, nil)
	equal(t, "events", words, told)
	requests, _, cancels := server.seen()
	equal(t, "cancels", len(cancels), 0)
	if requests[0].Seed == nil || requests[0].RequestId == "" {
		t.Errorf("no seed or id was drawn: %v", requests[0])
	}
}

func TestBreakEndsTheGenerationBeforeTheLoopIsLeft(t *testing.T) {
	server := newServer(script{events: whole()[:3], holds: true})
	for event, err := range server.client(t).StreamImage(t.Context(), request) {
		equal(t, "error", err, nil)
		if word(event) == "text" {
			break
		}
	}
	requests, _, cancels := server.seen()
	equal(t, "cancels", cancels, []string{requests[0].GetRequestId()})
	<-server.left
}

func TestPanicInTheLoopEndsTheGeneration(t *testing.T) {
	server := newServer(script{events: whole()[:1], holds: true})
	client := server.client(t)
	func() {
		defer func() { equal(t, "panic", recover(), "in the body") }()
		for range client.StreamImage(t.Context(), request) {
			panic("in the body")
		}
	}()
	_, _, cancels := server.seen()
	equal(t, "cancels", len(cancels), 1)
}

func TestLeavingWithoutLingerEndsTheCallAlone(t *testing.T) {
	server := newServer(script{events: whole()[:1], holds: true})
	alone := leyden.Request{Prompt: "a prompt", Linger: leyden.Ptr(time.Duration(0))}
	for range server.client(t).StreamImage(t.Context(), alone) {
		break
	}
	<-server.left
	_, _, cancels := server.seen()
	equal(t, "cancels", len(cancels), 0)
}

func TestContextCancelEndsTheGeneration(t *testing.T) {
	server := newServer(script{events: whole()[:3], holds: true})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for _, err := range server.client(t).StreamImage(ctx, request) {
		cancel()
		last = err
	}
	if !errors.Is(last, context.Canceled) || !errors.Is(last, leyden.ErrGenerationCancelled) {
		t.Errorf("got %v", last)
	}
	_, _, cancels := server.seen()
	equal(t, "cancels", len(cancels), 1)
}

func TestDeadline(t *testing.T) {
	server := newServer(script{events: whole()[:1], holds: true})
	client := server.client(t)
	for _, linger := range []*time.Duration{nil, leyden.Ptr(4 * time.Second)} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := client.GenerateImage(ctx, leyden.Request{Prompt: "a prompt", Linger: linger})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, leyden.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	}
	requests, _, cancels := server.seen()
	equal(t, "linger of a call with a deadline", requests[0].LingerDuration == nil, true)
	equal(t, "linger that was asked for", requests[1].LingerDuration.GetSeconds(), int64(4))
	equal(t, "what lingers is cancelled", cancels, []string{requests[1].GetRequestId()})
}

func TestBrokenConnectionIsTakenUpWhereItBroke(t *testing.T) {
	for _, code := range []error{broken, failure(codes.Internal, ""), failure(codes.Canceled, "")} {
		server := newServer(script{events: whole()[:3], err: code})
		server.watchings = []script{{err: broken}, {events: whole()[3:]}}
		words, err := tell(server.client(t).StreamImage(t.Context(), request))
		equal(t, "error", err, nil)
		equal(t, "events", words, told)
		requests, watches, _ := server.seen()
		equal(t, "requests", len(requests), 1)
		equal(t, "watches", len(watches), 2)
		equal(t, "after", watches[1].GetAfterEventIndex(), int64(2))
	}
}

func TestChunksThatCameAreKept(t *testing.T) {
	events := numbered(image(0, 6, nil), chunk(0, 0, "pix", false), chunk(0, 3, "els", true), summary())
	server := newServer(script{events: events[:2], err: broken})
	server.watchings = []script{{events: events[2:]}}
	words, err := tell(server.client(t).StreamImage(t.Context(), request))
	equal(t, "error", err, nil)
	equal(t, "events", words, []string{"0=pixels", "summary"})
}

func TestUnknownGenerationIsAskedForAgainAndNothingComesTwice(t *testing.T) {
	first := numbered(queued(), textEncoded(), progress(0, 1), image(0, 4, []byte("zero")), progress(1, 1))
	again := numbered(queued(), textEncoded(), progress(1, 1), progress(0, 1), progress(1, 2),
		progress(0, 2), image(1, 3, []byte("one")), image(0, 4, []byte("zero")), summary())
	server := newServer(script{events: first, err: broken}, script{events: again})
	two := leyden.Request{Prompt: "a prompt", ImageCount: 2}
	words, err := tell(server.client(t).StreamImage(t.Context(), two))
	equal(t, "error", err, nil)
	equal(t, "events", words, []string{
		"queued", "text", "0:1", "0=zero", "1:1", "1:2", "0:2", "1=one", "summary",
	})
	requests, _, _ := server.seen()
	equal(t, "seed", requests[1].GetSeed(), requests[0].GetSeed())
	equal(t, "id", requests[1].GetRequestId(), requests[0].GetRequestId())
}

func TestWhatTheServerSaysIsNotTriedAgain(t *testing.T) {
	server := newServer(script{events: whole()[:3], err: failure(codes.Unavailable, "STAGE_DIED")})
	_, err := server.client(t).GenerateImage(t.Context(), request)
	if !errors.Is(err, leyden.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	requests, watches, cancels := server.seen()
	equal(t, "calls", []int{len(requests), len(watches), len(cancels)}, []int{1, 0, 0})
}

func TestZeroLingerTakesNothingUpAgain(t *testing.T) {
	server := newServer(script{events: whole()[:3], err: broken})
	alone := leyden.Request{Prompt: "a prompt", Linger: leyden.Ptr(time.Duration(0))}
	_, err := server.client(t).GenerateImage(t.Context(), alone)
	if !errors.Is(err, leyden.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	_, watches, _ := server.seen()
	equal(t, "watches", len(watches), 0)
}

func TestLeavingAWatchLeavesTheGeneration(t *testing.T) {
	server := newServer()
	server.watchings = []script{{events: whole()[3:], holds: true}}
	for event, err := range server.client(t).WatchAfter(t.Context(), "mine", 2) {
		equal(t, "error", err, nil)
		equal(t, "event", word(event), "0:2")
		break
	}
	_, watches, cancels := server.seen()
	equal(t, "after", watches[0].GetAfterEventIndex(), int64(2))
	equal(t, "cancels", len(cancels), 0)
}

func TestWatchThatBeginsAmidChunksReadsTheImageAnew(t *testing.T) {
	events := numbered(image(0, 6, nil), chunk(0, 0, "pix", false), chunk(0, 3, "els", true), summary())
	server := newServer()
	server.watchings = []script{{events: events[2:]}, {events: events}}
	words, err := tell(server.client(t).WatchAfter(t.Context(), "mine", 1))
	equal(t, "error", err, nil)
	equal(t, "events", words, []string{"0=pixels", "summary"})
}

func TestStartImageLeavesTheGenerationToItself(t *testing.T) {
	server := newServer(script{events: whole()[:1], holds: true})
	id, err := server.client(t).StartImage(t.Context(), request)
	equal(t, "error", err, nil)
	<-server.left
	requests, _, cancels := server.seen()
	equal(t, "id", id, requests[0].GetRequestId())
	equal(t, "linger", requests[0].GetLingerDuration().GetSeconds(), int64(600))
	equal(t, "cancels", len(cancels), 0)
}

func TestCloseEndsWhatRuns(t *testing.T) {
	server := newServer(script{events: whole()[:1], holds: true})
	client := server.client(t)
	for event, err := range client.StreamImage(t.Context(), request) {
		if err == nil {
			equal(t, "event", word(event), "queued")
			equal(t, "close", client.Close(), nil)
			continue
		}
		if !errors.Is(err, leyden.ErrGenerationCancelled) || errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	_, _, cancels := server.seen()
	equal(t, "cancels", len(cancels), 1)
	_, err := client.GenerateImage(t.Context(), request)
	equal(t, "of a closed client", err, leyden.ErrClosed)
	_, err = client.ListModels(t.Context())
	equal(t, "of a closed client", err, leyden.ErrClosed)
}

func TestStreamsThatBreakTheContract(t *testing.T) {
	event := func(index int64, event *leydenv1.GenerateImageResponse) *leydenv1.GenerateImageResponse {
		event.EventIndex = index
		return event
	}
	for want, events := range map[string][]*leydenv1.GenerateImageResponse{
		"leyden: event 0 was due, event 1 came":                              {event(1, queued())},
		"leyden: the stream ended after 1 events, with no summary":           {queued()},
		"leyden: an event came after the summary":                            append(whole(), event(6, queued())),
		"leyden: the summary came without image 0":                           {summary()},
		"leyden: a step of image 1 came, which was not asked for":            {progress(1, 1)},
		"leyden: image 1 was not asked for, or came twice":                   {image(1, 1, []byte("p"))},
		"leyden: image 0 has 0 bytes":                                        {image(0, 0, nil)},
		"leyden: image 0 has 1 of its 2 bytes":                               {image(0, 2, []byte("p"))},
		"leyden: a chunk of image 0 came without its image":                  {chunk(0, 0, "p", true)},
		"leyden: image 0 goes past its 2 bytes":                              numbered(image(0, 2, nil), chunk(0, 0, "pix", true)),
		"leyden: the chunk of image 0 at 0 bytes was due, the one at 1 came": numbered(image(0, 2, nil), chunk(0, 1, "p", true)),
		"leyden: image 0 came between the chunks of image 0":                 numbered(image(0, 2, nil), image(0, 2, nil)),
	} {
		server := newServer(script{events: events})
		_, err := server.client(t).GenerateImage(t.Context(), request)
		var broke *leyden.ProtocolError
		if !errors.As(err, &broke) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		_, _, cancels := server.seen()
		equal(t, "what may go on is cancelled", len(cancels), 1)
	}
}
