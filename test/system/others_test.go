// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/machine"
	"corepin.dev/corepin/test/harness/testbed"
)

// usual is a kubelet with the reconcile period that users have. The CPU manager gives out single hardware threads.
var usual = machine.Settings{Version: minors[0], Reserved: "0,1", Reconcile: 10 * time.Second}

// neighbour is a pod of the shared pool: it is Guaranteed, and asks for no whole CPU. It sleeps: a loop would take half of the host.
const neighbour = `{apiVersion: v1, kind: Pod, metadata: {name: neighbour, namespace: vms}, spec: {terminationGracePeriodSeconds: 0,
  automountServiceAccountToken: false, nodeSelector: {kubernetes.io/hostname: numa},
  containers: [{name: sleeper, image: "corepin.dev/busybox:1", imagePullPolicy: Never, resources: {limits: {cpu: 900m, memory: 64Mi}}}]}}`

// proven is a VM whose CPUs must be its own. Three CPUs leave a hardware thread of its second core to others. The selector is the
// one that virt-controller gives to VMs with realtime.
const proven = `{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: vmi-proven, namespace: vms}, spec: {
  schedulerName: corepin, terminationGracePeriodSeconds: 0, nodeSelector: {kubernetes.io/hostname: numa, kubevirt.io/realtime: "true"},
  domain: {cpu: {cores: 3, dedicatedCpuPlacement: true}, devices: {logSerialConsole: false}, resources: {limits: {memory: 1Gi}}}}}`

// intrusion is something that others do to a VM, and where it is told.
type intrusion struct {
	name string
	// do does it, and undo ends it, in the machine's shell; see intrusionScript.
	do, undo string
	// reason and says are of the event that the VM's pod gets. Without a reason condition Exclusive of the node says it.
	reason, says string
}

// intrusionScript is before each script: $cpu is a CPU of the VM, $vm and $neighbour are cgroups of containers, and $was is
// the cpuset of the neighbour.
const intrusionScript = `cpu=$0 vm=$1 neighbour=$2 was=$3 service=/sys/fs/cgroup/loop.service
# loop GROUP computes on the CPU, from a cgroup.
loop() {
	sh -c 'echo $$ >$0/cgroup.procs; exec taskset -c $1 busybox sh -c "while :; do :; done"' $1 $cpu >/dev/null 2>&1 </dev/null &
	echo $! >/run/loop.pid
}
unloop() { kill -9 $(cat /run/loop.pid); while ! rmdir $service 2>/dev/null && [ -d $service ]; do busybox usleep 100000; done; }
`

var intrusions = []intrusion{
	{"a cpuset is rewritten, and its container computes on the VM's CPU", `echo 0-15 >$neighbour/cpuset.cpus; loop $neighbour`, "",
		pinning.EventOthersMayRun, "1 container of the shared pool (vms/neighbour sleeper)"},
	{"it goes on", "", `unloop; echo $was >$neighbour/cpuset.cpus`, pinning.EventCPUTimeLost, "went to other threads"},
	{"the cpuset is right again", "", "", pinning.EventExclusive, "until then also 1 container of the shared pool"},
	{"a service outside the kubelet's pods", `mkdir $service; loop $service`, `unloop`, "", "loop.service"},
	{"its memory is on the other NUMA node",
		`echo 1 >$vm/cpuset.mems; sh -c 'echo $$ >$0/cgroup.procs; exec dd if=/dev/zero of=/dev/shm/away bs=1M count=400' $vm`,
		`rm /dev/shm/away; echo 0-1 >$vm/cpuset.mems`, pinning.EventMemoryAway, "is on NUMA node 1"},
	{"the VM's CPU goes offline", `echo 0 >/sys/devices/system/cpu/cpu$cpu/online`, `echo 1 >/sys/devices/system/cpu/cpu$cpu/online`,
		pinning.EventCannotPin, "the kubelet granted CPUs 2-4, and CPUs 2 of these are not seen online"},
}

// tellsOthers starts a VM beside a container of the shared pool, and then has others do to it whatever takes its CPUs' time.
// Each is told, with the time until it is. What is told beside is a false alarm.
func (w *world) tellsOthers(ctx context.Context) {
	ginkgo.GinkgoHelper()
	m := w.machines[numaMachine]
	v, scope := w.provenVM(ctx)
	table := &strings.Builder{}
	defer func() {
		ginkgo.AddReportEntry("who else may run, and who does", ginkgo.ReportEntryVisibilityAlways, table.String())
	}()
	told, err := w.awaitEvent(ctx, v, nil, pinning.EventExclusive, "until then also 2 containers of the shared pool (vms/neighbour sleeper, …)")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(told).To(gomega.ContainSubstring("5 are in the shared pool"), "CPU 5 is the other hardware thread of CPU 4")
	fmt.Fprintf(table, "at its start: %s\n", told)
	// The queues of virtio disks interrupt each its own CPUs, and the kernel lets nobody move them.
	interrupts, err := w.awaitEvent(ctx, v, nil, pinning.EventInterrupted, "virtio")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	fmt.Fprintf(table, "and %s\n", interrupts)
	// A kernel before 6.2 forgets where threads were pinned when a CPU of their cpuset goes offline. The agent puts them back.
	expected := map[string]bool{pinning.EventInterrupted: true, pinning.EventDriftRepaired: true}
	for _, i := range intrusions {
		before, err := w.eventsOf(ctx, v)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		start := time.Now()
		_, err = m.Run(ctx, append([]string{"sh", "-ec", intrusionScript + i.do}, scope...)...)
		gomega.Expect(err).NotTo(gomega.HaveOccurred(), i.name)
		told, err := w.awaitIntrusion(ctx, v, before, i)
		fmt.Fprintf(table, "%s: after %s, %s: %s\n", i.name, since(start), cmp.Or(i.reason, "condition Exclusive"), told)
		_, undone := m.Run(ctx, append([]string{"sh", "-ec", intrusionScript + i.undo}, scope...)...)
		gomega.Expect(errors.Join(err, undone)).To(gomega.Succeed(), i.name)
		expected[i.reason] = true
		if i.reason == pinning.EventOthersMayRun {
			table.WriteString(w.shown(ctx))
		}
	}
	gomega.Expect(w.awaitPinned(ctx, v)).To(gomega.Succeed())
	events, err := w.eventsOf(ctx, v)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	for text, event := range events {
		if event.Type == corev1.EventTypeWarning && event.Source.Component == "corepin-agent" {
			gomega.Expect(expected[event.Reason]).To(gomega.BeTrue(), "a false alarm: %s", text)
		}
	}
}

// provenVM starts the VM beside its neighbour, under a kubelet that reconciles as late as users' do. scope are the arguments of
// intrusionScript.
func (w *world) provenVM(ctx context.Context) (v vm, scope []string) {
	ginkgo.GinkgoHelper()
	m := w.machines[numaMachine]
	gomega.Expect(w.reconfigure(ctx, m, usual)).To(gomega.Succeed())
	label := `{"metadata":{"labels":{"kubevirt.io/realtime":"true"}}}`
	_, err := w.Client().CoreV1().Nodes().Patch(ctx, m.Name(), types.StrategicMergePatchType, []byte(label), metav1.PatchOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(w.Apply(ctx, []byte(neighbour))).To(gomega.Succeed())
	var pod *corev1.Pod
	err = await.Every(ctx, pause, "pod neighbour to run", limit, func(ctx context.Context) error {
		pod, err = w.Client().CoreV1().Pods(testbed.VMNamespace).Get(ctx, "neighbour", metav1.GetOptions{})
		if err == nil && pod.Status.Phase != corev1.PodRunning {
			err = fmt.Errorf("it is %s: %v", pod.Status.Phase, pod.Status.Conditions)
		}
		return err
	})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	v = w.create(ctx, "vmi-proven", []byte(proven))
	gomega.Expect(w.startGuest(ctx, v)).To(gomega.Succeed())
	gomega.Expect(w.awaitPinned(ctx, v)).To(gomega.Succeed())
	beside, err := cgroupOf(pod, "sleeper")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	own, err := cgroupOf(v.pod, "compute")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	state, err := readCheckpoint(ctx, m)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	first, _, _ := strings.Cut(v.granted.String(), "-")
	return v, []string{first, own, beside, state.DefaultCPUSet}
}

// eventsOf are the events of a VM's pod, by all that a reader sees of them. Its VMI gets the Warnings too.
func (w *world) eventsOf(ctx context.Context, v vm) (map[string]corev1.Event, error) {
	selector := "involvedObject.kind=Pod,involvedObject.name=" + v.pod.Name
	list, err := w.Client().CoreV1().Events(testbed.VMNamespace).List(ctx, metav1.ListOptions{FieldSelector: selector})
	if err != nil {
		return nil, err
	}
	events := map[string]corev1.Event{}
	for _, event := range list.Items {
		events[fmt.Sprintf("%s %s: %s (%d times)", event.Type, event.Reason, event.Message, event.Count)] = event
	}
	return events, nil
}

// awaitIntrusion waits until an intrusion is in the events, where it was not before, or in the condition. It returns the message.
func (w *world) awaitIntrusion(ctx context.Context, v vm, before map[string]corev1.Event, i intrusion) (message string, err error) {
	if i.reason != "" {
		return w.awaitEvent(ctx, v, before, i.reason, i.says)
	}
	err = await.Every(ctx, pause, "condition Exclusive to have "+i.says, limit, func(ctx context.Context) error {
		report, err := w.Report(ctx, numaMachine)
		if err != nil {
			return err
		}
		condition := meta.FindStatusCondition(report.Status.Conditions, v1alpha1.ConditionExclusive)
		if condition == nil || condition.Status != metav1.ConditionFalse || !strings.Contains(condition.Message, i.says) {
			return fmt.Errorf("it is %+v", condition)
		}
		message = condition.Message
		return nil
	})
	return message, err
}

// awaitEvent waits until the pod of a VM has an event with a text, which is none of those before. It returns the message.
func (w *world) awaitEvent(ctx context.Context, v vm, before map[string]corev1.Event, reason, text string) (message string, err error) {
	err = await.Every(ctx, pause, fmt.Sprintf("event %s of %s with %q", reason, v.name, text), limit, func(ctx context.Context) error {
		events, err := w.eventsOf(ctx, v)
		if err != nil {
			return err
		}
		for key, event := range events {
			_, old := before[key]
			if !old && event.Reason == reason && strings.Contains(event.Message, text) {
				message = event.Message
				return nil
			}
		}
		return fmt.Errorf("the events are %q", slices.Sorted(maps.Keys(events)))
	})
	return message, err
}

// shown is what a user sees of the VM and its node.
func (w *world) shown(ctx context.Context) string {
	ginkgo.GinkgoHelper()
	return fmt.Sprintf("$ kubectl corepin pins -n vms\n%s$ kubectl corepin nodes -o wide\n%s", w.corepin(ctx, "pins", "-n", "vms"), w.corepin(ctx, "nodes", "-o", "wide"))
}

// corepin is what the kubectl plugin prints.
func (w *world) corepin(ctx context.Context, args ...string) string {
	ginkgo.GinkgoHelper()
	output, err := exec.CommandContext(ctx, filepath.Join(os.Getenv("COREPIN_BIN"), "kubectl-corepin"), append(args, "--kubeconfig", w.AdminKubeconfig())...).CombinedOutput()
	gomega.Expect(err).NotTo(gomega.HaveOccurred(), string(output))
	return string(output)
}

// quietFor is how long a VM must give no event.
const quietFor = time.Hour

// staysQuiet watches a VM that nobody disturbs. The kubelet's own events do not count: it repeats that it has no DNS server.
func (w *world) staysQuiet(ctx context.Context) {
	ginkgo.GinkgoHelper()
	v, _ := w.provenVM(ctx)
	_, err := w.awaitEvent(ctx, v, nil, pinning.EventExclusive, "no other container may run")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	_, err = w.awaitEvent(ctx, v, nil, pinning.EventInterrupted, "virtio")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	events := func(ctx context.Context) ([]string, error) {
		all, err := w.eventsOf(ctx, v)
		maps.DeleteFunc(all, func(_ string, event corev1.Event) bool { return event.Source.Component == "kubelet" })
		return slices.Sorted(maps.Keys(all)), err
	}
	before, err := events(ctx)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Consistently(ctx, events).WithTimeout(quietFor).WithPolling(time.Minute).Should(gomega.Equal(before))
	ginkgo.AddReportEntry("a quiet hour", ginkgo.ReportEntryVisibilityAlways, fmt.Sprintf("no event in %s after %q\n%s", quietFor, before, w.shown(ctx)))
}
