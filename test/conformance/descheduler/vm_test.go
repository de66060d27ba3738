// SPDX-License-Identifier: Apache-2.0

package descheduler

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/descheduler/pkg/framework/plugins/defaultevictor"
	"sigs.k8s.io/descheduler/pkg/framework/plugins/nodeutilization"

	"corepin.dev/corepin/scheduler/config"
)

// What an operator has to set, so that VMs are moved, and no more of them than it takes. Ten VMs with 4 CPUs are on a node with
// 62. Three have to go until half of the node is free.
func TestWhatEvictsVMs(t *testing.T) {
	withReplicas := evictVMs
	withReplicas.MinReplicas = 2
	for name, tc := range map[string]struct {
		evictor    defaultevictor.DefaultEvictorArgs
		background bool
		annotated  bool
		evicted    int
	}{
		"the evictor's default spares pods with local storage": {background: true},
		"with the evictor's protection of local storage off":   {evictor: evictVMs, background: true, evicted: 3},
		"with the VM's own annotation":                         {background: true, annotated: true, evicted: 3},
		"a VM is its owner's only replica":                     {evictor: withReplicas, background: true},
		"without the gate each migration counts as a failure":  {evictor: evictVMs, evicted: 10},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, config.MostFree, 0, 1)
			for range 10 {
				placed := c.start(4, func(vm *unstructured.Unstructured) {
					if tc.annotated {
						vm.SetAnnotations(map[string]string{"descheduler.alpha.kubernetes.io/evict": "true"})
					}
				})
				if !placed {
					t.Fatal("a VM found no place")
				}
			}
			c.join(2)
			args := nodeutilization.LowNodeUtilizationArgs{Thresholds: thresholds(20), TargetThresholds: thresholds(50)}
			got := c.deschedule(policy{plugin: nodeutilization.LowNodeUtilizationPluginName, args: &args, evictor: tc.evictor, background: tc.background})
			if len(got) != tc.evicted {
				t.Errorf("the descheduler evicts %d of 10 VMs, want %d: %v", len(got), tc.evicted, got)
			}
		})
	}
}
