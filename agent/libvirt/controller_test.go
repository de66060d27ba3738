package libvirt

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

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
)

// runController runs agent/pinning on one launcher pod for each VM, whose compute container has the given
// CPUs, below a kubelet's root directory. It ends with the test.
func runController(t *testing.T, root, uri string, vms map[string]cpuset.Set) *events {
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
	controller := pinning.New(pinning.Options{
		Config: config.Pinning{
			Mode:         config.PinningEnforce,
			Deadline:     metav1.Duration{Duration: 10 * time.Second},
			VerifyPeriod: metav1.Duration{Duration: time.Second},
		},
		KubeletRootDir: root,
		Pods:           corelisters.NewPodLister(pods),
		Granted:        func() (map[types.UID]map[string]cpuset.Set, bool) { return grants, true },
		Topology:       func() *cputopology.Topology { return host },
		Recorder:       recorder,
		Hypervisor:     New(config.Pinning{LibvirtURI: uri}),
	})
	ended := make(chan error, 1)
	go func() { ended <- controller.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Errorf("the controller ended with %v", err)
		}
	})
	return recorder
}

// podUID is the UID of a VM's launcher pod, as long as UIDs are.
func podUID(vm string) types.UID {
	return types.UID("3f1c7f0a-0000-4000-8000-" + strings.Repeat("0", 12-len(vm)) + vm)
}

// TestManyGuests starts many guests at once, beside one whose libvirt never answers, and kills libvirtd in
// the middle.
func TestManyGuests(t *testing.T) {
	const count = 50
	l := startLibvirtd(t, testDriver)
	l.crowd(t)
	vms := map[string]cpuset.Set{"hung": cpuset.Of(0)}
	listen(t, l.podDir("hung"), nil)
	for i := range count {
		vm := fmt.Sprintf("vm%d", i)
		vms[vm] = cpuset.Of(i%2, 2+i%2, 4+i%2, 6+i%2)
		l.link(t, vm)
	}
	events := runController(t, l.root(), testDriver, vms)
	start := time.Now()
	for i := range count {
		l.create(t, testDomain(fmt.Sprintf("vms_vm%d", i)))
	}
	t.Logf("%d guests were started within %s", count, time.Since(start))
	pinned := func() error {
		for vm, granted := range vms {
			if err := l.allPinned(vm, granted); vm != "hung" && err != nil {
				return err
			}
		}
		return nil
	}
	await(t, "all guests to be pinned", pinned)
	t.Logf("all were pinned within %s", time.Since(start))

	l.restart(t)
	l.crowd(t)
	for vm := range vms {
		if vm != "hung" {
			l.link(t, vm)
			l.create(t, testDomain("vms_"+vm))
		}
	}
	await(t, "all guests to be pinned after libvirtd was killed", pinned)
	if err := events.has(pinning.EventDriftRepaired, ""); err == nil {
		t.Errorf("fresh guests were told as drift: %q", events.list())
	}
}

// allPinned asks libvirt, with the test's own connection, whether each vCPU of a guest has one of the
// granted CPUs to itself.
func (l *libvirtd) allPinned(vm string, granted cpuset.Set) error {
	dom, err := l.rpc.DomainLookupByName("vms_" + vm)
	if err != nil {
		return err
	}
	infos, maps, err := l.rpc.DomainGetVcpus(dom, 16, 1)
	if err != nil {
		return err
	}
	var taken cpuset.Set
	for i := range infos {
		cpus := fromMap(maps[i : i+1])
		if cpus.Len() != 1 || !cpus.SubsetOf(granted) || cpus.Overlaps(taken) {
			return fmt.Errorf("vCPU %d of %s is on %s, granted are %s, taken %s", i, vm, cpus, granted, taken)
		}
		taken = taken.Union(cpus)
	}
	return nil
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

// events keeps the events that were recorded, as "<reason> <message>".
type events struct {
	mu    sync.Mutex
	all   []string
	pods  []string
	times []time.Time
}

func (e *events) Event(object runtime.Object, _, reason, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, reason+" "+message)
	e.pods = append(e.pods, object.(*corev1.Pod).Name)
	e.times = append(e.times, time.Now())
}

func (e *events) Eventf(object runtime.Object, eventType, reason, format string, args ...any) {
	e.Event(object, eventType, reason, fmt.Sprintf(format, args...))
}

func (e *events) AnnotatedEventf(object runtime.Object, _ map[string]string, eventType, reason, format string, args ...any) {
	e.Eventf(object, eventType, reason, format, args...)
}

func (e *events) list() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.all...)
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
