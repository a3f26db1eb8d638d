package leyden

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

const firstHealthPause = 50 * time.Millisecond

// WaitUntilReady waits until the server says that it serves. A server that is not there yet, loads or
// drains is waited for, until ctx ends. The error's code is Unimplemented where no health service
// answers.
func (c *Client) WaitUntilReady(ctx context.Context) error {
	for pause := firstHealthPause; ; pause = min(2*pause, longestPause) {
		if c.isClosed() {
			return ErrClosed
		}
		serves, err := c.serves(ctx)
		// An unavailable server was lost while it was watched: it may come back.
		if err != nil && !errors.Is(err, ErrUnavailable) {
			return err
		}
		if serves {
			return nil
		}
		// Whatever ends watches at once must not be flooded with new ones.
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// serves watches the health until it is SERVING (true), or the server ends the watch (false).
func (c *Client) serves(ctx context.Context) (bool, error) {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.closing, cancel)()
	// The empty name is the whole server.
	stream, err := c.health.Watch(watching, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	for err == nil {
		var health *healthpb.HealthCheckResponse
		health, err = stream.Recv()
		if health.GetStatus() == healthpb.HealthCheckResponse_SERVING {
			return true, nil
		}
	}
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return false, c.typed(ctx, err)
}
