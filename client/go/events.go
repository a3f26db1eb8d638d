package leyden

import "time"

// Event is what a generation reports: one of [*Queued], [*TextEncoded], [*DenoiseProgress], [*Image]
// and [*Summary], in this order:
//
//	Queued            zero or more, until the first DenoiseProgress
//	TextEncoded       once, before the first DenoiseProgress
//	DenoiseProgress   for each image once a step; those of different images may interleave
//	Image             once for each image, whole, after its last DenoiseProgress
//	Summary           once, and last
type Event interface {
	// Header returns what every event has.
	Header() EventHeader

	isEvent()
}

// EventHeader is what every event has.
type EventHeader struct {
	// RequestID is the request's id, the same in every event.
	RequestID string
	// EventIndex is the index of this event in the server's stream; of an image that came in
	// chunks, its last chunk's.
	EventIndex int64
}

// Header returns what every event has.
func (h EventHeader) Header() EventHeader { return h }

func (EventHeader) isEvent() {}

// Queued says that the request was accepted and waits for the denoiser.
type Queued struct {
	EventHeader
	// Position is the number of waiting images that come before this request's; 0: none.
	Position int32
	// ExpectedWait is the expected time until the first denoise step. Nil: nothing is known yet.
	ExpectedWait *time.Duration
}

// TextEncoded says that the prompt is encoded.
type TextEncoded struct {
	EventHeader
	// TokenCount is the length of the prompt in tokens, before it was cut.
	TokenCount int32
	// Truncated says whether the prompt was cut at the text encoder's length.
	Truncated bool
}

// DenoiseProgress says that a denoise step of one image ended.
type DenoiseProgress struct {
	EventHeader
	// ImageIndex is the index of the image, from 0.
	ImageIndex int32
	// Step is the step that ended, from 1 to TotalSteps.
	Step int32
	// TotalSteps is the number of denoise steps of this image.
	TotalSteps int32
	// Timestep is the training timestep at which this step ran the UNet, from 999 (noise) to 0.
	Timestep float32
	// Sigma is the noise level (standard deviation) at which this step started.
	Sigma float32
	// Elapsed is the time since the request was accepted.
	Elapsed time.Duration
	// Remaining is the estimated time until this image's last denoise step ends, without decoding.
	Remaining time.Duration
	// BatchRows are the rows of the UNet batch that this step shared, its own among them.
	BatchRows int32
	// Preview is there where one was asked for at this step and this reader is fast enough.
	Preview *Preview
}

// Preview is a small picture of the denoised latents as estimated now; not a VAE decode.
type Preview struct {
	// Data is the encoded picture.
	Data []byte
	// Format is the encoding of Data.
	Format OutputFormat
	// WidthPx and HeightPx are the size in pixels.
	WidthPx, HeightPx int32
}

// Save writes the picture to path, whole or not at all.
func (p *Preview) Save(path string) error { return writeAtomically(path, p.Data) }

// Image is an image that is ready; it is always whole, however it travelled.
type Image struct {
	EventHeader
	// ImageIndex is the index of the image, from 0.
	ImageIndex int32
	// Seed is the seed that gives this image again.
	Seed int64
	// Format is the encoding of Data.
	Format OutputFormat
	// WidthPx and HeightPx are the size in pixels.
	WidthPx, HeightPx int32
	// Data is the encoded image.
	Data []byte
}

// Save writes the image to path, whole or not at all.
func (i *Image) Save(path string) error { return writeAtomically(path, i.Data) }

// Summary says that the generation is done: what was used, what was ignored, and what it cost.
type Summary struct {
	EventHeader
	// Warnings are what was ignored, cut or rounded; none when all was as asked.
	Warnings []Warning
	// Model is the name of the model that ran.
	Model string
	// ModelRevision identifies the model's UNet: a digest of its weight files, LoRA and scale.
	ModelRevision string
	// Retries is how many times a stage was run again because a replica died.
	Retries int32
	// WidthPx and HeightPx are the size of the images in pixels.
	WidthPx, HeightPx int32
	// NumInferenceSteps is the number of denoise steps of each image.
	NumInferenceSteps int32
	// GuidanceScale is the guidance scale that was applied.
	GuidanceScale float32
	// Solver is the rule of a denoise step that was applied.
	Solver Solver
	// Bill is what the generation cost, stage by stage.
	Bill Bill
}

// Warning is something about a request that its sender should know, though it was served.
type Warning struct {
	// Reason is what kind of warning, in UPPER_SNAKE_CASE.
	Reason string
	// Field is the request's field that the warning is about, as in the API.
	Field string
	// Message is the warning in words.
	Message string
}

// Bill is what a generation cost, stage by stage.
type Bill struct {
	// Queue is from acceptance to the first denoise step's start, less TextEncode.
	Queue time.Duration
	// TextEncode is the encoding of the text.
	TextEncode time.Duration
	// Total is from acceptance to the summary.
	Total time.Duration
	// TextEncoderReplica is the replica that encoded the text.
	TextEncoderReplica string
	// GatewayReplica is the Gateway replica that served the request.
	GatewayReplica string
	// Images are the shares of the images, in the order of their indices.
	Images []ImageBill
}

// ImageBill is what one image cost.
type ImageBill struct {
	// ImageIndex is the index of the image, from 0.
	ImageIndex int32
	// Steps are the denoise steps, first to last.
	Steps []StepBill
	// VAEDecode is the VAE decode, with the wait for it.
	VAEDecode time.Duration
	// ImageEncode is the encoding of the pixels as PNG, JPEG or WebP.
	ImageEncode time.Duration
	// DenoiserReplica is the replica that ran the denoise steps.
	DenoiserReplica string
	// ImageDecoderReplica is the replica that decoded and encoded the image.
	ImageDecoderReplica string
}

// StepBill is what one denoise step cost.
type StepBill struct {
	// Duration is the time that the step took on the device, for the whole batch.
	Duration time.Duration
	// BatchRows are the rows of the UNet batch; padding is not counted.
	BatchRows int32
}

// Generation is a generation that is done.
type Generation struct {
	// RequestID is the request's id: the one that was given, or that the client drew.
	RequestID string
	// Images are the images, in the order of their indices.
	Images []*Image
	// Summary says what was used, what was ignored, and what it cost.
	Summary *Summary
}
