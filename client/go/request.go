package leyden

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"

	"leyden.ai/leyden-go/leydenv1"
)

const (
	// DefaultLinger is for how long a generation outlives a broken connection, unless told
	// otherwise.
	DefaultLinger = 15 * time.Second
	// DetachedLinger is for how long a generation goes on that StartImage left to itself, unless
	// told otherwise.
	DetachedLinger = 600 * time.Second
)

// Request is what to generate. Only Prompt has to be set. Zero or empty means the model's default;
// where zero is a value, the field is a pointer, and nil means the default.
type Request struct {
	// Prompt is what the image should show.
	Prompt string
	// Model is the name of the model. Empty: the server's default model.
	Model string
	// NegativePrompt is what not to show; it has an effect only where GuidanceScale is above 1.
	NegativePrompt string
	// Seed is the seed of the first image, at least 0; image i has *Seed + i, and *Seed plus
	// ImageCount is at most 2^53. Nil: drawn by this client, and reported with each image.
	Seed *int64
	// WidthPx is the width in pixels. 0: the model's native width.
	WidthPx int32
	// HeightPx is the height in pixels. 0: the model's native height.
	HeightPx int32
	// NumInferenceSteps is the number of denoise steps. 0: the model's default.
	NumInferenceSteps int32
	// GuidanceScale is the classifier-free guidance scale; off at or below 1. Nil: the model's
	// default.
	GuidanceScale *float32
	// Solver is the rule of a denoise step. 0: the model's default.
	Solver Solver
	// ImageCount is the number of images. 0: 1.
	ImageCount int32
	// OutputFormat is the encoding of the images. 0: PNG.
	OutputFormat OutputFormat
	// OutputQuality is the quality of a JPEG or WebP, 1 to 100; not allowed with PNG. 0: 90.
	OutputQuality int32
	// Preview asks for previews with the denoise progress. Nil: none.
	Preview *PreviewOptions
	// RequestID is the name of the generation, unused by any other. Empty: a UUID that this
	// client draws.
	RequestID string
	// Linger is for how long the generation goes on when its connection breaks; so long this
	// client tries to come back to it. Zero: a broken connection is an error at once, and the
	// server ends the generation. Nil: DefaultLinger, or none where the context has a deadline,
	// as StreamImage says.
	Linger *time.Duration
	// Priority is how soon it is served: 1 (first) to 9 (last). 0: 5.
	Priority int32
}

// PreviewOptions asks for previews with the denoise progress.
type PreviewOptions struct {
	// SizePx is the longer side in pixels, at most 1,024. 0: one pixel for each latent.
	SizePx int32
	// EverySteps asks for a preview every so many steps, counted back from the last. 0: each.
	EverySteps int32
	// Format is the encoding. 0: JPEG.
	Format OutputFormat
}

// Ptr returns a pointer to v, for the fields of a Request where zero is a value:
//
//	leyden.Request{Prompt: "a lake", Seed: leyden.Ptr(int64(7))}
func Ptr[T any](v T) *T { return &v }

// message writes the request as its message; the server is the one that judges its values.
func (r *Request) message() *leydenv1.GenerateImageRequest {
	message := &leydenv1.GenerateImageRequest{
		Model:             r.Model,
		Prompt:            r.Prompt,
		NegativePrompt:    r.NegativePrompt,
		Seed:              r.Seed,
		WidthPx:           r.WidthPx,
		HeightPx:          r.HeightPx,
		NumInferenceSteps: r.NumInferenceSteps,
		GuidanceScale:     r.GuidanceScale,
		Solver:            leydenv1.Solver(r.Solver),
		ImageCount:        r.ImageCount,
		OutputFormat:      leydenv1.OutputFormat(r.OutputFormat),
		OutputQuality:     r.OutputQuality,
		RequestId:         r.RequestID,
	}
	if r.Preview != nil {
		message.Preview = &leydenv1.PreviewOptions{
			SizePx:     r.Preview.SizePx,
			EverySteps: r.Preview.EverySteps,
			Format:     leydenv1.OutputFormat(r.Preview.Format),
		}
	}
	if r.Linger != nil && *r.Linger != 0 {
		message.LingerDuration = durationpb.New(*r.Linger)
	}
	if r.Priority != 0 {
		message.Priority = &r.Priority
	}
	return message
}

// repeatable writes the request so that it can be sent again: with an id and a seed, drawn where not
// given. A server refuses what it cannot end within a call's deadline only where nothing lingers, so
// a call with a deadline lingers only if Linger is given.
func (r *Request) repeatable(ctx context.Context) *leydenv1.GenerateImageRequest {
	message := r.message()
	if message.RequestId == "" {
		message.RequestId = uuid.NewString()
	}
	if message.Seed == nil {
		message.Seed = Ptr(drawSeed())
	}
	if _, hasDeadline := ctx.Deadline(); r.Linger == nil && !hasDeadline {
		message.LingerDuration = durationpb.New(DefaultLinger)
	}
	return message
}

// reattach is for how long a connection that broke is taken up again.
func (r *Request) reattach() time.Duration {
	if r.Linger == nil {
		return DefaultLinger
	}
	return *r.Linger
}

// drawSeed draws as the server does: of 32 bits, short enough to be typed in again.
func drawSeed() int64 {
	var bits [4]byte
	_, _ = rand.Read(bits[:]) // it never returns an error
	return int64(binary.NativeEndian.Uint32(bits[:]))
}
