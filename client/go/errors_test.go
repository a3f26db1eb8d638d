package leyden_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"leyden.ai/leyden-go"
)

func failed(t *testing.T, err error) *leyden.Error {
	t.Helper()
	server := newServer(script{err: err})
	_, err = server.client(t).GenerateImage(t.Context(), request)
	var failure *leyden.Error
	if !errors.As(err, &failure) {
		t.Fatalf("got %v", err)
	}
	return failure
}

func TestErrorCarriesWhatTheServerSaid(t *testing.T) {
	err := failed(t, failure(codes.InvalidArgument, "INVALID_FIELD", &errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: "width_px", Description: "must be a multiple of 8"},
		},
	}))
	equal(t, "violations", err.Violations, []leyden.FieldViolation{
		{Field: "width_px", Description: "must be a multiple of 8"},
	})
	equal(t, "reason", err.Reason, "INVALID_FIELD")
	equal(t, "text", err.Error(), "leyden: it failed; width_px: must be a multiple of 8")
	equal(t, "status.Code", status.Code(err), codes.InvalidArgument)

	err = failed(t, failure(codes.ResourceExhausted, "QUEUE_FULL",
		&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)}))
	equal(t, "retry after", err.RetryAfter, 1500*time.Millisecond)
	equal(t, "kind", err.Kind, leyden.ErrOverloaded)
}

func TestKindsAreFoundByErrorsIs(t *testing.T) {
	for _, test := range []struct {
		err   error
		kinds []error
	}{
		{failure(codes.NotFound, "GENERATION_NOT_FOUND"),
			[]error{leyden.ErrGenerationNotFound, leyden.ErrNotFound}},
		{failure(codes.NotFound, "MODEL_NOT_FOUND"), []error{leyden.ErrNotFound}},
		{failure(codes.FailedPrecondition, "MODEL_LOAD_FAILED"),
			[]error{leyden.ErrModelLoad, leyden.ErrFailedPrecondition}},
		{failure(codes.ResourceExhausted, "OUT_OF_MEMORY"), []error{leyden.ErrOutOfMemory}},
		{failure(codes.OutOfRange, "EVENTS_EXPIRED"), []error{leyden.ErrEventsExpired}},
		{status.Error(codes.ResourceExhausted, "Received message larger than max (5 vs. 4)"),
			[]error{leyden.ErrMessageTooLarge}},
		{status.Error(codes.DataLoss, "?"), []error{leyden.ErrRPC}},
	} {
		err := failed(t, test.err)
		for _, kind := range test.kinds {
			if !errors.Is(err, kind) {
				t.Errorf("%v is %v, not %v", err, err.Kind, kind)
			}
		}
		if errors.Is(err, leyden.ErrOverloaded) {
			t.Errorf("%v is ErrOverloaded", err)
		}
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	folder := t.TempDir()
	empty := filepath.Join(folder, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, option := range []leyden.Option{
		leyden.WithAPIKey("se cret"),
		leyden.WithAPIKey(""),
		leyden.WithTLSFiles(leyden.TLSFiles{RootCertificates: filepath.Join(folder, "none.pem")}),
		leyden.WithTLSFiles(leyden.TLSFiles{RootCertificates: empty}),
		leyden.WithTLSFiles(leyden.TLSFiles{Certificate: empty}),
	} {
		client, err := leyden.NewClient("127.0.0.1:1", option)
		if err == nil {
			t.Error("no error", client.Close())
		} else if strings.Contains(err.Error(), "se cret") {
			t.Errorf("%v shows the key", err)
		}
	}
}

func TestSaveLeavesTheWholeFileAlone(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "out.png")
	for _, data := range []string{"first", "second"} {
		picture := &leyden.Image{Data: []byte(data)}
		equal(t, "error", picture.Save(path), nil)
		got, err := os.ReadFile(path)
		equal(t, "file", string(got), data)
		equal(t, "error", err, nil)
	}
	entries, err := os.ReadDir(folder)
	equal(t, "files", len(entries), 1)
	equal(t, "error", err, nil)
	if err := (&leyden.Image{}).Save(filepath.Join(folder, "none", "out.png")); err == nil {
		t.Error("a folder that is not there is no error")
	}
}
