package leyden

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"leyden.ai/leyden-go/leydenv1"
)

// DefaultTarget is where a server is that was not told otherwise.
const DefaultTarget = "127.0.0.1:8001"

// For how long whoever leaves a generation waits for the server to hear of it.
const longestCancel = 2 * time.Second

// Client is the client of one Leyden server. It may be used by several goroutines at once, and all
// of its calls share one connection.
type Client struct {
	conn   *grpc.ClientConn
	images leydenv1.ImageGenerationServiceClient
	models leydenv1.ModelServiceClient
	health healthpb.HealthClient

	// Ends once the client is closed, and ends what still streams.
	closing    context.Context
	endStreams context.CancelFunc

	mu        sync.Mutex
	closed    bool
	lingering map[*following]struct{}
}

// NewClient returns a client of the server at target: host:port, or any name that gRPC resolves.
//
// It connects at the first call. Without an option the connection is plaintext. The error is one of
// an option: a file that cannot be read, or an API key that cannot be one.
func NewClient(target string, options ...Option) (*Client, error) {
	dialOptions, err := dialOptions(options)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(target, dialOptions...)
	if err != nil {
		return nil, err
	}
	closing, endStreams := context.WithCancel(context.Background())
	return &Client{
		conn:       conn,
		images:     leydenv1.NewImageGenerationServiceClient(conn),
		models:     leydenv1.NewModelServiceClient(conn),
		health:     healthpb.NewHealthClient(conn),
		closing:    closing,
		endStreams: endStreams,
		lingering:  make(map[*following]struct{}),
	}, nil
}

// Conn returns the connection, for stubs of [leydenv1] whose calls the Client has not. An API key
// goes with their calls too.
func (c *Client) Conn() grpc.ClientConnInterface { return c.conn }

// Close closes the connection, and cancels the generations that were started and still run. Their
// calls end with [ErrGenerationCancelled]. Closing again does nothing.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	left := slices.Collect(maps.Keys(c.lingering))
	c.mu.Unlock()

	var cancels sync.WaitGroup
	for _, f := range left {
		cancels.Go(func() { c.cancelLeft(context.Background(), f) })
	}
	cancels.Wait()
	c.endStreams()
	return c.conn.Close()
}

// Cancel ends a generation at once; who watches it gets [ErrGenerationCancelled]. One that has ended and is
// kept stays as it is. The error is [ErrGenerationNotFound] where it is not known.
func (c *Client) Cancel(ctx context.Context, requestID string) error {
	_, err := unary(ctx, c, c.images.CancelGeneration,
		&leydenv1.CancelGenerationRequest{RequestId: requestID})
	return err
}

// unary makes a call of one request and one response, with an error that means what it is.
func unary[Request, Response any](
	ctx context.Context,
	c *Client,
	method func(context.Context, Request, ...grpc.CallOption) (Response, error),
	request Request,
) (Response, error) {
	if c.isClosed() {
		var none Response
		return none, ErrClosed
	}
	response, err := method(ctx, request)
	return response, c.typed(ctx, err)
}

// typed returns the error of a call that was made, as what it means to the caller.
func (c *Client) typed(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	failure := errorOfCall(ctx, err)
	if failure.Kind == ErrGenerationCancelled && c.isClosed() {
		return closedWhileRunning()
	}
	return failure
}

func (c *Client) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// remember notes a generation that Close has to cancel. It says whether the client is still open.
func (c *Client) remember(f *following) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	if f.lingers() {
		c.lingering[f] = struct{}{}
	}
	return true
}

func (c *Client) forget(f *following) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.lingering, f)
}

// cancelLeft cancels a generation that its reader leaves; what goes wrong changes nothing more. It
// outlives ctx, whose end may be the leaving.
func (c *Client) cancelLeft(ctx context.Context, f *following) {
	if !f.isKnownToBeOurs() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestCancel)
	defer cancel()
	_, _ = c.images.CancelGeneration(
		ctx, &leydenv1.CancelGenerationRequest{RequestId: f.requestID},
	)
}
