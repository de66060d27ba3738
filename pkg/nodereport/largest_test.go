// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"fmt"
	"os"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/test/harness/bounds"
)

// largest is the report of the largest machine that Kubernetes is run on: 1,792 CPUs, two a core, in 30 of 64 NUMA
// nodes; the other 34 have memory only. Each CPU but the first core's is granted to a VM of one core, or free.
func largest(t testing.TB, options map[string]string, policy string) *v1alpha1.NodeCPU {
	t.Helper()
	const cores = cpuset.MaxCPUs / 2
	var all []cputopology.Core
	for numa, first := 0, 0; first < cores; numa++ {
		next := first + 30
		if numa >= 28 {
			next = first + 28
		}
		for ; first < next; first++ {
			all = append(all, cputopology.Core{CPUs: cpuset.Of(first, first+cores), NUMANode: numa, Socket: numa / 2, UncoreCache: numa})
		}
	}
	nodes := make([]cputopology.NUMANode, 64)
	for id := range nodes {
		nodes[id].ID = id
		for other := range nodes {
			nodes[id].Distances = append(nodes[id].Distances, 10+(id^other))
		}
	}
	topology, err := cputopology.New(all, nodes...)
	if err != nil {
		t.Fatal(err)
	}
	nc := report()
	status := &nc.Status
	SetTopology(status, topology)
	status.CPUManager.Options = options
	status.TopologyManager = v1alpha1.TopologyManager{Policy: policy, Scope: "container", Options: map[string]string{"max-allowable-numa-nodes": "64"}}
	status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionExact, Status: metav1.ConditionTrue}}
	shared := topology.CPUs()
	granted := map[types.UID]map[string]cpuset.Set{}
	for core := 1; core < cores; core += 2 {
		cpus := cpuset.Of(core, core+cores)
		shared = shared.Minus(cpus)
		granted[types.UID(fmt.Sprintf("00000000-0000-0000-0000-%012d", core))] = map[string]cpuset.Set{"compute": cpus}
	}
	SetGranted(status, granted)
	status.SharedCPUs = shared.String()
	status.ReservedCPUs = cpuset.Of(0, cores).String()
	Summarize(status)
	return nc
}

// The largest machine is read, and decided about, like any other, in the time that a decision may take.
func TestLargestMachine(t *testing.T) {
	const limit = 50 * time.Millisecond
	pod := func(cpus int) *admission.Pod {
		return &admission.Pod{Guaranteed: true, Containers: []admission.Container{{Name: "compute", CPUs: cpus}}}
	}
	decided := 0
	for _, policy := range []string{topologymanager.PolicyNone, topologymanager.PolicyBestEffort, topologymanager.PolicyRestricted, topologymanager.PolicySingleNUMANode} {
		for _, option := range []string{"", "full-pcpus-only", "distribute-cpus-across-numa", "distribute-cpus-across-cores", "prefer-align-cpus-by-uncorecache"} {
			options := map[string]string{}
			if option != "" {
				options[option] = "true"
			}
			nc := largest(t, options, policy)
			if n := nc.Status.Summary; n.CPUs != 1792 || n.NUMANodes != 64 || n.Granted != 896 {
				t.Fatalf("the machine is %+v", n)
			}
			var r *Report
			bounds.Within(t, bounds.Limits{Time: limit, Bytes: 8 << 20}, "the report", func() { r = Read(nc) })
			if r.State != Exact {
				t.Fatalf("policy %s, %s: %s (%s)", policy, option, r.State, r.Why)
			}
			for _, cpus := range []int{2, 26, 60, 300, 894, 896} {
				p := pod(cpus)
				why := r.Node.Inexact(*p)
				if why != "" {
					continue // counted, not predicted
				}
				// One other pod in flight is decided about. Three may be told to wait, as one where the search is the
				// longest, and that in time too.
				for _, others := range [][]*admission.Pod{nil, {pod(4)}, {pod(2), pod(4), pod(6)}} {
					var d admission.Decision
					input := fmt.Sprintf("policy %s, %s, %d CPUs, %d in flight", policy, option, cpus, len(others))
					bounds.Within(t, bounds.Limits{Time: limit, Bytes: 64 << 20}, input, func() { d = admission.AdmitAfter(r.Node, others, p) })
					mayWait := len(others) > 1 || len(others) == 1 && option == "distribute-cpus-across-numa"
					if policy == topologymanager.PolicyNone && !mayWait && (d.Verdict == admission.Admitted) != (cpus <= 894-4*len(others)) {
						t.Errorf("%s: %s", input, d)
					}
					decided++
				}
			}
		}
	}
	t.Logf("%d decisions", decided)
}

// What the CustomResourceDefinition lets pass can be read, and no less: one limit, in two files.
func TestTheSchemasLimits(t *testing.T) {
	text, err := os.ReadFile("../../manifests/base/crd/corepin.dev_nodecpus.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(text, &crd); err != nil {
		t.Fatal(err)
	}
	status := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"].Properties
	for field, want := range map[string]int64{"cores": maxCores, "granted": maxCores, "numaNodes": maxNUMANodes} {
		if items := status[field].MaxItems; items == nil || *items != want {
			t.Errorf("status.%s lets %v items pass, want %d", field, items, want)
		}
	}
	nc := largest(t, nil, topologymanager.PolicyNone)
	for field, list := range map[string]string{"sharedCPUs": nc.Status.SharedCPUs, "reservedCPUs": nc.Status.ReservedCPUs} {
		if most := status[field].MaxLength; most == nil || *most < int64(len(list)) {
			t.Errorf("status.%s has %d bytes on the largest machine, and %v pass", field, len(list), most)
		}
	}
}
