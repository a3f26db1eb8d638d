package leyden_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"leyden.ai/leyden-go"
	"leyden.ai/leyden-go/leydenv1"
)

// script is what a call that streams sends: its events, and then its end.
type script struct {
	events []*leydenv1.GenerateImageResponse
	// Ends the call; nil: OK.
	err error
	// Sends nothing more after the events until the client has gone.
	holds bool
}

// scriptedServer is a real gRPC server whose replies a test writes down beforehand. Of each kind of
// call the scripts are used one after another, the last one for ever.
type scriptedServer struct {
	leydenv1.UnimplementedImageGenerationServiceServer
	leydenv1.UnimplementedModelServiceServer

	generates, watchings []script
	target               string

	mu       sync.Mutex
	requests []*leydenv1.GenerateImageRequest
	watches  []*leydenv1.WatchGenerationRequest
	cancels  []string
	// Has an element for each call whose client left it while it held.
	left chan struct{}
}

func newServer(generates ...script) *scriptedServer {
	return &scriptedServer{generates: generates, left: make(chan struct{}, 100)}
}

func (s *scriptedServer) start() (stop func()) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer()
	leydenv1.RegisterImageGenerationServiceServer(server, s)
	leydenv1.RegisterModelServiceServer(server, s)
	s.target = listener.Addr().String()
	go func() { _ = server.Serve(listener) }()
	return server.Stop
}

// client starts the server and returns a client of it.
func (s *scriptedServer) client(t *testing.T) *leyden.Client {
	t.Helper()
	t.Cleanup(s.start())
	client, err := leyden.NewClient(s.target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (s *scriptedServer) GenerateImage(
	request *leydenv1.GenerateImageRequest,
	stream grpc.ServerStreamingServer[leydenv1.GenerateImageResponse],
) error {
	s.mu.Lock()
	s.requests = append(s.requests, request)
	next := s.generates[min(len(s.requests), len(s.generates))-1]
	s.mu.Unlock()
	return s.play(next, request.GetRequestId(), stream)
}

func (s *scriptedServer) WatchGeneration(
	request *leydenv1.WatchGenerationRequest,
	stream grpc.ServerStreamingServer[leydenv1.GenerateImageResponse],
) error {
	s.mu.Lock()
	s.watches = append(s.watches, request)
	next := script{err: failure(codes.NotFound, "GENERATION_NOT_FOUND")}
	if len(s.watchings) > 0 {
		next = s.watchings[min(len(s.watches), len(s.watchings))-1]
	}
	s.mu.Unlock()
	return s.play(next, request.GetRequestId(), stream)
}

func (s *scriptedServer) CancelGeneration(
	_ context.Context, request *leydenv1.CancelGenerationRequest,
) (*leydenv1.CancelGenerationResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancels = append(s.cancels, request.GetRequestId())
	return &leydenv1.CancelGenerationResponse{}, nil
}

func (s *scriptedServer) ListModels(
	context.Context, *leydenv1.ListModelsRequest,
) (*leydenv1.ListModelsResponse, error) {
	return &leydenv1.ListModelsResponse{Models: []*leydenv1.Model{{
		Name:          "tiny",
		State:         leydenv1.ModelState_MODEL_STATE_READY,
		Solvers:       []leydenv1.Solver{leydenv1.Solver_SOLVER_EULER},
		OutputFormats: []leydenv1.OutputFormat{leydenv1.OutputFormat_OUTPUT_FORMAT_PNG},
	}}}, nil
}

func (s *scriptedServer) play(
	script script, requestID string, stream grpc.ServerStreamingServer[leydenv1.GenerateImageResponse],
) error {
	for _, event := range script.events {
		event = proto.CloneOf(event)
		event.RequestId = requestID
		if err := stream.Send(event); err != nil {
			break // the client has gone
		}
	}
	if script.holds {
		<-stream.Context().Done()
		s.left <- struct{}{}
		return status.FromContextError(stream.Context().Err()).Err()
	}
	return script.err
}

// seen returns what came so far.
func (s *scriptedServer) seen() (
	requests []*leydenv1.GenerateImageRequest,
	watches []*leydenv1.WatchGenerationRequest,
	cancels []string,
) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests, s.watches, s.cancels
}

// broken is what a connection that breaks in the midst of a stream looks like.
var broken = status.Error(codes.Unavailable, "error reading from server: EOF")

// failure is a status as a Leyden server gives it.
func failure(code codes.Code, reason string, details ...protoadapt.MessageV1) error {
	details = append(details, &errdetails.ErrorInfo{Domain: "leyden", Reason: reason})
	s, err := status.New(code, "it failed").WithDetails(details...)
	if err != nil {
		panic(err)
	}
	return s.Err()
}

// numbered gives events the indices of their order.
func numbered(events ...*leydenv1.GenerateImageResponse) []*leydenv1.GenerateImageResponse {
	for index, event := range events {
		event.EventIndex = int64(index)
	}
	return events
}

func queued() *leydenv1.GenerateImageResponse {
	return &leydenv1.GenerateImageResponse{
		Event: &leydenv1.GenerateImageResponse_Queued{Queued: &leydenv1.Queued{Position: 2}},
	}
}

func textEncoded() *leydenv1.GenerateImageResponse {
	return &leydenv1.GenerateImageResponse{Event: &leydenv1.GenerateImageResponse_TextEncoded{
		TextEncoded: &leydenv1.TextEncoded{TokenCount: 9},
	}}
}

func progress(imageIndex, step int32) *leydenv1.GenerateImageResponse {
	return &leydenv1.GenerateImageResponse{Event: &leydenv1.GenerateImageResponse_DenoiseProgress{
		DenoiseProgress: &leydenv1.DenoiseProgress{
			ImageIndex: imageIndex, Step: step, TotalSteps: 2,
		},
	}}
}

// image is the event of an image of so many bytes; without data chunks follow.
func image(imageIndex int32, size int, data []byte) *leydenv1.GenerateImageResponse {
	return &leydenv1.GenerateImageResponse{Event: &leydenv1.GenerateImageResponse_Image{
		Image: &leydenv1.Image{
			ImageIndex: imageIndex,
			Seed:       7 + int64(imageIndex),
			Format:     leydenv1.OutputFormat_OUTPUT_FORMAT_PNG,
			SizeBytes:  int64(size),
			Data:       data,
		},
	}}
}

func chunk(imageIndex int32, offset int64, data string, last bool) *leydenv1.GenerateImageResponse {
	return &leydenv1.GenerateImageResponse{Event: &leydenv1.GenerateImageResponse_ImageChunk{
		ImageChunk: &leydenv1.ImageChunk{
			ImageIndex: imageIndex, OffsetBytes: offset, Data: []byte(data), Last: last,
		},
	}}
}

func summary() *leydenv1.GenerateImageResponse {
	return &leydenv1.GenerateImageResponse{Event: &leydenv1.GenerateImageResponse_Summary{
		Summary: &leydenv1.Summary{Model: "tiny"},
	}}
}

// whole are the events of a generation of one image in two steps that goes well.
func whole() []*leydenv1.GenerateImageResponse {
	return numbered(
		queued(), textEncoded(), progress(0, 1), progress(0, 2),
		image(0, 6, []byte("pixels")), summary(),
	)
}
