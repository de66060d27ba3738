// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"corepin.dev/corepin/test/harness/pki"
)

// AdminKubeconfig is the path of the kubeconfig for setting up; see AdminConfig.
func (c *Cluster) AdminKubeconfig() string { return c.path("admin.kubeconfig") }

// ServiceAccountKubeconfig writes a kubeconfig that acts as the service account, which must exist,
// and returns its path. Only its owner may read the file. The token comes from the TokenRequest API
// and lives as long as the cluster's certificates: a kubelet would renew it, and there is none.
func (c *Cluster) ServiceAccountKubeconfig(ctx context.Context, namespace, name string) (string, error) {
	return c.tokenKubeconfig(ctx, namespace, name, namespace+"."+name, nil)
}

// PodKubeconfig is ServiceAccountKubeconfig for a pod, which must exist: the token is the one that the
// kubelet would give it. It says which pod and which node it is for, and is good for nothing once the pod
// is gone.
func (c *Cluster) PodKubeconfig(ctx context.Context, pod *corev1.Pod) (string, error) {
	bound := &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID}
	return c.tokenKubeconfig(ctx, pod.Namespace, pod.Spec.ServiceAccountName, pod.Namespace+"."+pod.Name, bound)
}

// NodeBoundKubeconfig is ServiceAccountKubeconfig for what runs on a node beside its kubelet: the token says which node it
// is for, as that of a DaemonSet's pod does. The Node must exist.
func (c *Cluster) NodeBoundKubeconfig(ctx context.Context, namespace, name, node string) (string, error) {
	object, err := c.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("finding node %s for a token of %s/%s: %w", node, namespace, name, err)
	}
	bound := &authenticationv1.BoundObjectReference{Kind: "Node", APIVersion: "v1", Name: node, UID: object.UID}
	return c.tokenKubeconfig(ctx, namespace, name, namespace+"."+name+"."+node, bound)
}

func (c *Cluster) tokenKubeconfig(ctx context.Context, namespace, account, file string, bound *authenticationv1.BoundObjectReference) (string, error) {
	seconds := int64(pki.Validity.Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds, BoundObjectRef: bound}}
	answer, err := c.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("requesting a token for service account %s/%s: %w", namespace, account, err)
	}
	path := c.path(file + ".kubeconfig")
	return path, c.writeKubeconfig(path, c.front, clientcmdapi.AuthInfo{Token: answer.Status.Token})
}

// Kubectl runs the kubectl of the cluster's own version as the admin and returns its standard
// output. The user's own settings of kubectl are not read.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, c.options.Binary, append([]string{"kubectl"}, args...)...)
	command.Env = append(os.Environ(), "KUBECONFIG="+c.AdminKubeconfig(), "KUBERC=off")
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("running kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
