// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"corepin.dev/corepin/test/harness/testbed"
)

// The bounds between which the number of VMs goes up and down. Both are above what fits at times, so that some wait.
const (
	fewVMs  = 16
	manyVMs = 32
)

// comeAndGo makes and deletes VMs until ctx ends.
func (w *world) comeAndGo(ctx context.Context, r *rand.Rand) {
	vmis := w.bed.Dynamic().Resource(testbed.VMIs).Namespace(testbed.VMNamespace)
	var alive []string
	next := 0
	for ctx.Err() == nil {
		pause(ctx, 100*time.Millisecond+time.Duration(r.Int64N(int64(time.Second))))
		grows := len(alive) < fewVMs || len(alive) < manyVMs && r.IntN(3) > 0
		cores := []int{2, 2, 2, 4, 4, 6}[r.IntN(6)]
		victim := r.IntN(manyVMs)
		if grows {
			next++
			name := fmt.Sprintf("vm-%05d", next)
			if _, err := vmis.Create(ctx, vmiOf(name, cores), metav1.CreateOptions{}); err != nil {
				w.watch.count("a VM could not be made: API server away", nil)
				continue
			}
			w.watch.count("VMs made", nil)
			alive = append(alive, name)
			continue
		}
		victim %= len(alive)
		if err := vmis.Delete(ctx, alive[victim], metav1.DeleteOptions{}); err != nil {
			w.watch.count("a VM could not be deleted: API server away", nil)
			continue
		}
		w.watch.count("VMs deleted", nil)
		alive = append(alive[:victim], alive[victim+1:]...)
	}
}

func vmiOf(name string, cores int) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
		"metadata": map[string]any{"name": name, "namespace": testbed.VMNamespace},
		"spec": map[string]any{"schedulerName": "corepin", "domain": map[string]any{
			"cpu":       map[string]any{"cores": int64(cores), "dedicatedCpuPlacement": true},
			"resources": map[string]any{"limits": map[string]any{"memory": "1Gi"}},
		}},
	}}
}
