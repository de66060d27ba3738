package nodeview

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/nodereport"
)

// Standing is what is known of a node.
type Standing uint8

const (
	// Missing: there is no report, or one of an earlier Node of that name.
	Missing Standing = iota
	// Unlisted: the reports cannot be listed; the CRD is not installed, say.
	Unlisted
	// Starting: the reports are being listed for the first time.
	Starting
	// Newer: the report says things that this version does not know.
	Newer
	// Unreadable: the report contradicts itself or is incomplete.
	Unreadable
	// NoCPUManager: the kubelet's CPU manager grants no exclusive CPUs.
	NoCPUManager
	// Inexact: the report can be read, but this kubelet, or this pod on it, cannot be predicted exactly.
	Inexact
	// Exact: what is predicted is what the kubelet will do.
	Exact
)

// String gives the standing in one word.
func (s Standing) String() string {
	return [...]string{"missing", "unlisted", "starting", "newer", "unreadable", "noCPUManager", "inexact", "exact"}[s]
}

// Report is one node's NodeCPU, decoded. Of the object's metadata it keeps the name and the resource
// version, which the informer's store needs. A Report does not change.
type Report struct {
	metav1.ObjectMeta
	// owner is the UID of the Node that the report is about; empty where it does not tell.
	owner    types.UID
	standing Standing
	// why tells of every standing but Exact how it came about.
	why string
	// node is the node with the report's own shared pool; nil where the report could not be read.
	node *admission.Node
	// granted has, by pod UID, what each container holds, by name.
	granted map[types.UID][]admission.Grant
}

// Decode reads a NodeCPU as the API server sent it. There is no error: a report that cannot be used is
// a Report too, and says why.
func Decode(object *unstructured.Unstructured) *Report {
	report := &Report{ObjectMeta: metav1.ObjectMeta{Name: object.GetName(), ResourceVersion: object.GetResourceVersion()}}
	if version := object.GetAPIVersion(); version != v1alpha1.GroupVersion.String() {
		return report.unusable(Newer, fmt.Errorf("its version is %s, and this scheduler knows %s", version, v1alpha1.GroupVersion))
	}
	// Unknown fields of the metadata are those of a newer API server, and say nothing about CPUs.
	content := maps.Clone(object.Object)
	delete(content, "metadata")
	var nc v1alpha1.NodeCPU
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(content, &nc, true); err != nil {
		if runtime.IsStrictDecodingError(err) {
			return report.unusable(Newer, err)
		}
		return report.unusable(Unreadable, err)
	}
	nc.Name, nc.OwnerReferences = object.GetName(), object.GetOwnerReferences()
	report.owner = nodereport.Owner(&nc)
	var err error
	if report.node, err = nodereport.Node(&nc); err == nil {
		report.node.Topology = shared.machine(report.node.Topology)
		report.granted, err = grantedOf(&nc)
	}
	switch {
	case errors.Is(err, nodereport.ErrNewer):
		return report.unusable(Newer, err)
	case err != nil:
		return report.unusable(Unreadable, err)
	}
	report.standing, report.why = standing(&nc, report.node)
	return report
}

// grantedOf is what pods hold, as a few slices: there is one for each VM of a cluster.
func grantedOf(nc *v1alpha1.NodeCPU) (map[types.UID][]admission.Grant, error) {
	pods, err := nodereport.Granted(nc)
	if err != nil {
		return nil, err
	}
	granted := make(map[types.UID][]admission.Grant, len(pods))
	for uid, containers := range pods {
		grants := make([]admission.Grant, 0, len(containers))
		for _, name := range slices.Sorted(maps.Keys(containers)) {
			grants = append(grants, admission.Grant{Container: name, CPUs: containers[name]})
		}
		granted[uid] = grants
	}
	return granted, nil
}

func (r *Report) unusable(standing Standing, err error) *Report {
	r.standing, r.why, r.node, r.granted = standing, err.Error(), nil, nil
	return r
}

// standing is that of a report which could be read.
func standing(nc *v1alpha1.NodeCPU, node *admission.Node) (Standing, string) {
	if node.CPUManager.Policy != cpumanager.PolicyStatic {
		return NoCPUManager, fmt.Sprintf("the kubelet's CPU manager policy is %q", node.CPUManager.Policy)
	}
	exact := meta.FindStatusCondition(nc.Status.Conditions, v1alpha1.ConditionExact)
	switch {
	case exact == nil:
		return Inexact, "the report does not say whether it is exact"
	case exact.Status != metav1.ConditionTrue:
		return Inexact, exact.Message
	}
	return Exact, ""
}

// sameAs tells whether both reports predict the same.
func (r *Report) sameAs(s *Report) bool {
	if r == nil || s == nil {
		return r == s
	}
	return r.owner == s.owner && r.standing == s.standing && sameNode(r.node, s.node) && maps.EqualFunc(r.granted, s.granted, slices.Equal[[]admission.Grant])
}

func sameNode(n, m *admission.Node) bool {
	if n == nil || m == nil {
		return n == m
	}
	a, b := *n, *m
	a.Topology, b.Topology = nil, nil
	return n.Topology.Equal(m.Topology) && reflect.DeepEqual(a, b)
}

// free are the CPUs that the kubelet could grant were the pods in gone gone, those in its shared pool
// included.
func (r *Report) free(gone []types.UID) cpuset.Set {
	free := r.node.Shared
	for _, uid := range gone {
		for _, grant := range r.granted[uid] {
			free = free.Union(grant.CPUs)
		}
	}
	return free
}

// covers tells whether the report has CPUs for each container of a pod that asks for exclusive ones. A
// report can be written between two of them.
func (r *Report) covers(uid types.UID, pod *admission.Pod) bool {
	granted, ok := r.granted[uid]
	return ok && !slices.ContainsFunc(pod.Containers, func(c admission.Container) bool {
		return c.CPUs > 0 && !slices.ContainsFunc(granted, func(g admission.Grant) bool { return g.Container == c.Name && !g.CPUs.IsEmpty() })
	})
}
