// SPDX-License-Identifier: Apache-2.0

// Package cluster runs a Kubernetes control plane for tests: etcd, kube-apiserver and
// kube-controller-manager, the real ones, as child processes on loopback.
//
// RBAC, the node authorizer, NodeRestriction and the default admission plugins are on, so a manifest or a
// role that works here works on a cluster. The admin identity is for setting up only: what is under test
// gets a kubeconfig of its own service account. Every wait has a deadline and prints the last state. A
// server that does not come up is reported with the end of its log. Nothing outlives the test.
//
// There is no kubelet and no scheduler: nodes are test/harness/simnode or test/harness/machine, and the
// scheduler is ours. The controllers that make pods out of Deployments and DaemonSets run only where
// Options ask for them. Elsewhere the manifests are applied as they are shipped, and the test starts the
// processes of their pods with StartProcess, which can kill them too.
//
// The servers come from one binary, hack/clusterd, which must have been built before.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"corepin.dev/corepin/test/harness/pki"
	"corepin.dev/corepin/test/harness/process"
)

// Deadlines of a start. Reaching one is a failure of the machine or of a server, so they are generous.
const (
	apiServerDeadline   = 90 * time.Second
	controllersDeadline = 60 * time.Second
)

// Options says where and from what a cluster is started.
type Options struct {
	Dir    string    // takes data, keys, kubeconfigs and logs; must not hold another cluster's
	Binary string    // clusterd
	Log    io.Writer // one line per step; nil = none
	// Front gives the address, host:port, under which everybody but the admin and the controllers is to reach the API server,
	// which listens at server: a proxy, such as one that cuts connections. nil is the server itself.
	Front func(server string) (string, error)
	// Controllers are started beside the ones that every cluster gets, by their names in
	// kube-controller-manager: where kubelets run, "daemonset-controller" has something to do.
	Controllers []string
	// ControllerArgs are added to the arguments of kube-controller-manager.
	ControllerArgs []string
	// APIServerArgs are added to the arguments of kube-apiserver.
	APIServerArgs []string
}

// Cluster is a running control plane. Stop must be called.
type Cluster struct {
	options Options
	started time.Time
	ca      *pki.Authority
	address string // of the API server, host:port
	front   string // under which others than the admin reach it

	admin  *rest.Config
	client kubernetes.Interface
	object dynamic.Interface
	mapper meta.ResettableRESTMapper

	mu        sync.Mutex
	processes []*process.Process // in order of start
}

// Start runs a control plane and returns when it serves: the API server is ready, roles are
// bootstrapped, namespaces get their service account and root certificate.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	if options.Log == nil {
		options.Log = io.Discard
	}
	if _, err := os.Stat(options.Binary); err != nil {
		return nil, fmt.Errorf("finding clusterd, build it with hack/build.sh clusterd: %w", err)
	}
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, fmt.Errorf("finding the cluster's folder: %w", err)
	}
	options.Dir = dir
	c := &Cluster{options: options, started: time.Now()}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the test cluster: %w", err), c.Stop())
	}
	c.progress("control plane ready, API at https://%s", c.address)
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	if _, err := os.Stat(c.path("etcd")); err == nil {
		return fmt.Errorf("%s holds the data of another cluster: use an empty folder or remove it", c.options.Dir)
	}
	addresses, err := FreeAddresses(3)
	if err != nil {
		return err
	}
	c.front = addresses[0]
	if c.options.Front != nil {
		if c.front, err = c.options.Front(addresses[0]); err != nil {
			return fmt.Errorf("putting something before the API server: %w", err)
		}
	}
	if err := c.writeKeys(addresses[0]); err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	if err := c.startEtcd(addresses[1], addresses[2]); err != nil {
		return err
	}
	if err := c.startAPIServer(ctx, addresses[1]); err != nil {
		return err
	}
	return c.startControllers(ctx)
}

// connect makes the admin's clients.
func (c *Cluster) connect() error {
	config, err := loadKubeconfig(c.AdminKubeconfig())
	if err != nil {
		return err
	}
	// The setup of a test is a burst of requests; the client's own limit would only slow it.
	config.QPS = -1
	c.admin = config
	if c.client, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("making the admin's client: %w", err)
	}
	if c.object, err = dynamic.NewForConfig(config); err != nil {
		return fmt.Errorf("making the admin's dynamic client: %w", err)
	}
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.client.Discovery()))
	return nil
}

// Stop ends everything that was started, last first: the processes of StartProcess, then
// controllers, API server and etcd. It may be called more than once.
func (c *Cluster) Stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for i := len(c.processes) - 1; i >= 0; i-- {
		errs = append(errs, c.processes[i].Stop())
	}
	c.processes = nil
	return errors.Join(errs...)
}

// StartProcess runs a program beside the cluster, with its log in the cluster's folder; Stop ends
// it before the control plane.
func (c *Cluster) StartProcess(name, path string, args ...string) (*process.Process, error) {
	return c.run(process.Command{Name: name, Path: path, Args: args})
}

// StartSupervised is StartProcess for a program that is started again when it ends by itself; again is told why.
func (c *Cluster) StartSupervised(again func(error), name, path string, args ...string) (*process.Process, error) {
	return c.run(process.Command{Name: name, Path: path, Args: args, Again: again})
}

func (c *Cluster) run(command process.Command) (*process.Process, error) {
	command.Logs = c.path("logs")
	if command.Dir == "" {
		command.Dir = c.options.Dir
	}
	command.Ended = func(err error, last string) {
		c.progress("%s ended by itself (%v); its log %s ends: %s", command.Name, err, filepath.Join(command.Logs, command.Name+".log"), last)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.processes {
		if p.Name() == command.Name {
			return nil, fmt.Errorf("starting %s: there is one already (pid %d); restart that", command.Name, p.PID())
		}
	}
	p, err := process.Start(command)
	if err != nil {
		return nil, err
	}
	c.processes = append(c.processes, p)
	c.progress("%s started, pid %d, log %s", p.Name(), p.PID(), p.LogFile())
	return p, nil
}

// Process is the started process of that name, nil if there is none: "etcd", "kube-apiserver",
// "kube-controller-manager" or a name given to StartProcess.
func (c *Cluster) Process(name string) *process.Process {
	for _, p := range c.Processes() {
		if p.Name() == name {
			return p
		}
	}
	return nil
}

// Processes are the processes that run or ran, in the order of their start.
func (c *Cluster) Processes() []*process.Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.processes)
}

// AdminConfig is the configuration of the admin's client, a copy. It is in system:masters, which no
// authorizer is asked about: use it to set up and to look, never for what is under test.
func (c *Cluster) AdminConfig() *rest.Config {
	return rest.CopyConfig(c.admin)
}

// Client is the admin's client.
func (c *Cluster) Client() kubernetes.Interface { return c.client }

// Dynamic is the admin's client for objects without Go types.
func (c *Cluster) Dynamic() dynamic.Interface { return c.object }

// Address is where the API server listens, host:port on loopback.
func (c *Cluster) Address() string { return c.address }

func (c *Cluster) path(elements ...string) string {
	return filepath.Join(append([]string{c.options.Dir}, elements...)...)
}

func (c *Cluster) progress(format string, args ...any) {
	fmt.Fprintf(c.options.Log, "[%5.1fs] %s\n", time.Since(c.started).Seconds(), fmt.Sprintf(format, args...))
}
