// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	cadvisor "github.com/google/cadvisor/info/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/quantity"
	"corepin.dev/corepin/test/harness/guest"
)

// The kubelet's defaults of kubeAPIQPS and kubeAPIBurst. With a client's own a node that starts thirty pods at once takes minutes.
const (
	apiQPS   = 50
	apiBurst = 100
)

// changeTimeout bounds the calls that change a node: long enough for a busy machine.
const changeTimeout = time.Minute

// Options is what a node is made of.
type Options struct {
	Name string
	// Dir gets the directories sys and kubelet.
	Dir string
	// Topology is the machine to simulate. With UseHostCPUs it is this machine's own instead, and the
	// node's /sys is the real one.
	Topology    *cputopology.Topology
	UseHostCPUs bool
	Kubelet     KubeletSettings
	Memory      string // capacity, as a Kubernetes quantity; "" is 64Gi
	// HugePages are the huge pages of each NUMA node, by resource name, such as hugepages-1Gi. They are part of Memory.
	HugePages map[string]int64
	// Devices are what device plugins list, by resource. A machine with no plugins at all has no device manager.
	Devices map[string][]Device
	Labels  map[string]string // added to those of every kubelet
	// Guests runs the virtual machine of a pod of which SpecOf knows the shape; its SocketDir is filled
	// in. nil means guest.None{}. SpecOf nil means that no pod has one.
	Guests guest.Runner
	// An error of it ends the pod.
	SpecOf func(pod *corev1.Pod) (guest.Spec, bool, error)
	// Program starts what the first container of a pod without a guest runs. It returns nil where that is nothing, and so does
	// a nil Program. A Guest with a method Err() error ends with that error, or has done what it was to do.
	Program func(ctx context.Context, pod *corev1.Pod) (guest.Guest, error)
	// Ready says whether the containers of a pod answer their readiness probes. nil means that all do. It must not block.
	Ready func(pod *corev1.Pod) bool
	// Config reaches the API server with the identity that the kubelet is to have.
	Config *rest.Config
}

// Node is a simulated node.
type Node struct {
	options  Options
	client   kubernetes.Interface
	machine  *cadvisor.MachineInfo
	memory   resource.Quantity
	requests chan request
	changed  chan struct{} // holds a token when something happened to a sandbox
	guests   sync.Map      // the sandbox of each pod by its UID, for who asks from outside

	// Owned by Run while it runs, by Stop afterwards.
	settings KubeletSettings
	pods     map[types.UID]*podState
	known    *corev1.Node // the Node object as last seen
	devices  map[string][]Device

	mu     sync.Mutex
	cancel context.CancelFunc // ends Run; nil when it does not run
	ended  chan struct{}      // closed when Run has ended
}

// request asks Run to end the kubelet's life and, unless it is to stay down, to begin a new one.
type request struct {
	change func() error // between the lives; nil changes nothing
	// keep, where it is set, is done to the present life, which goes on.
	keep func(l *life) error
	down bool
	done chan error // has room for the answer
}

// New makes the node's directory; nothing runs yet.
func New(o Options) (*Node, error) {
	n := &Node{options: o, devices: maps.Clone(o.Devices), requests: make(chan request), changed: make(chan struct{}, 1), pods: map[types.UID]*podState{}}
	if n.options.Guests == nil {
		n.options.Guests = guest.None{}
	}
	var err error
	if n.memory, err = quantity.Parse(cmp.Or(o.Memory, "64Gi")); err != nil {
		return nil, fmt.Errorf("node %s: parsing its memory %q: %w", o.Name, o.Memory, err)
	}
	if err := n.makeMachine(); err != nil {
		return nil, fmt.Errorf("node %s: %w", o.Name, err)
	}
	if err := os.MkdirAll(n.KubeletRootDir(), 0o755); err != nil {
		return nil, fmt.Errorf("node %s: making the kubelet's directory: %w", o.Name, err)
	}
	if err := n.use(o.Kubelet); err != nil {
		return nil, fmt.Errorf("node %s: %w", o.Name, err)
	}
	config := rest.CopyConfig(o.Config)
	config.QPS = apiQPS
	config.Burst = apiBurst
	if n.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("node %s: making its API client: %w", o.Name, err)
	}
	return n, nil
}

func (n *Node) makeMachine() (err error) {
	if n.options.UseHostCPUs == (n.options.Topology != nil) {
		return errors.New("a node has either a topology or the host's CPUs")
	}
	if !n.options.UseHostCPUs {
		if err := writeSysfs(n.SysfsDir(), n.options.Topology, n.memory.Value(), n.options.HugePages); err != nil {
			return err
		}
	}
	if n.machine, err = machineInfo(n.SysfsDir()); err != nil {
		return err
	}
	if want := n.options.Topology; want != nil && (n.machine.NumCores != want.CPUs().Len() || len(n.machine.Topology) != len(want.NUMANodes())) {
		return fmt.Errorf("%s holds another machine: remove it or use another directory", n.SysfsDir())
	}
	limit := n.options.Guests.HostCPUs()
	for _, numa := range n.machine.Topology {
		for _, core := range numa.Cores {
			if last := slices.Max(core.Threads); limit > 0 && last >= limit {
				return fmt.Errorf("it has CPU %d, but %T can pin guests to CPUs 0-%d only: use guest.None", last, n.options.Guests, limit-1)
			}
		}
	}
	return nil
}

// use makes settings those of the next life.
func (n *Node) use(settings KubeletSettings) error {
	n.settings = settings.withDefaults()
	return n.settings.writeConfig(n.KubeletRootDir(), n.machine.Topology[0].Id)
}

// SysfsDir is the directory that is /sys on the node.
func (n *Node) SysfsDir() string {
	if n.options.UseHostCPUs {
		return "/sys"
	}
	return filepath.Join(n.options.Dir, "sys")
}

// KubeletRootDir is the directory that is /var/lib/kubelet on the node.
func (n *Node) KubeletRootDir() string { return filepath.Join(n.options.Dir, "kubelet") }

// Machine is the machine of which the kubelet hands out CPUs.
func (n *Node) Machine() (*cputopology.Topology, error) {
	var cores []cputopology.Core
	for _, numa := range n.machine.Topology {
		for _, core := range numa.Cores {
			cores = append(cores, cputopology.Core{NUMANode: numa.Id, CPUs: cpuset.Of(core.Threads...)})
		}
	}
	return cputopology.New(cores)
}

// ContainerCPUs is the cpuset of a container: its exclusive CPUs, or all that are shared. A kubelet without a CPU manager
// leaves it all CPUs of the machine.
func (n *Node) ContainerCPUs(pod types.UID, container string) (cpuset.Set, error) {
	var state struct {
		DefaultCPUSet string                       `json:"defaultCpuSet"`
		Entries       map[string]map[string]string `json:"entries"`
	}
	data, err := os.ReadFile(filepath.Join(n.KubeletRootDir(), stateFile))
	if err == nil {
		err = json.Unmarshal(data, &state)
	}
	if err != nil {
		return cpuset.Set{}, fmt.Errorf("reading the CPUs of container %s of pod %s: %w", container, pod, err)
	}
	shared := state.DefaultCPUSet
	if shared == "" {
		machine, err := n.Machine()
		if err != nil {
			return cpuset.Set{}, err
		}
		shared = machine.CPUs().String()
	}
	return cpuset.Parse(cmp.Or(state.Entries[string(pod)][container], shared))
}

// GuestRuns reports whether a pod's guest is up.
func (n *Node) GuestRuns(pod types.UID) bool {
	found, ok := n.guests.Load(pod)
	if !ok {
		return false
	}
	s, ok := found.(*sandbox)
	return ok && s.state().progress == running
}

// GuestPID is the process of a pod's guest, 0 where there is none.
func (n *Node) GuestPID(pod types.UID) int {
	found, ok := n.guests.Load(pod)
	if !ok {
		return 0
	}
	s, ok := found.(*sandbox)
	if !ok {
		return 0
	}
	return s.state().pid
}

// Run is the life of the node's kubelet, or of several, one after the other. It returns nil when ctx ends,
// and an error when the first kubelet does not start. Guests outlive it, see Stop.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended, err := n.begin(cancel)
	if err != nil {
		return err
	}
	defer close(ended)
	l, err := n.startLife(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("starting the kubelet of node %s: %w", n.options.Name, err)
	}
	for {
		next, ok := n.live(ctx, l)
		if l != nil {
			l.end()
		}
		if !ok {
			return nil
		}
		l, err = n.follow(ctx, next)
		next.done <- err
	}
}

func (n *Node) begin(cancel context.CancelFunc) (chan struct{}, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended != nil {
		select {
		case <-n.ended:
		default:
			return nil, fmt.Errorf("node %s runs already", n.options.Name)
		}
	}
	n.cancel, n.ended = cancel, make(chan struct{})
	return n.ended, nil
}

// follow does what a request asks for. Where the new kubelet does not start, the node has none, like a
// host whose kubelet exits at once; the next request tries again.
func (n *Node) follow(ctx context.Context, r request) (*life, error) {
	if r.change != nil {
		if err := r.change(); err != nil {
			return nil, err
		}
	}
	if r.down {
		return nil, nil
	}
	return n.startLife(ctx)
}

// Restart restarts the kubelet, or starts one that was killed. It returns when the new one has taken over
// the pods that run.
func (n *Node) Restart() error { return n.ask(request{}) }

// Kill ends the kubelet at once and leaves the node without one. Guests run on; nobody admits or reports.
func (n *Node) Kill() error { return n.ask(request{down: true}) }

// Reconfigure restarts the kubelet with other settings, the documented way: its state file is deleted
// first, so running pods are admitted anew and may get other CPUs, or be refused. Settings with which no
// kubelet would start change nothing.
func (n *Node) Reconfigure(settings KubeletSettings) error {
	if err := n.try(settings); err != nil {
		return fmt.Errorf("reconfiguring the kubelet of node %s: %w", n.options.Name, err)
	}
	return n.ask(request{change: func() error {
		if err := forgetAssignments(n.KubeletRootDir()); err != nil {
			return err
		}
		return n.use(settings)
	}})
}

// try starts a kubelet with these settings on the same machine, elsewhere.
func (n *Node) try(settings KubeletSettings) error {
	dir, err := os.MkdirTemp("", "kubelet-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	kubelet, err := NewKubelet(context.Background(), KubeletOptions{RootDir: dir, Machine: n.machine, Settings: settings, Node: n.node})
	if err == nil {
		kubelet.Stop()
	}
	return err
}

func (n *Node) ask(r request) error {
	n.mu.Lock()
	ended := n.ended
	n.mu.Unlock()
	timeout := time.NewTimer(changeTimeout)
	defer timeout.Stop()
	r.done = make(chan error, 1)
	requests := n.requests
	if ended == nil {
		return fmt.Errorf("changing the kubelet of node %s: the node does not run", n.options.Name)
	}
	for {
		select {
		case requests <- r:
			requests = nil
		case err := <-r.done:
			if err != nil {
				return fmt.Errorf("changing the kubelet of node %s: %w", n.options.Name, err)
			}
			return nil
		case <-ended:
			return fmt.Errorf("changing the kubelet of node %s: the node does not run", n.options.Name)
		case <-timeout.C:
			return fmt.Errorf("changing the kubelet of node %s: not done within %s", n.options.Name, changeTimeout)
		}
	}
}

// Stop switches the machine off: it ends Run and every guest, and says what it could not remove. The API
// server is not told. Stop may be called again, and before Run.
func (n *Node) Stop() error {
	n.mu.Lock()
	cancel, ended := n.cancel, n.ended
	n.mu.Unlock()
	if cancel != nil {
		cancel()
		<-ended
	}
	var errs []error
	for _, pod := range n.pods {
		if pod.sandbox != nil {
			pod.sandbox.stop()
		}
	}
	for _, pod := range n.pods {
		if pod.sandbox != nil {
			errs = append(errs, pod.sandbox.await())
		}
	}
	return errors.Join(errs...)
}
