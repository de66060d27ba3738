// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"crypto/x509/pkix"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"corepin.dev/corepin/test/harness/pki"
)

// writeKeys makes the CA, every certificate, the service account key and the kubeconfigs that a
// start needs. One CA serves the API and etcd: what it signs for clients is trusted by both, so it
// signs for nobody but the control plane and the admin.
func (c *Cluster) writeKeys(address string) error {
	c.address = address
	if err := os.MkdirAll(c.path("pki"), 0o700); err != nil {
		return fmt.Errorf("making the folder of keys: %w", err)
	}
	ca, err := pki.NewAuthority("corepin test cluster")
	if err != nil {
		return err
	}
	c.ca = ca
	if err := os.WriteFile(c.path("pki", "ca.crt"), ca.PEM, 0o644); err != nil {
		return fmt.Errorf("writing the CA certificate: %w", err)
	}
	if err := c.writeFrontProxy(); err != nil {
		return err
	}
	serviceAccounts, err := pki.NewKey()
	if err != nil {
		return err
	}
	if err := pki.WriteKey(c.path("pki", "sa.key"), serviceAccounts); err != nil {
		return err
	}
	for _, name := range []string{"etcd", "apiserver"} {
		if err := ca.IssueServer(c.path("pki", name), pkix.Name{CommonName: name}, serverNames, serviceAddress); err != nil {
			return err
		}
	}
	for name, subject := range map[string]pkix.Name{
		"etcd-client":        {CommonName: "kube-apiserver"},
		"admin":              {CommonName: "corepin-setup", Organization: []string{"system:masters"}},
		"controller-manager": {CommonName: "system:kube-controller-manager"},
	} {
		if err := ca.IssueClient(c.path("pki", name), subject); err != nil {
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

// Where pods expect the API server, beside loopback.
var (
	serverNames    = []string{"kubernetes", "kubernetes.default.svc"}
	serviceAddress = net.IPv4(10, 96, 0, 1)
)

// writeFrontProxy makes the certificate with which the API server speaks for users to an aggregated one, such as KubeVirt's
// virt-api. Its CA is one of its own: what it signs may speak for everybody.
func (c *Cluster) writeFrontProxy() error {
	front, err := pki.NewAuthority("corepin test cluster front proxy")
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.path("pki", "front-proxy-ca.crt"), front.PEM, 0o644); err != nil {
		return fmt.Errorf("writing the front proxy's CA certificate: %w", err)
	}
	return front.IssueClient(c.path("pki", "front-proxy-client"), pkix.Name{CommonName: frontProxy})
}

// writeKubeconfig writes a kubeconfig with one cluster, user and context; only its owner may read it. server is the API
// server's address.
func (c *Cluster) writeKubeconfig(path, server string, user clientcmdapi.AuthInfo) error {
	const name = "corepin-test"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: "https://" + server, CertificateAuthorityData: c.ca.PEM}
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
