package leyden

import (
	"context"

	"leyden.ai/leyden-go/leydenv1"
)

// Model is a model and what it accepts. All ranges are inclusive.
type Model struct {
	// Name is the name, as a Request takes it.
	Name string
	// Description is one line on what it is.
	Description string
	// State says whether it can be used now.
	State ModelState
	// UnavailableReason says, where State is ModelUnavailable, what is missing and how to get it,
	// or why its last load failed; where it is ModelLoading although it was ready before, which
	// stage has no running replica.
	UnavailableReason string
	// IsDefault says whether a request that names no model gets this one.
	IsDefault bool
	// Revision identifies its UNet, as Summary.ModelRevision; empty unless it is loaded.
	Revision string
	// License is the licence of the weights: an SPDX id where there is one.
	License string
	// DefaultWidthPx and DefaultHeightPx are the native size in pixels.
	DefaultWidthPx, DefaultHeightPx int32
	// MinSizePx and MaxSizePx are the range of width and height in pixels, which are multiples of
	// SizeMultiplePx.
	MinSizePx, MaxSizePx, SizeMultiplePx int32
	// DefaultNumInferenceSteps are the denoise steps of a request that does not say.
	DefaultNumInferenceSteps int32
	// MinNumInferenceSteps and MaxNumInferenceSteps are the range of denoise steps.
	MinNumInferenceSteps, MaxNumInferenceSteps int32
	// DefaultGuidanceScale is the guidance scale of a request that does not say.
	DefaultGuidanceScale float32
	// MinGuidanceScale and MaxGuidanceScale are the range of guidance scales.
	MinGuidanceScale, MaxGuidanceScale float32
	// Solvers are those that it can run, the default first.
	Solvers []Solver
	// OutputFormats are those that it can send, the default first.
	OutputFormats []OutputFormat
	// MaxImageCount is the most images of one request.
	MaxImageCount int32
	// MaxPromptTokens is the length in tokens at which a prompt is cut.
	MaxPromptTokens int32
	// Previews says whether it can send previews.
	Previews bool
	// FilesPresent says whether all of its files are at hand, so that it has only to be loaded.
	FilesPresent bool
	// KnownWords are the words that it knows, where it was trained on few; none: they are not
	// limited so.
	KnownWords []string
}

// ListModels returns the server's models, by name, the loaded and the others.
func (c *Client) ListModels(ctx context.Context) ([]*Model, error) {
	response, err := unary(ctx, c, c.models.ListModels, &leydenv1.ListModelsRequest{})
	if err != nil {
		return nil, err
	}
	var models []*Model
	for _, message := range response.GetModels() {
		models = append(models, modelOf(message))
	}
	return models, nil
}

// GetModel returns the model of that name; empty: the server's default model. The error is
// [ErrNotFound] where there is none.
func (c *Client) GetModel(ctx context.Context, name string) (*Model, error) {
	response, err := unary(ctx, c, c.models.GetModel, &leydenv1.GetModelRequest{Model: name})
	if err != nil {
		return nil, err
	}
	return modelOf(response.GetModel()), nil
}

// LoadModel loads a model, and returns it once it is ready; for operators. One that is ready is loaded
// anew where its files have changed. The end of ctx ends the waiting and does not stop the load. The
// error may be [ErrNotFound], [ErrModelLoad], [ErrNoResources] or [ErrModelsManaged].
func (c *Client) LoadModel(ctx context.Context, name string) (*Model, error) {
	response, err := unary(ctx, c, c.models.LoadModel, &leydenv1.LoadModelRequest{Model: name})
	if err != nil {
		return nil, err
	}
	return modelOf(response.GetModel()), nil
}

// UnloadModel unloads a model, and returns once its stages are gone; for operators. New requests are
// refused from the call on, and what was accepted finishes for as long as the server's drain lasts.
// The end of ctx ends the waiting alone. The error may be [ErrNotFound] or [ErrModelsManaged].
func (c *Client) UnloadModel(ctx context.Context, name string) error {
	_, err := unary(ctx, c, c.models.UnloadModel, &leydenv1.UnloadModelRequest{Model: name})
	return err
}

func modelOf(message *leydenv1.Model) *Model {
	model := &Model{
		Name:                     message.GetName(),
		Description:              message.GetDescription(),
		State:                    ModelState(message.GetState()),
		UnavailableReason:        message.GetUnavailableReason(),
		IsDefault:                message.GetIsDefault(),
		Revision:                 message.GetRevision(),
		License:                  message.GetLicense(),
		DefaultWidthPx:           message.GetDefaultWidthPx(),
		DefaultHeightPx:          message.GetDefaultHeightPx(),
		MinSizePx:                message.GetMinSizePx(),
		MaxSizePx:                message.GetMaxSizePx(),
		SizeMultiplePx:           message.GetSizeMultiplePx(),
		DefaultNumInferenceSteps: message.GetDefaultNumInferenceSteps(),
		MinNumInferenceSteps:     message.GetMinNumInferenceSteps(),
		MaxNumInferenceSteps:     message.GetMaxNumInferenceSteps(),
		DefaultGuidanceScale:     message.GetDefaultGuidanceScale(),
		MinGuidanceScale:         message.GetMinGuidanceScale(),
		MaxGuidanceScale:         message.GetMaxGuidanceScale(),
		MaxImageCount:            message.GetMaxImageCount(),
		MaxPromptTokens:          message.GetMaxPromptTokens(),
		Previews:                 message.GetPreviews(),
		FilesPresent:             message.GetFilesPresent(),
		KnownWords:               message.GetKnownWords(),
	}
	for _, solver := range message.GetSolvers() {
		model.Solvers = append(model.Solvers, Solver(solver))
	}
	for _, format := range message.GetOutputFormats() {
		model.OutputFormats = append(model.OutputFormats, OutputFormat(format))
	}
	return model
}
