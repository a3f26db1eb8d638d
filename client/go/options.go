package leyden

import (
	"crypto/tls"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// Option is an option of [NewClient].
type Option func(*settings) error

type settings struct {
	transport credentials.TransportCredentials
	dial      []grpc.DialOption
}

// WithTLS turns on TLS. A nil config believes the certificates that this machine believes; one with
// a certificate of its own gives it where the server asks for it (mutual TLS).
func WithTLS(config *tls.Config) Option {
	return func(s *settings) error {
		s.transport = credentials.NewTLS(config)
		return nil
	}
}

// WithTLSFiles turns on TLS by the files of f.
func WithTLSFiles(f TLSFiles) Option {
	return func(s *settings) error {
		config, err := f.config()
		if err != nil {
			return err
		}
		s.transport = credentials.NewTLS(config)
		return nil
	}
}

// WithAPIKey sends an API key with every call. Over a network use it with TLS, or everybody on the
// way reads it. The error of a key that cannot be one does not show it.
func WithAPIKey(key string) Option {
	return func(s *settings) error {
		if !isPrintableWord(key) {
			return errors.New("leyden: an API key is one word of printable ASCII characters")
		}
		s.dial = append(s.dial, grpc.WithPerRPCCredentials(bearer(key)))
		return nil
	}
}

// WithDialOptions passes options on to gRPC. They win over this client's own: a stats handler for
// traces, an interceptor, other keepalive times.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) error {
		s.dial = append(s.dial, options...)
		return nil
	}
}

func dialOptions(options []Option) ([]grpc.DialOption, error) {
	s := settings{transport: insecure.NewCredentials()}
	for _, option := range options {
		if err := option(&s); err != nil {
			return nil, err
		}
	}
	own := []grpc.DialOption{
		grpc.WithTransportCredentials(s.transport),
		grpc.WithUserAgent("leyden-go/" + Version),
		// A server that vanished is noticed within 30 s, however long a stream is silent, and
		// between calls too. Leyden allows a ping every 5 s; a gRPC server that is not told so
		// refuses under 5 minutes.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time:                15 * time.Second,
			Timeout:             15 * time.Second,
			PermitWithoutStream: true,
		}),
		// A server that comes back is found while a generation lingers.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay:  200 * time.Millisecond,
				Multiplier: 1.6,
				Jitter:     0.2,
				MaxDelay:   2 * time.Second,
			},
			MinConnectTimeout: 20 * time.Second,
		}),
	}
	return append(own, s.dial...), nil
}

func isPrintableWord(key string) bool {
	return key != "" && !strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' })
}
