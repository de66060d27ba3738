// SPDX-License-Identifier: Apache-2.0

package exclusive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/cgroup"
	"corepin.dev/corepin/agent/hostcpu"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/launcher"
)

func set(text string) cpuset.Set {
	cpus, err := cpuset.Parse(text)
	if err != nil {
		panic(err)
	}
	return cpus
}

// pod is a running pod; its container's id is its UID with the container's name.
func pod(namespace, name string, containers ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name), Labels: map[string]string{}, Annotations: map[string]string{}}}
	for _, container := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: container})
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: container, ContainerID: "containerd://" + name + "-" + container})
	}
	return p
}

// launcherPod is the pod of a dedicated VM, which has a sidecar.
func launcherPod(name string) *corev1.Pod {
	p := pod("vms", name, "compute", "sidecar")
	p.Labels[launcher.Label] = launcher.LabelValue
	p.Annotations["kubevirt.io/domain"] = name
	p.Spec.NodeSelector = map[string]string{"cpumanager": "true"}
	return p
}

// bench is a node whose cgroups are a map.
type bench struct {
	mu     sync.Mutex
	groups map[string]cgroup.Group // by path
	err    error
	pods   []*corev1.Pod
	grants Grants
	usage  cgroup.Usage
	times  map[int]hostcpu.Times
	scans  int
	reads  int
	// interrupts are the machine's, which were read so many times.
	interrupts     []hostcpu.Interrupt
	interruptReads int
	*Watcher
}

func (b *bench) Scan(of cpuset.Set) ([]cgroup.Group, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.scans++
	var found []cgroup.Group
	for _, g := range b.groups {
		if g.CPUs.Overlaps(of) {
			found = append(found, g)
		}
	}
	return found, b.err
}

func (b *bench) Still(g cgroup.Group) (cpuset.Set, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	return b.groups[g.Path].CPUs, b.err
}

// change changes what the Watcher reads meanwhile.
func (b *bench) change(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
}

// group puts a cgroup where it says.
func (b *bench) group(g cgroup.Group) { b.change(func() { b.groups[g.Path] = g }) }

func (b *bench) looks() (n int) {
	b.change(func() { n = b.scans })
	return n
}

// container puts a pod's container, or its sandbox, where it may use these CPUs.
func (b *bench) container(pod, container, cpus string) {
	id := pod + "-" + container
	b.group(cgroup.Group{Path: id, CPUs: set(cpus), PodUID: pod, ContainerID: id})
}

func (b *bench) service(path, cpus string) {
	b.group(cgroup.Group{Path: path, CPUs: set(cpus)})
}

// add adds a pod and its grant, "" for none, and its sandbox, which nobody confines.
func (b *bench) add(p *corev1.Pod, cpus string) {
	b.container(string(p.UID), "sandbox", "0-7")
	b.mu.Lock()
	b.pods = append(b.pods, p)
	if cpus != "" {
		grants := Grants{p.UID: {p.Spec.Containers[0].Name: set(cpus)}}
		for uid, earlier := range b.grants {
			grants[uid] = earlier
		}
		b.grants = grants
	}
	b.mu.Unlock()
	b.Trigger()
}

// play runs a Watcher within a bubble, where an hour passes at once.
func play(t *testing.T, scenario func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{groups: map[string]cgroup.Group{}, pods: []*corev1.Pod{}, times: map[int]hostcpu.Times{}}
		b.Watcher = New(Options{
			Cgroups: b, PodCPUs: func() (cpuset.Set, string, bool) { return set("0-7"), "kubepods", true }, Clock: clock.RealClock{}, Topology: func() *cputopology.Topology { return cputopology.MustParse("1 sockets x 1 numa x 4 cores x 2 threads") }, ReconcilePeriod: func() time.Duration { return 10 * time.Second },
			Usage: func(*corev1.Pod, string) (cgroup.Usage, bool, error) {
				b.mu.Lock()
				defer b.mu.Unlock()
				return b.usage, true, nil
			},
			Times: func() (map[int]hostcpu.Times, error) {
				b.mu.Lock()
				defer b.mu.Unlock()
				return maps.Clone(b.times), nil
			},
			Interrupts: func() ([]hostcpu.Interrupt, error) {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.interruptReads++
				return b.interrupts, nil
			},
			Pods: func() []*corev1.Pod {
				b.mu.Lock()
				defer b.mu.Unlock()
				return b.pods
			},
			Granted: func() (Grants, bool) {
				b.mu.Lock()
				defer b.mu.Unlock()
				return b.grants, true
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = b.Run(ctx) })
		defer running.Wait()
		defer cancel()
		synctest.Wait()
		scenario(b)
	})
}

// pass lets time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// says checks the verdict of VM db, which has CPUs 2-3, and the node's condition.
func (b *bench) says(t *testing.T, what string, state State, others, condition string) {
	t.Helper()
	v := b.Of("db", set("2-3"))
	c := b.Condition()
	if v.State != state || v.Others != others {
		t.Errorf("%s: state %d with %q, want %d with %q", what, v.State, v.Others, state, others)
	}
	got := fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
	if !strings.HasPrefix(got, condition) {
		t.Errorf("%s: condition %s\nwant %s", what, got, condition)
	}
}

const everybodyOff = "True NobodyElse"

// The kubelet takes containers of the shared pool off a VM's CPUs when it reconciles, ten seconds after the VM at most.
func TestAVMStarts(t *testing.T) {
	play(t, func(b *bench) {
		for n := range 40 {
			name := fmt.Sprint("web", n)
			b.add(pod("web", name, "c"), "")
			b.container(name, "c", "0-7")
		}
		b.add(pod("vms", "other", "c"), "")
		b.container("other", "c", "0-7")
		b.add(launcherPod("db"), "2-3")
		b.container("db", "compute", "2-3")
		b.container("db", "sidecar", "0-1,4-7")
		began := time.Now()
		pass(fold)
		const who = "41 containers of the shared pool (vms/other c, …)"
		b.says(t, "at once", Shared, who, everybodyOff)
		pass(8 * time.Second)
		b.says(t, "before the kubelet reconciles", Shared, who, everybodyOff)
		for n := range 40 {
			b.container(fmt.Sprint("web", n), "c", "0-1,4-7")
		}
		b.container("other", "c", "0-1,4-7")
		pass(again)
		b.says(t, "after that", Alone, who, everybodyOff)
		v := b.Of("db", set("2-3"))
		if took := v.Since.Sub(began); took > 10*time.Second || took < 8*time.Second || !v.Witnessed || v.Lasting {
			t.Errorf("alone after %s: %+v", took, v)
		}
		scans := b.looks()
		pass(time.Hour)
		if n := b.looks() - scans; n < 59 || n > 61 {
			t.Errorf("%d looks in a quiet hour, one a minute is right", n)
		}
		b.says(t, "an hour later", Alone, who, everybodyOff)
		if again := b.Of("db", set("2-3")); again != v {
			t.Errorf("a quiet hour changed %+v to %+v", v, again)
		}
	})
}

func TestFaults(t *testing.T) {
	const (
		pool    = "1 container of the shared pool (vms/near c)"
		foreign = "1 container of the shared pool"
	)
	for name, tc := range map[string]struct {
		seed      func(b *bench)
		others    string // of the verdict
		condition string
	}{
		"nothing": {func(*bench) {}, "", everybodyOff},
		"a container that the kubelet does not get off": {func(b *bench) { b.container("near", "c", "0-7") }, pool,
			"False Containers: other containers may run on the CPUs of dedicated VMs: CPUs 2-3 of VM vms/db: 1 container of the shared pool (vms/near c)"},
		"one with two cgroups": {func(b *bench) {
			b.container("near", "c", "0-7")
			b.group(cgroup.Group{Path: "near-c/inner", CPUs: set("0-7"), PodUID: "near", ContainerID: "near-c"})
		}, pool, "False Containers"},
		"one of another namespace": {func(b *bench) { b.container("far", "c", "3") }, foreign,
			"False Containers: other containers may run on the CPUs of dedicated VMs: CPUs 2-3 of VM vms/db: 1 container of the shared pool (web/far c)"},
		"one with CPUs of its own": {func(b *bench) { b.container("own", "c", "3-4") }, "1 container with CPUs of other pods (vms/own c)", "False Containers"},
		"the VM's own sidecar":     {func(b *bench) { b.container("db", "sidecar", "2") }, "1 container of the VM's own pod (vms/db sidecar)", "False Containers"},
		"a static pod": {func(b *bench) {
			b.group(cgroup.Group{Path: "s", CPUs: set("2"), PodUID: "f00", ContainerID: "static-c"})
		},
			"1 container of the shared pool (vms/static c)", "False Containers"},
		"services": {func(b *bench) { b.service("system.slice/crond.service", "0-7"); b.service("init.scope", "0-7") }, "",
			"False HostServices: no other container may run on the CPUs of dedicated VMs, and by its cgroup the host's own software may: init.scope; system.slice: crond.service; keep it off"},
		"a container of docker":           {func(b *bench) { b.service("system.slice/docker-aa.scope", "2") }, "", "False HostServices"},
		"a service that is confined":      {func(b *bench) { b.service("system.slice/crond.service", "0-1") }, "", everybodyOff},
		"a container that has ended":      {func(b *bench) { b.group(cgroup.Group{Path: "near-c"}) }, "", everybodyOff},
		"a container that has just begun": {func(b *bench) { b.container("near", "new", "0-7") }, "", everybodyOff},
		"KubeVirt's housekeeping cgroup": {func(b *bench) {
			b.group(cgroup.Group{Path: "db-compute/housekeeping", CPUs: set("3"), PodUID: "db", ContainerID: "db-compute"})
		}, "", everybodyOff},
		"a monitor of CRI-O":                {func(b *bench) { b.group(cgroup.Group{Path: "m", CPUs: set("0-7"), PodUID: "near"}) }, "", everybodyOff},
		"a pod that the API server has not": {func(b *bench) { b.container("gone", "c", "0-7") }, "", everybodyOff},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(b *bench) {
				static := pod("vms", "static", "c")
				static.Annotations[hashAnnotation] = "f00"
				for _, p := range []*corev1.Pod{pod("vms", "near", "c"), pod("web", "far", "c"), static} {
					b.add(p, "")
					b.container(p.Name, "c", "0-1,6-7")
				}
				b.add(pod("vms", "own", "c"), "4")
				b.container("own", "c", "4")
				b.add(launcherPod("db"), "2-3")
				b.container("db", "compute", "2-3")
				pass(10 * time.Second)
				b.says(t, "before", Alone, "", everybodyOff)
				tc.seed(b)
				state := Alone
				if tc.others != "" {
					state = Shared
				}
				pass(2 * period)
				b.says(t, "after two minutes", state, tc.others, tc.condition)
				if v := b.Of("db", set("2-3")); v.Lasting != (tc.others != "") {
					t.Errorf("lasting %t", v.Lasting)
				}
				shared := tc.others
				if shared == foreign {
					shared += " (web/far c)" // the report's readers may know it
				}
				if got := b.SharedWith()["db"]; got != shared {
					t.Errorf("shared with %q, want %q", got, shared)
				}
			})
		})
	}
}

// What is not there to be read is not said, and what cannot be read is said to be unknown.
func TestWithoutCgroups(t *testing.T) {
	play(t, func(b *bench) {
		b.change(func() { b.err = fmt.Errorf("nothing: %w", fs.ErrNotExist) })
		b.add(launcherPod("db"), "2-3")
		pass(period)
		if v, c := b.Of("db", set("2-3")), b.Condition(); v.State != Unknown || c != nil {
			t.Errorf("not mounted: %+v, condition %v", v, c)
		}
		b.change(func() { b.err = errors.New("damaged") })
		pass(period)
		if shared := b.SharedWith(); shared != nil {
			t.Errorf("damaged: shared with %v", shared)
		}
		b.says(t, "damaged", Unknown, "", "Unknown CgroupsUnreadable: who may run on the CPUs of dedicated VMs is not known: damaged")
		b.change(func() { b.err = nil })
		pass(period)
		b.says(t, "well again", Alone, "", everybodyOff)
	})
}

// Two programs let a container in and out in turns, each for less than the patience.
func TestInTurns(t *testing.T) {
	play(t, func(b *bench) {
		b.add(pod("vms", "near", "c"), "")
		b.add(launcherPod("db"), "2-3")
		b.container("near", "c", "0-7")
		lasting := 0
		for range 6 {
			pass(12 * time.Second)
			if b.Of("db", set("2-3")).Lasting {
				lasting++
			}
			b.container("near", "c", "0-1")
			pass(2 * time.Second)
			b.container("near", "c", "0-7")
			b.mu.Lock()
			b.looked = time.Time{} // a change of grants makes it look
			b.mu.Unlock()
			b.Trigger()
		}
		if lasting < 3 {
			t.Errorf("told %d times of 6", lasting)
		}
	})
}

// A VM that was there before the agent is not news, and a new grant is one.
func TestGrants(t *testing.T) {
	play(t, func(b *bench) {
		b.add(launcherPod("db"), "2-3")
		pass(period)
		if v := b.Of("db", set("2-3")); !v.Witnessed || v.State != Alone {
			t.Errorf("a VM that came: %+v", v)
		}
		if v := b.Of("db", set("4-5")); v.State != Pending {
			t.Errorf("another grant, before anybody looked: %+v", v)
		}
		scans := b.looks()
		b.mu.Lock()
		b.grants = Grants{"db": {"compute": set("4-5")}}
		b.mu.Unlock()
		b.Trigger()
		pass(fold)
		if v := b.Of("db", set("4-5")); v.State != Alone || b.looks() != scans+1 {
			t.Errorf("another grant: %+v after %d looks", v, b.looks()-scans)
		}
		b.mu.Lock()
		b.pods = []*corev1.Pod{}
		b.mu.Unlock()
		b.Trigger()
		pass(2 * period)
		if c := b.Condition(); len(b.records) != 0 || c.Reason != ReasonNobodyElse || b.looks() != scans+1 {
			t.Errorf("without VMs: %d records, condition %+v, %d looks", len(b.records), c, b.looks()-scans)
		}
	})
}
