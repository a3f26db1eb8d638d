package leyden

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLSFiles names the PEM files of a TLS connection.
type TLSFiles struct {
	// RootCertificates has whom to believe that the server is who it says. Empty: whom this
	// machine believes.
	RootCertificates string
	// Certificate is ours, and those up to one that the server believes, where it asks for one
	// (mutual TLS).
	Certificate string
	// PrivateKey is the key of Certificate. Both are given, or neither.
	PrivateKey string
}

func (f TLSFiles) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.RootCertificates != "" {
		pem, err := os.ReadFile(f.RootCertificates)
		if err != nil {
			return nil, fmt.Errorf("leyden: root certificates: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("leyden: %s has no certificate as PEM", f.RootCertificates)
		}
	}
	if (f.Certificate == "") != (f.PrivateKey == "") {
		return nil, errors.New("leyden: a certificate and its private key are given both, or neither")
	}
	if f.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(f.Certificate, f.PrivateKey)
		if err != nil {
			return nil, fmt.Errorf("leyden: client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// bearer sends an API key with every call.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// A server on this machine may want a key over plaintext.
func (bearer) RequireTransportSecurity() bool { return false }
