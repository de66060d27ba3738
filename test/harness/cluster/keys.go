package cluster

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

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// validity of every certificate: longer than any test or demo, short enough to be worthless after.
const validity = 30 * 24 * time.Hour

// authority signs the cluster's certificates.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
	pem         []byte
}

// writeKeys makes the CA, every certificate, the service account key and the kubeconfigs that a
// start needs. One CA serves the API and etcd: what it signs for clients is trusted by both, so it
// signs for nobody but the control plane and the admin.
func (c *Cluster) writeKeys(address string) error {
	c.address = address
	if err := os.MkdirAll(c.path("pki"), 0o700); err != nil {
		return fmt.Errorf("making the folder of keys: %w", err)
	}
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	c.ca = ca
	if err := os.WriteFile(c.path("pki", "ca.crt"), ca.pem, 0o644); err != nil {
		return fmt.Errorf("writing the CA certificate: %w", err)
	}
	serviceAccounts, err := newKey()
	if err != nil {
		return err
	}
	if err := writeKey(c.path("pki", "sa.key"), serviceAccounts); err != nil {
		return err
	}
	for _, certificate := range []struct {
		name    string
		subject pkix.Name
		usage   x509.ExtKeyUsage
	}{
		{"etcd", pkix.Name{CommonName: "etcd"}, x509.ExtKeyUsageServerAuth},
		{"etcd-client", pkix.Name{CommonName: "kube-apiserver"}, x509.ExtKeyUsageClientAuth},
		{"apiserver", pkix.Name{CommonName: "kube-apiserver"}, x509.ExtKeyUsageServerAuth},
		{"admin", pkix.Name{CommonName: "corepin-setup", Organization: []string{"system:masters"}}, x509.ExtKeyUsageClientAuth},
		{"controller-manager", pkix.Name{CommonName: "system:kube-controller-manager"}, x509.ExtKeyUsageClientAuth},
	} {
		if err := c.ca.issue(c.path("pki", certificate.name), certificate.subject, certificate.usage); err != nil {
			return err
		}
	}
	for _, name := range []string{"admin", "controller-manager"} {
		user := clientcmdapi.AuthInfo{ClientCertificate: c.path("pki", name+".crt"), ClientKey: c.path("pki", name+".key")}
		if err := c.writeKubeconfig(c.path(name+".kubeconfig"), c.address, user); err != nil {
			return err
		}
	}
	return nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return key, nil
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
		NotAfter:     now.Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}, nil
}

func newAuthority() (*authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	cert, err := template(pkix.Name{CommonName: "corepin test cluster"})
	if err != nil {
		return nil, err
	}
	cert.IsCA, cert.BasicConstraintsValid = true, true
	cert.KeyUsage |= x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the CA certificate: %w", err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("making the CA certificate: %w", err)
	}
	return &authority{certificate: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

// issue writes path.crt and path.key. Serving certificates are for loopback, and for the API server's
// service address, where pods expect it.
func (a *authority) issue(path string, subject pkix.Name, usage x509.ExtKeyUsage) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	cert, err := template(subject)
	if err != nil {
		return err
	}
	cert.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	if usage == x509.ExtKeyUsageServerAuth {
		cert.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default.svc"}
		cert.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, a.certificate, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("signing the certificate %s: %w", filepath.Base(path), err)
	}
	if err := os.WriteFile(path+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return fmt.Errorf("writing a certificate: %w", err)
	}
	return writeKey(path+".key", key)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding the key %s: %w", filepath.Base(path), err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	return nil
}

// writeKubeconfig writes a kubeconfig with one cluster, user and context; only its owner may read it. server is the API
// server's address.
func (c *Cluster) writeKubeconfig(path, server string, user clientcmdapi.AuthInfo) error {
	const name = "corepin-test"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: "https://" + server, CertificateAuthorityData: c.ca.pem}
	config.AuthInfos[name] = &user
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	data, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("encoding the kubeconfig %s: %w", filepath.Base(path), err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return nil
}

func loadKubeconfig(path string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig %s: %w", path, err)
	}
	return config, nil
}
