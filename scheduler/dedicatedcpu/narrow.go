// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	schedulinghelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/ranking"
	"corepin.dev/corepin/scheduler/wakeup"
)

const (
	// candidates is how many nodes kube-scheduler gets to choose from: enough for other plugins' scores to count, and for a node
	// that changes meanwhile.
	candidates = 32
	// manyNodes is up to how many nodes kube-scheduler looks at all of them (minFeasibleNodesToFind in
	// pkg/scheduler/schedule_one.go, v1.36.3).
	manyNodes = 100
	// looks is how many nodes one cycle rates that are not known as they are. It is less than the 500 of 5,000 that kube-scheduler looks at.
	looks = 200
	// passing is how many of them may have pods in flight. Such a node takes several times as long to rate, since the pods may be admitted in
	// any order, and its next report makes the rating void.
	passing = 32
)

// narrow chooses the best nodes for a VM among all nodes, and says nil where kube-scheduler is to look for itself. It does that where a
// plugin could refuse all candidates that takes other nodes, and where the user has said which nodes are preferred.
//
// kube-scheduler puts the nodes in a result together with those of other plugins, and refuses the pod if nothing is left. It holds
// the other nodes to be out of question, and does not look for victims there. So a cycle that fails with candidates says nothing
// of the VM: Filter lets nobody be evicted in it, and PostFilter has the VM tried again among all nodes.
func (pl *DedicatedCPU) narrow(ctx context.Context, c *cycle, pod *corev1.Pod, nodes []fwk.NodeInfo) *fwk.PreFilterResult {
	if pl.args.Search != config.AllNodes || len(nodes) <= manyNodes || c.simulated || !c.Dedicated || pl.wide.has(pod.UID) || len(pl.extenders()) > 0 {
		return nil
	}
	place := pl.placeOf(ctx, pod)
	if place == nil {
		return nil
	}
	best := pl.ranking.Best(&ranking.Question{
		Kind: pl.kindOf(c.Demand), Nodes: nodes, Most: candidates, Looks: looks, Passing: passing, Now: pl.view.Now(),
		Judge:  func(info fwk.NodeInfo) ranking.Answer { return pl.judge(c, info) },
		State:  pl.stateFor(c.Demand),
		Accept: place.accepts,
	})
	if len(best) == 0 {
		return nil
	}
	names := make(sets.Set[string], len(best))
	c.narrowed = true
	c.ratings = make(map[int64]int64, len(best))
	for _, rated := range best {
		names.Insert(rated.Node.Node().Name)
		c.ratings[rated.Node.GetGeneration()] = rated.Rating
	}
	return &fwk.PreFilterResult{NodeNames: names}
}

// judge is what Filter and Score would say of a node.
func (pl *DedicatedCPU) judge(c *cycle, info fwk.NodeInfo) ranking.Answer {
	p := c.query.Look(info)
	rating, rated := pl.rating(c, p, info)
	answer := ranking.Answer{Takes: rated, Rating: rating, Until: p.Until}
	if p.Obstacle == verdict.Late {
		answer.Until = pl.view.Now() // it was not looked at
	}
	return answer
}

// stateFor is ranking.Question's State; nil for a VM whose verdict depends on more than that.
func (pl *DedicatedCPU) stateFor(d *verdict.Demand) func(fwk.NodeInfo) ranking.State {
	if d.Restart != verdict.RestartIgnored || d.Guest != nil && d.Guest.NUMA != nil {
		return nil
	}
	return func(info fwk.NodeInfo) ranking.State {
		hash, passing := pl.view.State(info)
		return ranking.State{Hash: hash, Passing: passing}
	}
}

// lookAtAll notes that a VM found no node among candidates, and has it tried again at once.
func (pl *DedicatedCPU) lookAtAll(ctx context.Context, pod *corev1.Pod) {
	klog.FromContext(ctx).Info("no candidate takes the VM, all nodes are looked at", "pod", klog.KObj(pod))
	pl.wide.add(pod.UID)
	pl.waker.RetryIn(pod.UID, 0)
}

// place is where a pod may go, apart from exclusive CPUs. What it says no to may be possible all the same.
type place struct {
	reaches func(node *corev1.Node) bool
	amounts amountsAsked
	volumes *volumes
	free    func(nodeName string) bool // of nominated pods
}

// placeOf reads what a pod says about its place; nil if candidates cannot be chosen for it here.
func (pl *DedicatedCPU) placeOf(ctx context.Context, pod *corev1.Pod) *place {
	if choosy(pod) || pl.kept(pod) {
		return nil
	}
	volumes := pl.volumesOf(pod)
	if volumes == nil {
		return nil
	}
	return &place{
		amounts: amountsOf(pod), volumes: volumes,
		reaches: reaching(klog.FromContext(ctx), pod),
		free:    func(nodeName string) bool { return len(pl.nominated(nodeName)) == 0 },
	}
}

// accepts is ranking.Question's.
func (p *place) accepts(info fwk.NodeInfo) bool {
	node := info.Node()
	return p.amounts.fit(info) && p.reaches(node) && p.volumes.reach(node) && p.free(node.Name)
}

// reaching reports of a Node whether its labels and taints let a pod in, and would not rather have it elsewhere.
func reaching(logger klog.Logger, pod *corev1.Pod) func(node *corev1.Node) bool {
	required := nodeaffinity.GetRequiredNodeAffinity(pod)
	soft := func(taint *corev1.Taint) bool { return taint.Effect == corev1.TaintEffectPreferNoSchedule }
	return func(node *corev1.Node) bool {
		if !wakeup.Admits(logger, required, node, pod) {
			return false
		}
		_, unwanted := schedulinghelpers.FindMatchingUntoleratedTaint(logger, node.Spec.Taints, pod.Spec.Tolerations, soft, true)
		return !unwanted
	}
}

// choosy reports whether a pod says about its place what only the stock plugins can weigh.
func choosy(pod *corev1.Pod) bool {
	spec := &pod.Spec
	if pod.Status.NominatedNodeName != "" || len(spec.TopologySpreadConstraints) > 0 || len(spec.ResourceClaims) > 0 {
		return true
	}
	affinity := spec.Affinity
	if affinity != nil && (affinity.PodAffinity != nil || affinity.PodAntiAffinity != nil) {
		return true
	}
	if affinity != nil && affinity.NodeAffinity != nil && len(affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
		return true
	}
	return slices.ContainsFunc(spec.Containers, hasHostPort) || slices.ContainsFunc(spec.InitContainers, hasHostPort)
}

func hasHostPort(c corev1.Container) bool {
	return slices.ContainsFunc(c.Ports, func(port corev1.ContainerPort) bool { return port.HostPort > 0 })
}

// kept reports whether pods that run may keep the pod away from where they are. It does not look where that is.
func (pl *DedicatedCPU) kept(pod *corev1.Pod) bool {
	infos, err := pl.snapshot().NodeInfos().HavePodsWithRequiredAntiAffinityList()
	if err != nil {
		return true
	}
	of := labels.Set(pod.Labels)
	for _, info := range infos {
		for _, other := range info.GetPodsWithRequiredAntiAffinity() {
			if slices.ContainsFunc(other.GetRequiredAntiAffinityTerms(), func(term fwk.AffinityTerm) bool { return mayMean(&term, pod.Namespace, of) }) {
				return true
			}
		}
	}
	return false
}

// mayMean reports whether a term may be about a pod. The labels of its namespace are not looked at.
func mayMean(term *fwk.AffinityTerm, namespace string, pod labels.Set) bool {
	_, byLabels := term.NamespaceSelector.Requirements()
	return (byLabels || term.Namespaces.Has(namespace)) && term.Selector.Matches(pod)
}

// uids are pods that are pending.
type uids struct {
	mu   sync.Mutex
	pods sets.Set[types.UID]
}

func (u *uids) add(uid types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pods == nil {
		u.pods = sets.Set[types.UID]{}
	}
	u.pods.Insert(uid)
}

func (u *uids) remove(uid types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pods.Delete(uid)
}

func (u *uids) has(uid types.UID) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.pods.Has(uid)
}
