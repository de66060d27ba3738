// SPDX-License-Identifier: Apache-2.0

package app

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/kubelet"
)

// kubeletPort is where a kubelet serves whose Node does not say so.
const kubeletPort = 10250

// configzOptions are how the agent asks its kubelet what it runs with: as its own service account, so only
// the token is taken from what it reaches the API server with.
func configzOptions(c *config.AgentConfiguration, nodeName string, rc *rest.Config, node func() (*corev1.Node, error)) (kubelet.ConfigzOptions, error) {
	authorities, err := authoritiesOf(c.Kubelet.CAFile, rc)
	if err != nil {
		return kubelet.ConfigzOptions{}, err
	}
	return kubelet.ConfigzOptions{
		Address: func() (string, []string, error) { return kubeletAddress(c.Kubelet.Address, nodeName, node) },
		Trust:   kubelet.Trust{RootDir: c.KubeletRootDir, Authorities: authorities, Insecure: c.Kubelet.InsecureSkipTLSVerify},
		Authenticate: func(transport http.RoundTripper) (http.RoundTripper, error) {
			return rest.HTTPWrappersForConfig(&rest.Config{
				BearerToken: rc.BearerToken, BearerTokenFile: rc.BearerTokenFile, UserAgent: rc.UserAgent,
			}, transport)
		},
	}, nil
}

// authoritiesOf are those of a file, or else the API server's; none where neither is given.
func authoritiesOf(file string, rc *rest.Config) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	data := rc.CAData
	if file == "" && len(data) == 0 {
		file = rc.CAFile
	}
	if file != "" {
		var err error
		if data, err = os.ReadFile(file); err != nil {
			return nil, fmt.Errorf("reading the authorities of kubelets' certificates (see kubelet.caFile in the configuration): %w", err)
		}
	}
	if len(data) > 0 && !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("reading the authorities of kubelets' certificates: no certificate in %s; see kubelet.caFile in the configuration", file)
	}
	return pool, nil
}

// kubeletAddress is where the node's kubelet serves, and the names that its certificate may be for.
func kubeletAddress(configured, nodeName string, getNode func() (*corev1.Node, error)) (address string, names []string, err error) {
	if configured != "" {
		host, _, err := net.SplitHostPort(configured)
		return configured, []string{nodeName, host}, err
	}
	node, err := getNode()
	if apierrors.IsNotFound(err) {
		return "", nil, fmt.Errorf("the Node is %w", kubelet.ErrNotYet)
	}
	if err != nil {
		return "", nil, err
	}
	port := node.Status.DaemonEndpoints.KubeletEndpoint.Port
	if port == 0 {
		port = kubeletPort
	}
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return net.JoinHostPort(a.Address, strconv.Itoa(int(port))), []string{nodeName, a.Address}, nil
		}
	}
	return "", nil, fmt.Errorf("asking the kubelet: the Node names no InternalIP; set kubelet.address in the agent's configuration")
}
