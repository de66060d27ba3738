// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/process"
)

// controllers are the parts of kube-controller-manager that run. Left out on purpose: the ones that
// make pods of workloads (see the package comment), and those that need a cloud, volumes or
// networks, which would only cost memory.
var controllers = []string{
	"clusterrole-aggregation-controller",
	"disruption-controller", // budgets, for preemption
	"garbage-collector-controller",
	"namespace-controller",
	"node-lifecycle-controller",
	"pod-garbage-collector-controller",
	"root-ca-certificate-publisher-controller",
	"serviceaccount-controller",
	"taint-eviction-controller",
	"validatingadmissionpolicy-status-controller",
}

// frontProxy is the API server's name towards aggregated ones.
const frontProxy = "front-proxy-client"

func (c *Cluster) startEtcd(client, peer string) error {
	_, err := c.run(process.Command{Name: "etcd", Path: c.options.Binary, Args: []string{
		"etcd",
		"--data-dir=" + c.path("etcd"),
		"--listen-client-url=https://" + client,
		"--listen-peer-url=http://" + peer,
		"--cert-file=" + c.path("pki", "etcd.crt"),
		"--key-file=" + c.path("pki", "etcd.key"),
		"--trusted-ca-file=" + c.path("pki", "ca.crt"),
	}})
	return err
}

// startAPIServer does not wait for etcd first: the server waits for it, and initializes meanwhile.
func (c *Cluster) startAPIServer(ctx context.Context, etcd string) error {
	host, port, err := net.SplitHostPort(c.address)
	if err != nil {
		return fmt.Errorf("reading the API server's address: %w", err)
	}
	server, err := c.run(process.Command{Name: "kube-apiserver", Path: c.options.Binary, Args: slices.Concat([]string{
		"kube-apiserver",
		"--bind-address=" + host,
		"--advertise-address=" + host,
		"--secure-port=" + port,
		"--endpoint-reconciler-type=none", // loopback is no address to give to pods
		"--etcd-servers=https://" + etcd,
		"--etcd-cafile=" + c.path("pki", "ca.crt"),
		"--etcd-certfile=" + c.path("pki", "etcd-client.crt"),
		"--etcd-keyfile=" + c.path("pki", "etcd-client.key"),
		"--tls-cert-file=" + c.path("pki", "apiserver.crt"),
		"--tls-private-key-file=" + c.path("pki", "apiserver.key"),
		"--client-ca-file=" + c.path("pki", "ca.crt"),
		// What an aggregated API server needs to believe what this one says of its users; see keys.go.
		"--requestheader-client-ca-file=" + c.path("pki", "front-proxy-ca.crt"),
		"--requestheader-allowed-names=" + frontProxy,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + c.path("pki", "front-proxy-client.crt"),
		"--proxy-client-key-file=" + c.path("pki", "front-proxy-client.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.path("pki", "sa.key"),
		"--service-account-signing-key-file=" + c.path("pki", "sa.key"),
		"--service-cluster-ip-range=10.96.0.0/16", // the first address is the API server's own: see keys.go
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--profiling=false",
	}, c.options.APIServerArgs)})
	if err != nil {
		return err
	}
	return server.Await(ctx, "the API server to be ready", apiServerDeadline, func(ctx context.Context) error {
		if etcd := c.Process("etcd"); !etcd.Running() {
			return await.Stop(fmt.Errorf("etcd exited; its log %s ends:\n%s", etcd.LogFile(), etcd.LogTail()))
		}
		return c.ready(ctx)
	})
}

// ready asks /readyz, whose answer names the checks that do not pass yet.
func (c *Cluster) ready(ctx context.Context) error {
	answer, err := c.client.Discovery().RESTClient().Get().AbsPath("/readyz").Param("verbose", "").DoRaw(ctx)
	if err == nil {
		return nil
	}
	var failing []string
	for line := range strings.Lines(string(answer)) {
		if strings.HasPrefix(line, "[-]") {
			failing = append(failing, strings.TrimSpace(line))
		}
	}
	if len(failing) == 0 {
		return err
	}
	return errors.New(strings.Join(failing, "; "))
}

// startControllers runs kube-controller-manager. It serves nothing, so that there is no port to
// find: that it works is seen by what it makes.
func (c *Cluster) startControllers(ctx context.Context) error {
	manager, err := c.run(process.Command{Name: "kube-controller-manager", Path: c.options.Binary, Args: slices.Concat([]string{
		"kube-controller-manager",
		"--kubeconfig=" + c.path("controller-manager.kubeconfig"),
		"--controllers=" + strings.Join(slices.Concat(controllers, c.options.Controllers), ","),
		"--use-service-account-credentials=true",
		"--root-ca-file=" + c.path("pki", "ca.crt"),
		"--service-account-private-key-file=" + c.path("pki", "sa.key"),
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
	}, c.options.ControllerArgs)})
	if err != nil {
		return err
	}
	return manager.Await(ctx, "the controllers to work", controllersDeadline, func(ctx context.Context) error {
		if _, err := c.client.CoreV1().ServiceAccounts(corev1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return err
		}
		_, err := c.client.CoreV1().ConfigMaps(corev1.NamespaceDefault).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err
	})
}

// Ports of servers are looked for below Linux' ephemeral range (32768 and up), where a port that
// was free a moment ago may have become the near end of some connection.
const (
	firstPort = 20000
	lastPort  = 32000
	portTries = 200
)

// FreeAddresses finds n loopback addresses, host:port, that nobody listens on. All are held open until the last
// is found, so that they differ.
func FreeAddresses(n int) ([]string, error) {
	addresses := make([]string, 0, n)
	var last error
	for range portTries {
		if len(addresses) == n {
			return addresses, nil
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort)))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			last = err
			continue
		}
		defer listener.Close()
		addresses = append(addresses, address)
	}
	return nil, fmt.Errorf("finding %d free ports on loopback: %d tries failed: %w", n, portTries, last)
}
