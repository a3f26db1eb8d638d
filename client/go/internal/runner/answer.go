package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	rpccode "google.golang.org/genproto/googleapis/rpc/code"

	"leyden.ai/leyden-go"
)

// answer is what was seen.
type answer struct {
	Name      string     `json:"name"`
	RequestID *string    `json:"request_id"`
	Events    []event    `json:"events"`
	Images    []image    `json:"images"`
	Summary   *summary   `json:"summary"`
	Models    []string   `json:"models"`
	State     *state     `json:"state"`
	Left      *string    `json:"left"`
	Error     *callError `json:"error"`
}

type event struct {
	Kind       string `json:"kind"`
	Index      int64  `json:"index"`
	ImageIndex *int32 `json:"image_index,omitempty"`
	Step       *int32 `json:"step,omitempty"`
	NumSteps   *int32 `json:"num_steps,omitempty"`
	Bytes      *int   `json:"bytes,omitempty"`
}

type image struct {
	ImageIndex   int32  `json:"image_index"`
	Seed         string `json:"seed"`
	OutputFormat string `json:"output_format"`
	SHA256       string `json:"sha256"`
	Bytes        int    `json:"bytes"`
}

type summary struct {
	Model    string   `json:"model"`
	Warnings []string `json:"warnings"`
}

type state struct {
	Stages           []stage   `json:"stages"`
	Gateways         []gateway `json:"gateways"`
	Bottleneck       string    `json:"bottleneck"`
	BottleneckReason string    `json:"bottleneck_reason"`
}

type stage struct {
	Name            string   `json:"name"`
	Kind            string   `json:"kind"`
	Models          []string `json:"models"`
	RunningReplicas int32    `json:"running_replicas"`
	WantedReplicas  int32    `json:"wanted_replicas"`
	RunningCount    int32    `json:"running_count"`
	WaitingCount    int32    `json:"waiting_count"`
	BusyShare       *float64 `json:"busy_share"`
	Problem         string   `json:"problem"`
}

type gateway struct {
	Replica           string  `json:"replica"`
	UptimeS           float64 `json:"uptime_s"`
	Draining          bool    `json:"draining"`
	OpenStreamCount   int32   `json:"open_stream_count"`
	WaitingImageCount int32   `json:"waiting_image_count"`
}

type callError struct {
	Type        string            `json:"type"`
	Code        *string           `json:"code"`
	Reason      string            `json:"reason"`
	Metadata    map[string]string `json:"metadata"`
	Message     string            `json:"message"`
	Violations  []violation       `json:"violations"`
	RetryAfterS *float64          `json:"retry_after_s"`
}

type violation struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

func newAnswer(name string) *answer {
	return &answer{Name: name, Events: []event{}, Images: []image{}, Models: []string{}}
}

// record writes down an event, and returns its kind.
func (a *answer) record(seen leyden.Event) string {
	header := seen.Header()
	a.RequestID = &header.RequestID
	entry := event{Index: header.EventIndex}
	switch seen := seen.(type) {
	case *leyden.Queued:
		entry.Kind = "queued"
	case *leyden.TextEncoded:
		entry.Kind = "text_encoded"
	case *leyden.DenoiseProgress:
		entry.Kind = "denoise_progress"
		entry.ImageIndex, entry.Step, entry.NumSteps = &seen.ImageIndex, &seen.Step, &seen.TotalSteps
		if seen.Preview != nil {
			entry.Bytes = leyden.Ptr(len(seen.Preview.Data))
		}
	case *leyden.Image:
		entry.Kind = "image"
		entry.ImageIndex = &seen.ImageIndex
		a.Images = append(a.Images, imageOf(seen))
	case *leyden.Summary:
		entry.Kind = "summary"
		a.Summary = &summary{Model: seen.Model, Warnings: []string{}}
		for _, warning := range seen.Warnings {
			a.Summary.Warnings = append(a.Summary.Warnings, warning.Reason)
		}
	}
	a.Events = append(a.Events, entry)
	return entry.Kind
}

func imageOf(seen *leyden.Image) image {
	digest := sha256.Sum256(seen.Data)
	return image{
		ImageIndex:   seen.ImageIndex,
		Seed:         strconv.FormatInt(seen.Seed, 10),
		OutputFormat: strings.ToUpper(seen.Format.String()),
		SHA256:       hex.EncodeToString(digest[:]),
		Bytes:        len(seen.Data),
	}
}

func stateOf(seen *leyden.ServerState) *state {
	said := &state{
		Stages:           []stage{},
		Gateways:         []gateway{},
		Bottleneck:       seen.Bottleneck,
		BottleneckReason: seen.BottleneckReason,
	}
	for _, s := range seen.Stages {
		said.Stages = append(said.Stages, stage{
			Name:            s.Name,
			Kind:            strings.ToUpper(s.Kind.String()),
			Models:          append([]string{}, s.Models...),
			RunningReplicas: s.RunningReplicas,
			WantedReplicas:  s.WantedReplicas,
			RunningCount:    s.RunningCount,
			WaitingCount:    s.WaitingCount,
			BusyShare:       s.BusyShare,
			Problem:         s.Problem,
		})
	}
	for _, g := range seen.Gateways {
		said.Gateways = append(said.Gateways, gateway{
			Replica:           g.Replica,
			UptimeS:           g.Uptime.Seconds(),
			Draining:          g.Draining,
			OpenStreamCount:   g.OpenStreamCount,
			WaitingImageCount: g.WaitingImageCount,
		})
	}
	return said
}

// fail writes down an error.
func (a *answer) fail(err error) {
	a.Error = &callError{
		Type:       strings.TrimPrefix(reflect.TypeOf(err).String(), "*"),
		Message:    err.Error(),
		Violations: []violation{},
	}
	var failure *leyden.Error
	if !errors.As(err, &failure) {
		return
	}
	a.Error.Type = fmt.Sprintf("Err%s", string(failure.Kind))
	a.Error.Code = leyden.Ptr(rpccode.Code(failure.Code).String())
	a.Error.Reason = failure.Reason
	a.Error.Metadata = failure.Metadata
	a.Error.Message = failure.Message
	for _, wrong := range failure.Violations {
		a.Error.Violations = append(a.Error.Violations, violation(wrong))
	}
	if failure.RetryAfter > 0 {
		a.Error.RetryAfterS = leyden.Ptr(failure.RetryAfter.Seconds())
	}
}
