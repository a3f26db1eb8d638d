package leyden

// shown is what the reader of a generation has been shown, by all of its runs.
type shown struct {
	textEncoded bool
	// Of each image, the last denoise step.
	steps  map[int32]int32
	images map[int32]bool
}

func newShown() shown {
	return shown{steps: make(map[int32]int32), images: make(map[int32]bool)}
}

// has says whether a run that begins anew tells nothing new by the event.
func (s *shown) has(event Event) bool {
	switch event := event.(type) {
	case *Queued:
		// Who has seen steps is not told of a queue, which comes before them.
		return len(s.steps) > 0
	case *TextEncoded:
		return s.textEncoded
	case *DenoiseProgress:
		return event.Step <= s.steps[event.ImageIndex]
	case *Image:
		return s.images[event.ImageIndex]
	default:
		return false
	}
}

// note remembers that the event was shown.
func (s *shown) note(event Event) {
	switch event := event.(type) {
	case *TextEncoded:
		s.textEncoded = true
	case *DenoiseProgress:
		s.steps[event.ImageIndex] = event.Step
	case *Image:
		s.images[event.ImageIndex] = true
	}
}
