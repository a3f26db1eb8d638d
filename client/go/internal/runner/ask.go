package main

import (
	"fmt"
	"strconv"
	"time"

	"leyden.ai/leyden-go"
)

// ask is what a line asks for. What is absent is not given to the client.
type ask struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	TLS    *struct {
		CA          string `json:"ca"`
		Certificate string `json:"certificate"`
		PrivateKey  string `json:"private_key"`
	} `json:"tls"`
	APIKey      *string `json:"api_key"`
	Traceparent string  `json:"traceparent"`
	Call        string  `json:"call"`
	Request     struct {
		Prompt            string   `json:"prompt"`
		Model             string   `json:"model"`
		NegativePrompt    string   `json:"negative_prompt"`
		Seed              *string  `json:"seed"`
		NumInferenceSteps int32    `json:"num_inference_steps"`
		WidthPx           int32    `json:"width_px"`
		HeightPx          int32    `json:"height_px"`
		GuidanceScale     *float32 `json:"guidance_scale"`
		ImageCount        int32    `json:"image_count"`
		OutputFormat      string   `json:"output_format"`
		OutputQuality     int32    `json:"output_quality"`
		Preview           bool     `json:"preview"`
		RequestID         string   `json:"request_id"`
		Priority          int32    `json:"priority"`
	} `json:"request"`
	Options struct {
		TimeoutS *float64 `json:"timeout_s"`
		LingerS  *float64 `json:"linger_s"`
	} `json:"options"`
	AfterEventIndex *int64 `json:"after_event_index"`
	Leave           *struct {
		By    string `json:"by"`
		After string `json:"after"`
		Count int    `json:"count"`
	} `json:"leave"`
	PauseMS  float64        `json:"pause_ms"`
	Misspelt map[string]any `json:"misspelt"`
	Streams  int            `json:"streams"`
	Requests int            `json:"requests"`
}

var formats = map[string]leyden.OutputFormat{
	"":     leyden.FormatUnspecified,
	"PNG":  leyden.PNG,
	"JPEG": leyden.JPEG,
	"WEBP": leyden.WebP,
}

func (a *ask) clientOptions() []leyden.Option {
	var options []leyden.Option
	if a.TLS != nil {
		options = append(options, leyden.WithTLSFiles(leyden.TLSFiles{
			RootCertificates: a.TLS.CA,
			Certificate:      a.TLS.Certificate,
			PrivateKey:       a.TLS.PrivateKey,
		}))
	}
	if a.APIKey != nil {
		options = append(options, leyden.WithAPIKey(*a.APIKey))
	}
	return options
}

func (a *ask) request() (leyden.Request, error) {
	asked := &a.Request
	format, ok := formats[asked.OutputFormat]
	if !ok {
		return leyden.Request{}, fmt.Errorf("no such format: %s", asked.OutputFormat)
	}
	request := leyden.Request{
		Prompt:            asked.Prompt,
		Model:             asked.Model,
		NegativePrompt:    asked.NegativePrompt,
		NumInferenceSteps: asked.NumInferenceSteps,
		WidthPx:           asked.WidthPx,
		HeightPx:          asked.HeightPx,
		GuidanceScale:     asked.GuidanceScale,
		ImageCount:        asked.ImageCount,
		OutputFormat:      format,
		OutputQuality:     asked.OutputQuality,
		RequestID:         asked.RequestID,
		Priority:          asked.Priority,
	}
	if asked.Seed != nil {
		seed, err := strconv.ParseInt(*asked.Seed, 10, 64)
		if err != nil {
			return leyden.Request{}, err
		}
		request.Seed = &seed
	}
	if asked.Preview {
		request.Preview = &leyden.PreviewOptions{}
	}
	if a.Options.LingerS != nil {
		request.Linger = leyden.Ptr(duration(*a.Options.LingerS))
	}
	return request, nil
}

func duration(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second))
}
