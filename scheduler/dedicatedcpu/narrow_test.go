// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/scheduler/config"
)

func (s *snapshot) HavePodsWithRequiredAntiAffinityList() ([]fwk.NodeInfo, error) {
	var with []fwk.NodeInfo
	for _, info := range s.nodes {
		if len(info.GetPodsWithRequiredAntiAffinity()) > 0 {
			with = append(with, info)
		}
	}
	return with, nil
}

// large is a fixture with more nodes than kube-scheduler looks at.
type large struct {
	*fixture
	*snapshot
	informers informers.SharedInformerFactory
}

func newLarge(t *testing.T, size int, args config.DedicatedCPUArgs) *large {
	t.Helper()
	l := &large{fixture: newFixture(args), snapshot: &snapshot{}, informers: informers.NewSharedInformerFactory(fake.NewClientset(), 0)}
	l.DedicatedCPU.snapshot = func() fwk.SharedLister { return l.snapshot }
	l.extenders = func() []fwk.Extender { return nil }
	l.claims = claimsOf(l.informers)
	l.view.Forgetting(l.ranking.Changed)
	for i := range size {
		name := fmt.Sprint("n", i)
		l.report(t, name, nil)
		l.nodes = append(l.nodes, l.node(t, name))
	}
	return l
}

// narrowed runs PreFilter, and returns how many candidates it names; -1 if kube-scheduler is to look at all nodes.
func (l *large) narrowed(t *testing.T, pod *corev1.Pod) (int, fwk.CycleState) {
	t.Helper()
	state := framework.NewCycleState()
	result, status := l.PreFilter(t.Context(), state, pod, l.nodes)
	if !status.IsSuccess() {
		t.Fatalf("PreFilter: %v", status)
	}
	if result.AllNodes() {
		return -1, state
	}
	return len(result.NodeNames), state
}

func TestCandidates(t *testing.T) {
	preferring := &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 1}}}}
	for name, test := range map[string]struct {
		size   int
		args   config.DedicatedCPUArgs
		change func(pod *corev1.Pod)
		want   int
	}{
		"a VM":                   {want: candidates},
		"few nodes":              {size: manyNodes, want: -1},
		"search by sample":       {args: config.DedicatedCPUArgs{Search: config.Sample}, want: -1},
		"a pod of no VM":         {change: func(p *corev1.Pod) { p.Labels = nil; p.Spec.NodeSelector = nil }, want: -1},
		"more than any node has": {change: func(p *corev1.Pod) { p.Spec.Containers[0] = container("compute", "40", "40") }, want: -1},
		"one node by selector":   {change: func(p *corev1.Pod) { p.Spec.NodeSelector["kubernetes.io/hostname"] = "n7" }, want: 1},
		"more memory": {change: func(p *corev1.Pod) {
			much := st.MakeNode().Capacity(map[corev1.ResourceName]string{"memory": "640Gi"}).Obj().Status.Capacity[corev1.ResourceMemory]
			p.Spec.Containers[1].Resources.Requests[corev1.ResourceMemory] = much
			p.Spec.Containers[1].Resources.Limits[corev1.ResourceMemory] = much
		}, want: -1},
		"nominated":          {change: func(p *corev1.Pod) { p.Status.NominatedNodeName = "n1" }, want: -1},
		"preferred nodes":    {change: func(p *corev1.Pod) { p.Spec.Affinity = preferring }, want: -1},
		"apart from others":  {change: func(p *corev1.Pod) { p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{}} }, want: -1},
		"spread":             {change: func(p *corev1.Pod) { p.Spec.TopologySpreadConstraints = make([]corev1.TopologySpreadConstraint, 1) }, want: -1},
		"a port of the host": {change: func(p *corev1.Pod) { p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80}} }, want: -1},
		"a resource claim":   {change: func(p *corev1.Pod) { p.Spec.ResourceClaims = make([]corev1.PodResourceClaim, 1) }, want: -1},
	} {
		t.Run(name, func(t *testing.T) {
			size := test.size
			if size == 0 {
				size = manyNodes + 20
			}
			l := newLarge(t, size, test.args)
			for _, info := range l.nodes {
				info.Node().Labels["kubernetes.io/hostname"] = info.Node().Name
			}
			pod := launcherPod("vm", "4")
			if test.change != nil {
				test.change(pod)
			}
			got, _ := l.narrowed(t, pod)
			if got != test.want {
				t.Errorf("PreFilter names %d nodes, want %d", got, test.want)
			}
		})
	}
}

// A required anti-affinity of a pod that runs may keep a VM off all candidates.
func TestPodsThatKeepOthersAway(t *testing.T) {
	for name, test := range map[string]struct {
		term corev1.PodAffinityTerm
		want int
	}{
		"of these labels":      {corev1.PodAffinityTerm{LabelSelector: metav1.SetAsLabelSelector(map[string]string{"kubevirt.io": "virt-launcher"})}, -1},
		"of other labels":      {corev1.PodAffinityTerm{LabelSelector: metav1.SetAsLabelSelector(map[string]string{"app": "db"})}, candidates},
		"of another namespace": {corev1.PodAffinityTerm{LabelSelector: &metav1.LabelSelector{}, Namespaces: []string{"others"}}, candidates},
		"of some namespaces":   {corev1.PodAffinityTerm{LabelSelector: &metav1.LabelSelector{}, NamespaceSelector: &metav1.LabelSelector{}}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLarge(t, manyNodes+20, config.DedicatedCPUArgs{})
			test.term.TopologyKey = "zone"
			guard := st.MakePod().Namespace("vms").Name("guard").UID("guard").Obj()
			guard.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{test.term}}}
			l.nodes[0] = l.node(t, "n0", guard)
			got, _ := l.narrowed(t, launcherPod("vm", "4"))
			if got != test.want {
				t.Errorf("PreFilter names %d nodes, want %d", got, test.want)
			}
		})
	}
}

func TestVolumesOfCandidates(t *testing.T) {
	onNode := func(v *corev1.PersistentVolume) {
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: st.MakeNodeSelector().In("kubernetes.io/hostname", []string{"n3", "n4"}, st.NodeSelectorTypeMatchExpressions).Obj()}
	}
	for name, test := range map[string]struct {
		claim  func(c *corev1.PersistentVolumeClaim)
		volume func(v *corev1.PersistentVolume)
		want   int
	}{
		"bound":                      {want: candidates},
		"on two nodes":               {volume: onNode, want: 2},
		"not bound yet":              {claim: func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "" }, want: -1},
		"of a zone, by label":        {volume: func(v *corev1.PersistentVolume) { v.Labels = map[string]string{corev1.LabelTopologyZone: "a"} }, want: -1},
		"of a driver with a limit":   {volume: func(v *corev1.PersistentVolume) { v.Spec.CSI.Driver = "limited" }, want: -1},
		"of a driver without limits": {volume: func(v *corev1.PersistentVolume) { v.Spec.CSI.Driver = "free" }, want: candidates},
		"of a migrated driver": {volume: func(v *corev1.PersistentVolume) {
			v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{}}
		}, want: -1},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLarge(t, manyNodes+20, config.DedicatedCPUArgs{})
			l.provide(t, test.claim, test.volume)
			pod := launcherPod("vm", "4")
			pod.Spec.Volumes = []corev1.Volume{
				{Name: "disk", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "disk"}}},
				{Name: "run", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			}
			got, _ := l.narrowed(t, pod)
			if got != test.want {
				t.Errorf("PreFilter names %d nodes, want %d", got, test.want)
			}
		})
	}
}

// provide adds a claim with its volume, and what the nodes' drivers say.
func (l *large) provide(t *testing.T, changeClaim func(*corev1.PersistentVolumeClaim), changeVolume func(*corev1.PersistentVolume)) {
	t.Helper()
	claim := st.MakePersistentVolumeClaim().Namespace("vms").Name("disk").VolumeName("volume").Obj()
	claim.Status.Phase = corev1.ClaimBound
	volume := st.MakePersistentVolume().Name("volume").Obj()
	volume.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "unknown"}
	if changeClaim != nil {
		changeClaim(claim)
	}
	if changeVolume != nil {
		changeVolume(volume)
	}
	core := l.informers.Core().V1()
	limit := int32(8)
	var err error
	for _, info := range l.nodes {
		info.Node().Labels["kubernetes.io/hostname"] = info.Node().Name
		drivers := []storagev1.CSINodeDriver{{Name: "limited", Allocatable: &storagev1.VolumeNodeResources{Count: &limit}}, {Name: "free"}}
		on := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: info.Node().Name}, Spec: storagev1.CSINodeSpec{Drivers: drivers}}
		err = l.informers.Storage().V1().CSINodes().Informer().GetIndexer().Add(on)
		if err != nil {
			t.Fatal(err)
		}
	}
	err = core.PersistentVolumeClaims().Informer().GetIndexer().Add(claim)
	if err != nil {
		t.Fatal(err)
	}
	err = core.PersistentVolumes().Informer().GetIndexer().Add(volume)
	if err != nil {
		t.Fatal(err)
	}
}

// Where candidates are refused, nobody is evicted from them, and all nodes are looked at next.
func TestCandidatesThatAreRefused(t *testing.T) {
	l := newLarge(t, manyNodes+20, config.DedicatedCPUArgs{})
	pod := launcherPod("vm", "4")
	got, state := l.narrowed(t, pod)
	if got != candidates {
		t.Fatalf("PreFilter names %d nodes, want %d", got, candidates)
	}
	victim, err := framework.NewPodInfo(guaranteedPod("victim", "8"))
	if err != nil {
		t.Fatal(err)
	}
	simulation := state.Clone()
	l.RemovePod(t.Context(), simulation, pod, victim, l.nodes[0])
	status := l.Filter(t.Context(), simulation, pod, l.nodes[0])
	if status.Code() != fwk.UnschedulableAndUnresolvable || !strings.Contains(status.Message(), ReasonCandidate) {
		t.Errorf("after an eviction Filter says %v; want that the node is a candidate only", status)
	}
	statuses := framework.NewNodeToStatus(map[string]*fwk.Status{}, fwk.NewStatus(fwk.UnschedulableAndUnresolvable))
	_, status = l.PostFilter(t.Context(), state, pod, statuses)
	if status.Code() != fwk.Unschedulable {
		t.Errorf("PostFilter says %v", status)
	}
	got, _ = l.narrowed(t, pod)
	if got != -1 {
		t.Errorf("the next PreFilter names %d nodes; want all", got)
	}
	l.podEvents().OnDelete(pod)
	got, _ = l.narrowed(t, pod)
	if got != candidates {
		t.Errorf("after the pod was deleted PreFilter names %d nodes, want %d", got, candidates)
	}
}

// Score takes a candidate's rating as it was when it was chosen, unless the node is not predicted exactly any more.
func TestCandidatesAreRatedOnce(t *testing.T) {
	l := newLarge(t, manyNodes+20, config.DedicatedCPUArgs{})
	each := newLarge(t, manyNodes+20, config.DedicatedCPUArgs{Search: config.Sample})
	pod := launcherPod("vm", "4")
	_, state := l.narrowed(t, pod)
	_, other := each.narrowed(t, pod)
	c := readCycle(state)
	for i, info := range l.nodes {
		_, candidate := c.ratings[info.GetGeneration()]
		if !candidate {
			continue
		}
		got, _ := l.Score(t.Context(), state, pod, info)
		want, _ := each.Score(t.Context(), other, pod, each.nodes[i])
		_, again := c.predict(info).Rating.Load()
		if got != want || again {
			t.Errorf("Score is %d on %s, rated again: %t; want %d as without candidates", got, info.Node().Name, again, want)
		}
		l.report(t, info.Node().Name, nil, func(s *v1alpha1.NodeCPUStatus) { s.Conditions = nil })
		got, _ = l.Score(t.Context(), state, pod, info)
		if got == want {
			t.Errorf("Score is %d on %s when its report is exact no longer; want what such a node gets", got, info.Node().Name)
		}
	}
	if len(c.ratings) != candidates {
		t.Errorf("%d candidates have ratings, want %d", len(c.ratings), candidates)
	}
}
