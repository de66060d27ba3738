// SPDX-License-Identifier: Apache-2.0

package story

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/process"
	"corepin.dev/corepin/test/harness/testbed"
)

// OldVM is a VirtualMachine that is there before corepin's policies.
type OldVM struct {
	Name, Shape string
	// Scheduler is the one that it names, "" for none.
	Scheduler string
	// Instance is its last VMI.
	Instance types.UID
	// States are what became of it at each stage: "runs", or what a person would say instead.
	States []string
}

// OldFleet is a VM of each of OldShapes for no scheduler and one for corepin's.
func OldFleet() []*OldVM {
	var fleet []*OldVM
	for _, shape := range slices.Sorted(maps.Keys(OldShapes)) {
		fleet = append(fleet, &OldVM{Name: shape, Shape: shape}, &OldVM{Name: shape + "-corepin", Shape: shape, Scheduler: "corepin"})
	}
	return fleet
}

// Manifest is the VM, with more fields of its domain or template than the shape has: "" or such as "devices: {}, ".
func (vm *OldVM) Manifest(namespace, ofTemplate, ofDomain string) []byte {
	if vm.Scheduler != "" {
		ofTemplate += "schedulerName: " + vm.Scheduler + ", "
	}
	spec := strings.Replace(OldShapes[vm.Shape], "{domain: {", "{"+ofTemplate+"domain: {"+ofDomain, 1)
	return fmt.Appendf(nil, "{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: %s, namespace: %s}, spec: {runStrategy: Always, template: {spec: %s}}}",
		vm.Name, namespace, spec)
}

// Wanted is what should become of the VM at every stage.
func (vm *OldVM) Wanted() string {
	if NeverExclusive[vm.Shape] && vm.Scheduler == "corepin" {
		return "waits"
	}
	return "runs"
}

// Reached notes what has become of the VM. The error says that this is not as wanted.
func (vm *OldVM) Reached(state string) error {
	vm.States = append(vm.States, state)
	if state != vm.Wanted() {
		return fmt.Errorf("%s %s", vm.Name, state)
	}
	return nil
}

// OldTable is what became of a fleet.
func OldTable(fleet []*OldVM) string {
	line := func(shape, scheduler string, states ...string) string {
		states = append(states, "", "", "", "")
		return fmt.Sprintf("%-20s %-10s %-8s %-8s %-10s %s\n", shape, scheduler, states[0], states[1], states[2], states[3])
	}
	table := line("shape", "scheduler", "before", "install", "restarted", "removed")
	for _, vm := range fleet {
		table += line(vm.Shape, vm.Scheduler, vm.States...)
	}
	return table
}

// StateOf is what a launcher pod does, in the words of OldVM.States.
func StateOf(pod *corev1.Pod) string {
	if pod.Status.Phase == corev1.PodRunning {
		return "runs"
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return "waits"
		}
	}
	return strings.TrimSpace("is " + string(pod.Status.Phase) + " " + pod.Status.Reason)
}

// RemovePolicies removes corepin's admission policies, and waits until the API server enforces them no more.
func RemovePolicies(ctx context.Context, bed *testbed.Testbed) error {
	var errs []error
	for _, kind := range []string{"validatingadmissionpolicybinding", "validatingadmissionpolicy"} {
		_, err := bed.Kubectl(ctx, "delete", kind, "dedicated-cpu.corepin.dev", "dedicated-cpu-warnings.corepin.dev")
		errs = append(errs, err)
	}
	refused := &unstructured.Unstructured{}
	errs = append(errs, refused.UnmarshalJSON([]byte(`{"apiVersion":"kubevirt.io/v1","kind":"VirtualMachineInstance",
		"metadata":{"name":"refused","namespace":"default"},"spec":{"schedulerName":"corepin","domain":{"devices":{},
		"cpu":{"cores":1,"dedicatedCpuPlacement":true},"memory":{"guest":"8Gi"},"resources":{"requests":{"memory":"1Gi"}}}}}`)))
	errs = append(errs, await.For(ctx, "the API server to forget corepin's policies", time.Minute, func(ctx context.Context) error {
		_, err := bed.Dynamic().Resource(testbed.VMIs).Namespace("default").Create(ctx, refused, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil && strings.Contains(err.Error(), "dedicated-cpu.corepin.dev") {
			return err
		}
		return nil
	}))
	return errors.Join(errs...)
}

// StockScheduler runs one for pods that name none, as a cluster has it before corepin comes.
func StockScheduler(ctx context.Context, bed *testbed.Testbed) (*process.Process, error) {
	return bed.RunScheduler(ctx, "stock-scheduler", func(config map[string]any) {
		config["leaderElection"] = map[string]any{"leaderElect": false}
		config["profiles"] = []any{map[string]any{"schedulerName": "default-scheduler"}}
	})
}
