// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"crypto/x509/pkix"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// NodeKubeconfig writes a kubeconfig that acts as the kubelet of that node and returns its path. The
// node authorizer and NodeRestriction then hold it to what a kubelet may do: its own Node, the pods
// bound to it.
func (c *Cluster) NodeKubeconfig(node string) (string, error) {
	files := c.path("pki", "node-"+node)
	subject := pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}
	if err := c.ca.IssueClient(files, subject); err != nil {
		return "", err
	}
	path := c.path("node-" + node + ".kubeconfig")
	return path, c.writeKubeconfig(path, c.front, clientcmdapi.AuthInfo{ClientCertificate: files + ".crt", ClientKey: files + ".key"})
}
