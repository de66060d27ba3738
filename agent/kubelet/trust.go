// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
)

// Trust says which certificates are taken for the kubelet's. An impostor on the way to the kubelet's port
// would get the agent's token, so nothing is sent before the certificate has been verified.
//
// Most kubelets sign their serving certificate themselves, and no authority vouches for it. But the agent
// reads the kubelet's own directory, where only root writes: a certificate that lies there is the
// kubelet's. So both kinds are verified without any configuration.
type Trust struct {
	// RootDir is the kubelet's root directory. The certificates in its pki directory are trusted as they
	// are.
	RootDir string
	// Authorities sign other certificates; those must be for one of the names the kubelet has.
	Authorities *x509.CertPool
	// Insecure takes every certificate. Then whoever is at the kubelet's address gets the token.
	Insecure bool
}

// ownCertificates are the kubelet's serving certificates in its root directory. kubelet.crt is the one that it
// signed itself. The others were signed for it (serverTLSBootstrap). They are chosen by date, since the link
// to the current one has a path of the host (InitializeTLS in cmd/kubelet/app/server.go and
// pkg/kubelet/certificate/kubelet.go, v1.36.3).
var ownCertificates = []string{"kubelet.crt", "kubelet-server-*.pem"}

func (t Trust) tlsConfig(certFile string, names []string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Verified below instead: by names, or by being the very certificate on this node's disk.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if t.Insecure {
				return nil
			}
			return t.verify(state.PeerCertificates, certFile, names)
		},
	}
}

func (t Trust) verify(presented []*x509.Certificate, certFile string, names []string) error {
	if len(presented) == 0 {
		return errors.New("the kubelet presents no certificate")
	}
	leaf := presented[0]
	for _, own := range t.own(certFile) {
		if leaf.Equal(own) {
			return nil
		}
	}
	options := x509.VerifyOptions{Roots: t.Authorities, Intermediates: x509.NewCertPool()}
	for _, intermediate := range presented[1:] {
		options.Intermediates.AddCert(intermediate)
	}
	err := errors.New("no name to look for in it")
	for _, options.DNSName = range names {
		if _, err = leaf.Verify(options); err == nil {
			return nil
		}
	}
	return fmt.Errorf("its certificate is neither in %s nor from a known authority (%w); set kubelet.caFile in the agent's configuration",
		filepath.Join(t.RootDir, "pki"), err)
}

// own are the certificates that lie in the kubelet's directory, and in the file that its configuration
// names. Files that cannot be read are none: the connection then fails, and says so.
func (t Trust) own(certFile string) []*x509.Certificate {
	var files []string
	if certFile != "" {
		files = append(files, certFile)
	}
	for _, pattern := range ownCertificates {
		// The only error is that of a bad pattern, and these are good.
		found, _ := filepath.Glob(filepath.Join(t.RootDir, "pki", pattern))
		files = append(files, found...)
	}
	var all []*x509.Certificate
	for _, file := range files {
		data, err := readFile(file)
		if err != nil {
			continue
		}
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != "CERTIFICATE" { // the key may be in the same file
				continue
			}
			if certificate, err := x509.ParseCertificate(block.Bytes); err == nil {
				all = append(all, certificate)
			}
		}
	}
	return all
}
