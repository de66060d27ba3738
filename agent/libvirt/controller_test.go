// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/vmi"
)

// runController runs agent/pinning on one launcher pod for each VM, whose compute container has the given
// CPUs, below a kubelet's root directory. It ends with the test.
func runController(t testing.TB, root, uri string, vms map[string]cpuset.Set) *events {
	t.Helper()
	return runControllerWith(t, config.Pinning{
		Mode: config.PinningEnforce, LibvirtURI: uri,
		Deadline: metav1.Duration{Duration: 10 * time.Second}, VerifyPeriod: metav1.Duration{Duration: time.Second},
	}, root, vms)
}

// runControllerWith is runController with other settings, and, if there is one, a VMI that all VMs have.
func runControllerWith(t testing.TB, settings config.Pinning, root string, vms map[string]cpuset.Set, machine ...*vmi.VMI) *events {
	t.Helper()
	options, recorder := optionsOf(t, settings, root, vms, machine...)
	run(t, pinning.New(options))
	return recorder
}

// run runs a controller until the test ends.
func run(t testing.TB, controller *pinning.Controller) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- controller.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Errorf("the controller ended with %v", err)
		}
	})
}

// optionsOf are what runControllerWith runs a controller with.
func optionsOf(t testing.TB, settings config.Pinning, root string, vms map[string]cpuset.Set, machine ...*vmi.VMI) (pinning.Options, *events) {
	t.Helper()
	pods := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	grants := map[types.UID]map[string]cpuset.Set{}
	var all cpuset.Set
	for vm, granted := range vms {
		if err := pods.Add(launcherPod(vm, granted.Len())); err != nil {
			t.Fatal(err)
		}
		grants[podUID(vm)] = map[string]cpuset.Set{"compute": granted}
		all = all.Union(granted)
	}
	var cores []cputopology.Core
	for id := range all.All() {
		cores = append(cores, cputopology.Core{CPUs: cpuset.Of(id)})
	}
	host, err := cputopology.New(cores)
	if err != nil {
		t.Fatal(err)
	}
	recorder := &events{}
	settings.LauncherNamespaces = []string{"vms"} // no VMI owns these pods
	return pinning.Options{
		Config:         settings,
		KubeletRootDir: root,
		Pods:           corelisters.NewPodLister(pods),
		Granted:        func() (map[types.UID]map[string]cpuset.Set, bool) { return grants, true },
		Topology:       func() *cputopology.Topology { return host },
		Recorder:       recorder,
		Hypervisor:     New(settings),
		VMI: func(context.Context, *corev1.Pod) (*vmi.VMI, error) {
			if len(machine) == 0 {
				return nil, nil
			}
			return machine[0], nil
		},
	}, recorder
}

// podUID is the UID of a VM's launcher pod, as long as UIDs are.
func podUID(vm string) types.UID {
	return types.UID("3f1c7f0a-0000-4000-8000-" + strings.Repeat("0", 12-len(vm)) + vm)
}

// TestManyGuests starts many guests at once, beside one whose libvirt never answers, and kills every libvirtd in
// the middle.
func TestManyGuests(t *testing.T) {
	vms := manyVMs(t)
	n := startLaunchers(t, vms)
	vms["hung"] = cpuset.Of(usableCPUs(t)[0])
	n.hungGuest(t, "hung")
	events := runController(t, n.kubelet, "", vms)
	took := n.launch(t)
	start := time.Now()
	pinned := func() error { return n.pinned(t, vms) }
	await(t, "all guests to be pinned", pinned)
	t.Logf("%d guests started within %s; all were pinned %s later", manyGuests, took, time.Since(start))

	for vm, l := range n.all {
		l.kill(t) // the guest goes on
		if err := unix.SchedSetaffinity(l.threadID(t, "vms_"+vm, "CPU 1/TCG"), elsewhere(vms[vm])); err != nil {
			t.Fatal(err)
		}
	}
	start = time.Now()
	for vm, l := range n.all {
		l.start(t)
		l.link(t, vm)
	}
	await(t, "all guests to be pinned after their libvirtds were killed and their threads moved", pinned)
	t.Logf("%d libvirtds were killed and a thread of each guest moved: all were back %s after the first was started again", manyGuests, time.Since(start))
	await(t, "each guest's pin and repair to be told once", func() error {
		return errors.Join(events.count(pinning.EventPinned, manyGuests), events.count(pinning.EventDriftRepaired, manyGuests))
	})
}

func podName(vm string) string { return "virt-launcher-" + vm }

func launcherPod(vm string, cpus int) *corev1.Pod {
	resources := corev1.ResourceList{
		corev1.ResourceCPU: *resource.NewQuantity(int64(cpus), resource.DecimalSI), corev1.ResourceMemory: resource.MustParse("64Mi"),
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: podName(vm), Namespace: "vms", UID: podUID(vm),
			Labels:      map[string]string{"kubevirt.io": "virt-launcher"},
			Annotations: map[string]string{"kubevirt.io/domain": vm},
		},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"cpumanager": "true"},
			Containers:   []corev1.Container{{Name: "compute", Resources: corev1.ResourceRequirements{Requests: resources, Limits: resources}}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, QOSClass: corev1.PodQOSGuaranteed},
	}
}

// events keeps the events that were recorded.
type events struct {
	mu  sync.Mutex
	all []event
}

// event is one of them; text is "<reason> <message>".
type event struct {
	at        time.Time
	pod, text string
}

func (e *events) Event(object runtime.Object, _, reason, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event{time.Now(), object.(*corev1.Pod).Name, reason + " " + message})
}

func (e *events) Eventf(object runtime.Object, eventType, reason, format string, args ...any) {
	e.Event(object, eventType, reason, fmt.Sprintf(format, args...))
}

func (e *events) AnnotatedEventf(object runtime.Object, _ map[string]string, eventType, reason, format string, args ...any) {
	e.Eventf(object, eventType, reason, format, args...)
}

// since gives the events after the first n.
func (e *events) since(n int) []event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.all[n:])
}

// list gives the texts of all events.
func (e *events) list() []string {
	var texts []string
	for _, event := range e.since(0) {
		texts = append(texts, event.text)
	}
	return texts
}

// count wants so many events of that reason.
func (e *events) count(reason string, want int) error {
	got := 0
	for _, event := range e.list() {
		if strings.HasPrefix(event, reason+" ") {
			got++
		}
	}
	if got != want {
		return fmt.Errorf("%d events %s, want %d; there are %q", got, reason, want, e.list())
	}
	return nil
}

// has wants an event of that reason whose message has that text.
func (e *events) has(reason, text string) error {
	for _, event := range e.list() {
		if strings.HasPrefix(event, reason+" ") && strings.Contains(event, text) {
			return nil
		}
	}
	return fmt.Errorf("no event %s with %q; there are %q", reason, text, e.list())
}
