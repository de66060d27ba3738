// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	cadvisor "github.com/google/cadvisor/info/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/hostcpu"
	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/agent/report"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/quantity"
)

// Reported is a kubelet without an API server, and the agent's own readers over its files: what the node's report would say.
// One goroutine at a time may call its methods.
type Reported struct {
	*Kubelet
	options Options
	node    *corev1.Node
	machine *cadvisor.MachineInfo
	files   *kubelet.Watcher
	host    *hostcpu.Watcher
	last    v1alpha1.NodeCPUStatus
}

// NewReported starts a kubelet over a directory. Of the options it takes Dir, Topology, Kubelet, Memory, HugePages and Devices.
// The kubelet reads what node is whenever it admits a pod. Its amounts are the caller's to say.
func NewReported(ctx context.Context, o Options, node *corev1.Node) (*Reported, error) {
	r := &Reported{options: o, node: node}
	memory, err := quantity.Parse(cmp.Or(o.Memory, "64Gi"))
	if err != nil {
		return nil, fmt.Errorf("parsing the memory %q of a node: %w", o.Memory, err)
	}
	sys := filepath.Join(o.Dir, "sys")
	if err := writeSysfs(sys, o.Topology, memory.Value(), o.HugePages); err != nil {
		return nil, err
	}
	if r.machine, err = machineInfo(sys); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(r.rootDir(), 0o755); err != nil {
		return nil, fmt.Errorf("making the kubelet's directory: %w", err)
	}
	if err := r.options.Kubelet.withDefaults().writeConfig(r.rootDir(), r.machine.Topology[0].Id); err != nil {
		return nil, err
	}
	if err := r.start(ctx, nil); err != nil {
		return nil, err
	}
	r.Admit()
	r.files = kubelet.NewWatcher(kubelet.Options{RootDir: r.rootDir(), ConfigFile: filepath.Join(r.rootDir(), "config.yaml"), Clock: clock.RealClock{}})
	r.host = hostcpu.NewWatcher(hostcpu.Options{SysfsDir: sys, Clock: clock.RealClock{}})
	r.host.Refresh(ctx)
	if err := r.files.RefreshDevices(ctx); err != nil {
		r.Stop()
		return nil, fmt.Errorf("asking the kubelet for its devices: %w", err)
	}
	return r, nil
}

func (r *Reported) rootDir() string { return filepath.Join(r.options.Dir, "kubelet") }

// start starts a kubelet over the state files of the one before, if there was one.
func (r *Reported) start(ctx context.Context, running []*corev1.Pod) error {
	started, err := NewKubelet(ctx, KubeletOptions{
		RootDir: r.rootDir(), Machine: r.machine, Settings: r.options.Kubelet, Devices: true, Running: running,
		Node: func(context.Context, bool) (*corev1.Node, error) { return r.node, nil },
	})
	if err != nil {
		return fmt.Errorf("starting a kubelet: %w", err)
	}
	r.Kubelet = started
	for _, name := range slices.Sorted(maps.Keys(r.options.Devices)) {
		if err := r.SetDevices(name, r.options.Devices[name]); err != nil {
			return err
		}
	}
	return nil
}

// Restart ends the kubelet and starts it again. The new one admits the pods that run, and may refuse some.
func (r *Reported) Restart(ctx context.Context, running []*corev1.Pod) ([]Rejection, error) {
	r.Stop()
	if err := r.start(ctx, running); err != nil {
		return nil, err
	}
	return r.Admit(running...), nil
}

// Report is the report that the node's agent would write now.
func (r *Reported) Report(ctx context.Context) *v1alpha1.NodeCPU {
	r.files.Refresh(ctx)
	status := report.Build(report.Facts{
		Kubelet: *r.files.State(), Host: r.host.Reading(), Memory: r.host.Memory(), KubeletVersion: kubeletVersion, Node: r.node, Pods: []*corev1.Pod{},
	}, r.last, time.Now())
	status.Generation++
	for i := range status.Conditions {
		status.Conditions[i].ObservedGeneration = status.Generation
	}
	r.last = *status.DeepCopy()
	return &v1alpha1.NodeCPU{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind},
		ObjectMeta: metav1.ObjectMeta{Name: r.node.Name, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: r.node.Name, UID: r.node.UID}}},
		Status:     status,
	}
}
