// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	sumsFile     = "SHA256SUMS"
	sumsSignFile = sumsFile + ".sig"
)

// sums writes the checksums of all files of dir as sha256sum prints them, and signs them where keyFile is not "".
func sums(dir, keyFile string) error {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return err
	}
	var text []byte
	for _, entry := range entries {
		if entry.Name() == sumsFile || entry.Name() == sumsSignFile {
			continue // of this folder before it was signed
		}
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return err
		}
		text = fmt.Appendf(text, "%x  %s\n", sha256.Sum256(data), entry.Name())
	}
	if err := os.WriteFile(filepath.Join(dir, sumsFile), text, 0o644); err != nil {
		return err
	}
	if keyFile == "" {
		return nil
	}
	signature, err := sign(text, keyFile)
	if err != nil {
		return fmt.Errorf("signing %s with the key in %s: %w", sumsFile, keyFile, err)
	}
	return os.WriteFile(filepath.Join(dir, sumsSignFile), signature, 0o644)
}

// sign signs text as `cosign sign-blob --key` does: ECDSA over SHA-256, in base64. So users have a choice of programs to
// verify it with: cosign verify-blob, or openssl dgst -sha256 -verify.
func sign(text []byte, keyFile string) ([]byte, error) {
	data, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("it is not in PEM")
	}
	if strings.Contains(block.Type, "ENCRYPTED") {
		return nil, fmt.Errorf("it is encrypted (%s); give one that is not, as openssl ecparam -name prime256v1 -genkey -noout makes it", block.Type)
	}
	key, err := privateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(text)
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return []byte(base64.StdEncoding.EncodeToString(signature)), nil
}

// privateKey reads a key as openssl ecparam and openssl genpkey write it.
func privateKey(der []byte) (*ecdsa.PrivateKey, error) {
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("it is a %T, and has to be one for ECDSA; make one with openssl ecparam -name prime256v1 -genkey -noout", parsed)
	}
	return key, nil
}
