// SPDX-License-Identifier: Apache-2.0

// Package pki makes the certificates of test clusters: authorities, and what they sign, as files in PEM.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Validity of every certificate: longer than any test or demo, short enough to be worthless after.
const Validity = 30 * 24 * time.Hour

// Authority signs certificates.
type Authority struct {
	// PEM is its own certificate.
	PEM []byte

	certificate *x509.Certificate
	key         crypto.Signer
}

// NewAuthority makes an authority of that name, with a key of its own.
func NewAuthority(name string) (*Authority, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	cert, err := template(pkix.Name{CommonName: name})
	if err != nil {
		return nil, err
	}
	cert.IsCA = true
	cert.BasicConstraintsValid = true
	cert.KeyUsage |= x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the CA certificate: %w", err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("making the CA certificate: %w", err)
	}
	return &Authority{certificate: cert, key: key, PEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

// IssueClient writes path.crt and path.key, with which a client says who it is.
func (a *Authority) IssueClient(path string, subject pkix.Name) error {
	cert, err := template(subject)
	if err != nil {
		return err
	}
	cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.issue(path, cert)
}

// IssueServer writes path.crt and path.key for a server on loopback, that is also found under the names and addresses.
func (a *Authority) IssueServer(path string, subject pkix.Name, names []string, addresses ...net.IP) error {
	cert, err := template(subject)
	if err != nil {
		return err
	}
	cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	cert.DNSNames = append([]string{"localhost"}, names...)
	cert.IPAddresses = append([]net.IP{net.IPv4(127, 0, 0, 1)}, addresses...)
	return a.issue(path, cert)
}

func (a *Authority) issue(path string, cert *x509.Certificate) error {
	key, err := NewKey()
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, a.certificate, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("signing the certificate %s: %w", filepath.Base(path), err)
	}
	if err := os.WriteFile(path+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return fmt.Errorf("writing a certificate: %w", err)
	}
	return WriteKey(path+".key", key)
}

// NewKey makes a private key.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return key, nil
}

// WriteKey writes a private key, which only its owner may read.
func WriteKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding the key %s: %w", filepath.Base(path), err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	return nil
}

// template is what all certificates share. Clocks of one machine agree, but a certificate that
// starts this very second is refused by whoever rounds.
func template(subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(Validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}, nil
}
