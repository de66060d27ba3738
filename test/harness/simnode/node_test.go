// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/guest"
)

const patience = 30 * time.Second

// world is a node that runs against client-go's simulated API server.
type world struct {
	*Node
	api *fake.Clientset
}

func newWorld(t *testing.T, o Options, changes ...func(*Node)) *world {
	t.Helper()
	o.Name, o.Dir, o.Config = "node-a", t.TempDir(), &rest.Config{}
	o.Topology, o.Kubelet = cputopology.MustParse(twoSockets), pinned
	o.Labels = map[string]string{"kubevirt.io/schedulable": "true"}
	node, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Node: node, api: fake.NewClientset()}
	node.client = w.api
	for _, change := range changes {
		change(node)
	}
	ended := make(chan error, 1)
	go func() { ended <- node.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := errors.Join(node.Stop(), <-ended); err != nil {
			t.Errorf("stopping the node: %v", err)
		}
	})
	// The simulated API server forgets what happens between a list and the watch after it.
	w.await(t, "the watch of pods", func(context.Context) error {
		for _, action := range w.api.Actions() {
			if action.Matches("watch", "pods") {
				return nil
			}
		}
		return fmt.Errorf("only %v", w.api.Actions())
	})
	return w
}

func (w *world) await(t *testing.T, what string, probe func(context.Context) error) {
	t.Helper()
	if err := await.For(t.Context(), what, patience, probe); err != nil {
		t.Fatal(err)
	}
}

// bind creates a pod that the scheduler has bound to the node.
func (w *world) bind(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	pod.Spec.NodeName = "node-a"
	pod.Spec.Volumes = []corev1.Volume{{Name: libvirtVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	if _, err := w.api.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// delete marks a pod as deleted, which is what the API server does for the kubelet to see. It may have to
// be done again: the simulated API server does not notice that a status is written from an older copy.
func (w *world) delete(ctx context.Context, name string) error {
	pod, err := w.api.CoreV1().Pods("vms").Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	now := metav1.Now()
	pod.DeletionTimestamp = &now
	_, err = w.api.CoreV1().Pods("vms").Update(ctx, pod, metav1.UpdateOptions{})
	return err
}

// mustBecome waits for a pod whose phase, reason and compute container's readiness are these.
func (w *world) mustBecome(t *testing.T, name string, phase corev1.PodPhase, reason string, ready bool) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	w.await(t, fmt.Sprintf("pod %s to be %s %s, ready %v", name, phase, reason, ready), func(ctx context.Context) (err error) {
		if pod, err = w.api.CoreV1().Pods("vms").Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		isReady := len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].Ready
		if pod.Status.Phase != phase || pod.Status.Reason != reason || isReady != ready {
			return fmt.Errorf("its status is %+v", pod.Status)
		}
		return nil
	})
	return pod
}

func (w *world) mustHold(t *testing.T, want string) {
	t.Helper()
	file := &host{KubeletOptions{RootDir: w.KubeletRootDir()}}
	w.await(t, "the checkpoint to be "+want, func(context.Context) error {
		if got := file.checkpoint(t); got != want {
			return errors.New(got)
		}
		return nil
	})
}

func TestNodeRegisters(t *testing.T) {
	w := newWorld(t, Options{})
	var node *corev1.Node
	w.await(t, "the Node and its Lease", func(ctx context.Context) (err error) {
		if _, err = w.api.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, "node-a", metav1.GetOptions{}); err != nil {
			return err
		}
		node, err = w.api.CoreV1().Nodes().Get(ctx, "node-a", metav1.GetOptions{})
		return err
	})
	for resource, want := range map[corev1.ResourceName]string{
		"cpu": "14", "memory": "65436Mi", "pods": "110", "devices.kubevirt.io/kvm": "1k",
	} {
		if got := node.Status.Allocatable[resource]; got.String() != want {
			t.Errorf("allocatable %s is %s; want %s", resource, got.String(), want)
		}
	}
	if got := node.Status.Capacity.Cpu().String(); got != "16" {
		t.Errorf("capacity is %s CPUs", got)
	}
	if node.Labels[corev1.LabelHostname] != "node-a" || node.Labels["kubevirt.io/schedulable"] != "true" || node.Status.NodeInfo.KubeletVersion != "v1.36.3" {
		t.Errorf("labels %v, kubelet %s", node.Labels, node.Status.NodeInfo.KubeletVersion)
	}
}

func TestPodLives(t *testing.T) {
	w := newWorld(t, Options{})
	a := pod("a", 0, "4", "200m")
	always := corev1.ContainerRestartPolicyAlways
	a.Spec.InitContainers = []corev1.Container{{Name: "once"}, {Name: "sidecar", RestartPolicy: &always}}
	w.bind(t, a)
	running := w.mustBecome(t, "a", corev1.PodRunning, "", true)
	w.mustHold(t, "static 0,3-8,11-15 map[a:map[c0:1-2,9-10]]")
	if init := running.Status.InitContainerStatuses; init[0].State.Terminated == nil || init[1].State.Running == nil || !init[0].Ready || !init[1].Ready {
		t.Errorf("init containers: %+v", init)
	}
	if running.Status.QOSClass != corev1.PodQOSGuaranteed {
		t.Errorf("the QoS class became %q", running.Status.QOSClass)
	}
	dir := filepath.Join(w.KubeletRootDir(), "pods", "a")
	if _, err := os.Stat(filepath.Join(dir, "volumes/kubernetes.io~empty-dir", libvirtVolume)); err != nil {
		t.Errorf("the pod's volume: %v", err)
	}

	w.await(t, "the pod to be removed", func(ctx context.Context) error {
		if err := w.delete(ctx, "a"); !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting it: %v", err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("its directory is still there (%v)", err)
		}
		return nil
	})
	w.bind(t, pod("b", 0, "6"))
	w.mustHold(t, "static 0,4-8,12-15 map[b:map[c0:1-3,9-11]]")
}

func TestStatusIsWrittenOnce(t *testing.T) {
	start := time.Unix(1_000_000, 500)
	up := sandboxState{progress: running, since: [stopped + 1]time.Time{start, start.Add(time.Second)}}
	down := up
	down.progress, down.failure, down.since[ended] = ended, errors.New("lost"), start.Add(time.Minute)
	for name, state := range map[string]*podState{
		"runs":    {pod: pod("a", 0, "2", "200m"), sandbox: &sandbox{now: up}},
		"failed":  {pod: pod("a", 0, "2", "200m"), sandbox: &sandbox{now: down}},
		"refused": {pod: pod("a", 0, "2"), rejection: &Rejection{Reason: "OutOfcpu"}},
	} {
		written, changed := withStatus(state, start)
		if !changed {
			t.Errorf("a pod that %s got no status", name)
		}
		state.pod = written
		if again, changed := withStatus(state, start.Add(time.Hour)); changed {
			t.Errorf("a pod that %s got another status although nothing happened:\n%+v\n%+v", name, written.Status, again.Status)
		}
	}
}

func TestRefusedPodSaysWhy(t *testing.T) {
	w := newWorld(t, Options{})
	w.bind(t, pod("odd", 0, "3"))
	refused := w.mustBecome(t, "odd", corev1.PodFailed, "SMTAlignmentError", false)
	const why = "SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2"
	if refused.Status.Message != "Pod was rejected: "+why {
		t.Errorf("the pod says %q", refused.Status.Message)
	}
	w.await(t, "the event", func(ctx context.Context) error {
		events, err := w.api.CoreV1().Events("vms").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, event := range events.Items {
			if event.Reason == "SMTAlignmentError" && event.Message == why && event.Type == corev1.EventTypeWarning && event.Source.Component == "kubelet" {
				return nil
			}
		}
		return fmt.Errorf("there are %+v", events.Items)
	})
}

func TestRestartAndReconfigure(t *testing.T) {
	w := newWorld(t, Options{})
	w.bind(t, pod("b", time.Hour, "2"))
	w.mustBecome(t, "b", corev1.PodRunning, "", true)
	w.bind(t, pod("a", time.Minute, "6"))
	const granted = "static 0,2-3,7-8,10-11,15 map[a:map[c0:4-6,12-14] b:map[c0:1,9]]"
	w.mustHold(t, granted)
	started := w.mustBecome(t, "a", corev1.PodRunning, "", true).Status.ContainerStatuses[0].State
	if err := w.Restart(); err != nil {
		t.Fatal(err)
	}
	w.mustHold(t, granted)

	if err := w.Reconfigure(KubeletSettings{CPUManagerPolicy: "dynamic"}); err == nil || !strings.Contains(err.Error(), "dynamic") {
		t.Errorf("settings without sense: %v", err)
	}
	w.mustHold(t, granted)
	if err := w.Reconfigure(KubeletSettings{SystemReservedCPU: "1500m"}); err != nil {
		t.Fatal(err)
	}
	w.mustHold(t, "none  map[]")
	w.mustAllocate(t, "14500m")
	if err := w.Reconfigure(pinned); err != nil {
		t.Fatal(err)
	}
	w.mustHold(t, granted)
	if again := w.mustBecome(t, "a", corev1.PodRunning, "", true).Status.ContainerStatuses[0].State; !equality.Semantic.DeepEqual(started, again) {
		t.Errorf("the guest was restarted with the kubelet: %v, then %v", started, again)
	}
	// With half the CPUs reserved, the older pod comes first and the younger one no longer fits.
	smaller := pinned
	smaller.ReservedSystemCPUs = "0,4-8,12-15"
	if err := w.Reconfigure(smaller); err != nil {
		t.Fatal(err)
	}
	w.mustBecome(t, "a", corev1.PodFailed, "TopologyAffinityError", false)
	w.mustHold(t, "static 0,2-8,10-15 map[b:map[c0:1,9]]")
}

func (w *world) mustAllocate(t *testing.T, cpu string) {
	t.Helper()
	node, err := w.api.CoreV1().Nodes().Get(t.Context(), "node-a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := node.Status.Allocatable.Cpu().String(); got != cpu {
		t.Errorf("allocatable is %s CPUs; want %s", got, cpu)
	}
	text, err := os.ReadFile(filepath.Join(w.KubeletRootDir(), "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var config kubeletconfig.KubeletConfiguration
	if err := yaml.UnmarshalStrict(text, &config); err != nil || config.SystemReserved["cpu"] != "1500m" || config.Kind != "KubeletConfiguration" {
		t.Errorf("config.yaml (%v):\n%s", err, text)
	}
}

func TestKilledKubeletLeavesGuestsAlone(t *testing.T) {
	guests := &handGuests{release: make(chan struct{})}
	close(guests.release)
	w := newWorld(t, Options{Guests: guests, SpecOf: anySpec})
	w.bind(t, pod("a", 0, "2"))
	w.mustBecome(t, "a", corev1.PodRunning, "", true)
	if err := w.Kill(); err != nil {
		t.Fatal(err)
	}
	w.bind(t, pod("b", 0, "2"))
	w.mustHold(t, "static 0,2-8,10-15 map[a:map[c0:1,9]]")
	if err := w.Restart(); err != nil {
		t.Fatal(err)
	}
	w.mustBecome(t, "b", corev1.PodRunning, "", true)
	w.mustHold(t, "static 0,3-8,11-15 map[a:map[c0:1,9] b:map[c0:2,10]]")
	if guests.started() != 2 {
		t.Errorf("%d guests were started for two pods", guests.started())
	}
}

// handGuests starts guests when the test releases them.
type handGuests struct {
	guest.None
	release chan struct{}

	mu     sync.Mutex
	guests []guest.Guest
}

func (h *handGuests) Start(ctx context.Context, spec guest.Spec) (guest.Guest, error) {
	select {
	case <-h.release:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if spec.VCPUs > 8 {
		return nil, errors.New("too many vCPUs")
	}
	g, err := h.None.Start(ctx, spec)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.guests = append(h.guests, g)
	return g, err
}

func (h *handGuests) started() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.guests)
}

func anySpec(pod *corev1.Pod) (guest.Spec, bool, error) {
	return guest.Spec{Name: pod.Namespace + "_" + pod.Name, VCPUs: int(pod.Spec.Containers[0].Resources.Limits.Cpu().Value())}, true, nil
}

func TestComputeIsReadyBeforeItsGuest(t *testing.T) {
	guests := &handGuests{release: make(chan struct{})}
	w := newWorld(t, Options{Guests: guests, SpecOf: anySpec})
	gated := pod("a", 0, "2")
	gated.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "kubevirt.io/virtual-machine-unpaused"}}
	w.bind(t, gated)
	ready := w.mustBecome(t, "a", corev1.PodRunning, "", true)
	if w.GuestRuns(ready.UID) {
		t.Error("the guest is said to run before it was started")
	}
	close(guests.release)
	w.await(t, "the guest", func(context.Context) error {
		if !w.GuestRuns(ready.UID) {
			return errors.New("it is not said to run")
		}
		return nil
	})
	if got := condition(ready, corev1.PodReady); got != corev1.ConditionFalse {
		t.Errorf("Ready is %s although the readiness gate is not open", got)
	}
	ready.Status.Conditions = append(ready.Status.Conditions, corev1.PodCondition{Type: "kubevirt.io/virtual-machine-unpaused", Status: corev1.ConditionTrue})
	if _, err := w.api.CoreV1().Pods("vms").UpdateStatus(t.Context(), ready, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.await(t, "Ready", func(ctx context.Context) error {
		pod, err := w.api.CoreV1().Pods("vms").Get(ctx, "a", metav1.GetOptions{})
		if err == nil && condition(pod, corev1.PodReady) != corev1.ConditionTrue {
			err = fmt.Errorf("conditions: %+v", pod.Status.Conditions)
		}
		return err
	})
	if err := guests.guests[0].Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed := w.mustBecome(t, "a", corev1.PodFailed, "", false)
	if end := failed.Status.ContainerStatuses[0].State.Terminated; end == nil || end.ExitCode != 1 || !strings.Contains(end.Message, "by itself") {
		t.Errorf("the compute container: %+v", failed.Status.ContainerStatuses[0].State)
	}
	w.bind(t, pod("b", 0, "8")) // its CPUs are free again for the next
	w.mustHold(t, "static 0-3,8-11 map[b:map[c0:4-7,12-15]]")
}

func condition(pod *corev1.Pod, kind corev1.PodConditionType) corev1.ConditionStatus {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind {
			return c.Status
		}
	}
	return "missing"
}

func TestNewRefuses(t *testing.T) {
	machine := cputopology.MustParse(twoSockets)
	for name, tc := range map[string]struct {
		options Options
		want    string
	}{
		"a machine too large for its guests": {Options{Topology: machine, Guests: guest.TestDriver{}}, "use guest.None"},
		"no machine":                         {Options{}, "either a topology or the host's CPUs"},
		"two machines":                       {Options{Topology: machine, UseHostCPUs: true}, "either a topology or the host's CPUs"},
		"memory without sense":               {Options{Topology: machine, Memory: "much"}, `"much"`},
	} {
		tc.options.Dir, tc.options.Config = t.TempDir(), &rest.Config{}
		if _, err := New(tc.options); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v; want an error with %q", name, err, tc.want)
		}
	}
}

func TestNewOverAnOlderNode(t *testing.T) {
	options := Options{Name: "node-a", Dir: t.TempDir(), Topology: cputopology.MustParse(twoSockets), Config: &rest.Config{}}
	for range 2 {
		if _, err := New(options); err != nil {
			t.Fatal(err)
		}
	}
	options.Topology = cputopology.MustParse("1 sockets x 1 numa x 2 cores x 2 threads")
	if _, err := New(options); err == nil || !strings.Contains(err.Error(), "another machine") {
		t.Errorf("another machine in the directory of the first: %v", err)
	}
}

func TestHostCPUs(t *testing.T) {
	node, err := New(Options{Name: "local", Dir: t.TempDir(), UseHostCPUs: true, Guests: guest.QEMU{}, Config: &rest.Config{}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		t.Fatal(err)
	}
	online, err := cpuset.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := node.capacity()[corev1.ResourceCPU]; node.SysfsDir() != "/sys" || got.Value() != int64(online.Len()) {
		t.Errorf("the node has %s CPUs from %s; this machine has %s online", got.String(), node.SysfsDir(), online)
	}
	if err := node.Stop(); err != nil {
		t.Errorf("stopping a node that never ran: %v", err)
	}
	if err := node.Restart(); err == nil || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("restarting a node that never ran: %v", err)
	}
}
