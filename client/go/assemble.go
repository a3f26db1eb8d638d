package leyden

import (
	"errors"

	"leyden.ai/leyden-go/leydenv1"
)

// errHeaderMissing says that chunks of an image came whose image event lies before what is watched.
var errHeaderMissing = errors.New("an image began before what is watched")

// At most so much is set aside for an image before its bytes are there.
const mostReserved = 64 << 20

// assembler turns the responses of one generation into events and joins the chunks of images.
//
// The responses may come by several calls: those of WatchGeneration go on where the last one ended,
// and startOver begins again at event 0 and shows nothing twice. A stream that breaks the API's
// contract is a *ProtocolError.
type assembler struct {
	requestID string
	// Images asked for; 0: not known.
	imageCount int32
	// Index of the last event that the reader has; -1: none.
	after int64
	// Index that is due; -1: any. A generation may have fewer events by now than its watcher says
	// to know.
	next    int64
	shown   shown
	repeats bool
	// Images that came in this run.
	came    map[int32]bool
	partial *partialImage
	done    bool
}

// partialImage is an image whose chunks are on their way.
type partialImage struct {
	header *leydenv1.Image
	data   []byte
}

// newAssembler expects the events of requestID after the index after (nil: from 0) of imageCount
// images (0: not known).
func newAssembler(requestID string, imageCount int32, after *int64) *assembler {
	a := &assembler{
		requestID:  requestID,
		imageCount: imageCount,
		after:      -1,
		shown:      newShown(),
		came:       make(map[int32]bool),
	}
	if after != nil {
		a.after, a.next = *after, -1
	}
	return a
}

// lastIndex returns the index of the last response that came; nil: none did.
func (a *assembler) lastIndex() *int64 {
	if a.next <= 0 {
		return nil
	}
	return Ptr(a.next - 1)
}

// startOver expects event 0 next: all events come again, or the generation runs again.
func (a *assembler) startOver() {
	a.next = 0
	a.repeats = true
	clear(a.came)
	a.partial = nil
}

// add takes the next response and returns its event, or nil where there is none to show.
func (a *assembler) add(response *leydenv1.GenerateImageResponse) (Event, error) {
	if err := a.checkOrder(response); err != nil {
		return nil, err
	}
	event, err := a.event(response)
	if err != nil || event == nil || event.Header().EventIndex <= a.after {
		return nil, err
	}
	if a.repeats && a.shown.has(event) {
		return nil, nil
	}
	a.shown.note(event)
	return event, nil
}

// finish says that the stream ended with status OK.
func (a *assembler) finish() error {
	if !a.done {
		return protocolErrorf("the stream ended after %d events, with no summary", max(a.next, 0))
	}
	return nil
}

func (a *assembler) checkOrder(response *leydenv1.GenerateImageResponse) error {
	index := response.GetEventIndex()
	switch {
	case a.done:
		return protocolErrorf("an event came after the summary")
	case a.next >= 0 && index != a.next:
		return protocolErrorf("event %d was due, event %d came", a.next, index)
	case response.GetRequestId() != a.requestID:
		return protocolErrorf(
			"an event of %q came in the stream of %q", response.GetRequestId(), a.requestID)
	}
	a.next = index + 1
	return nil
}

func (a *assembler) event(response *leydenv1.GenerateImageResponse) (Event, error) {
	switch event := response.GetEvent().(type) {
	case *leydenv1.GenerateImageResponse_Queued:
		return queuedOf(response), nil
	case *leydenv1.GenerateImageResponse_TextEncoded:
		return textEncodedOf(response), nil
	case *leydenv1.GenerateImageResponse_DenoiseProgress:
		index := event.DenoiseProgress.GetImageIndex()
		if index < 0 || (a.imageCount > 0 && index >= a.imageCount) {
			return nil, protocolErrorf("a step of image %d came, which was not asked for", index)
		}
		return denoiseProgressOf(response), nil
	case *leydenv1.GenerateImageResponse_Image:
		return a.image(response, event.Image)
	case *leydenv1.GenerateImageResponse_ImageChunk:
		return a.chunk(response, event.ImageChunk)
	case *leydenv1.GenerateImageResponse_Summary:
		return a.summary(response)
	default:
		// A kind of event that a later version of the API added.
		return nil, nil
	}
}

func (a *assembler) image(
	response *leydenv1.GenerateImageResponse, header *leydenv1.Image,
) (Event, error) {
	index := header.GetImageIndex()
	if a.partial != nil {
		return nil, protocolErrorf("image %d came between the chunks of image %d",
			index, a.partial.header.GetImageIndex())
	}
	if a.imageCount > 0 && (index < 0 || index >= a.imageCount || a.came[index]) {
		return nil, protocolErrorf("image %d was not asked for, or came twice", index)
	}
	if header.GetSizeBytes() <= 0 {
		return nil, protocolErrorf("image %d has %d bytes", index, header.GetSizeBytes())
	}
	if len(header.GetData()) == 0 {
		a.partial = &partialImage{
			header: header,
			data:   make([]byte, 0, min(header.GetSizeBytes(), mostReserved)),
		}
		return nil, nil
	}
	return a.whole(response, header, header.GetData())
}

func (a *assembler) chunk(
	response *leydenv1.GenerateImageResponse, chunk *leydenv1.ImageChunk,
) (Event, error) {
	index, partial := chunk.GetImageIndex(), a.partial
	if partial == nil && a.after >= 0 && !a.repeats {
		return nil, errHeaderMissing
	}
	if partial == nil || partial.header.GetImageIndex() != index {
		return nil, protocolErrorf("a chunk of image %d came without its image", index)
	}
	if chunk.GetOffsetBytes() != int64(len(partial.data)) {
		return nil, protocolErrorf("the chunk of image %d at %d bytes was due, the one at %d came",
			index, len(partial.data), chunk.GetOffsetBytes())
	}
	// Checked at every chunk: a size that was promised bounds the memory.
	if int64(len(partial.data)+len(chunk.GetData())) > partial.header.GetSizeBytes() {
		return nil, protocolErrorf("image %d goes past its %d bytes",
			index, partial.header.GetSizeBytes())
	}
	partial.data = append(partial.data, chunk.GetData()...)
	if !chunk.GetLast() {
		return nil, nil
	}
	a.partial = nil
	return a.whole(response, partial.header, partial.data)
}

func (a *assembler) whole(
	response *leydenv1.GenerateImageResponse, header *leydenv1.Image, data []byte,
) (Event, error) {
	if int64(len(data)) != header.GetSizeBytes() {
		return nil, protocolErrorf("image %d has %d of its %d bytes",
			header.GetImageIndex(), len(data), header.GetSizeBytes())
	}
	a.came[header.GetImageIndex()] = true
	return imageOf(response, header, data), nil
}

func (a *assembler) summary(response *leydenv1.GenerateImageResponse) (Event, error) {
	for index := range a.imageCount {
		if !a.came[index] {
			return nil, protocolErrorf("the summary came without image %d", index)
		}
	}
	a.done = true
	return summaryOf(response), nil
}
