// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/kubelet/predicates"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/objects"
	"corepin.dev/corepin/pkg/verdict"
	"corepin.dev/corepin/pkg/vmi"
)

// snapshot is nodes, the pods that are to come to them, and the names of the pods that are there.
type snapshot struct {
	machines []*machine
	byName   map[string]*machine
	nodes    map[string]*corev1.Node // Node objects, which some machines have
	pods     []*corev1.Pod
	listed   map[string]bool // the pods of the input, by name
	names    map[types.UID]string
	vms      []*virtualMachine
	bad      []inputError // in the order of the input
	// live reports that the nodes are those of a cluster, and namespace is the one that kubectl would use there.
	live      bool
	namespace string
	// there are the pods of the cluster; nil for input.
	there []corev1.Pod
	// validator has the instancetypes of the input.
	validator *validator
}

// inputError is an object of the input that cannot be used, and is left out.
type inputError struct {
	kind, name string // as far as they are known
	err        error  // begins with the place
	after      int    // the number of pods before it
}

// machine is a node and who holds its CPUs.
type machine struct {
	name string
	// report is as the pods admitted so far leave it.
	report *nodereport.Report
	// source is the object that the report was read from; nil where there is none.
	source *v1alpha1.NodeCPU
	// restart is what the report says that a restart of the kubelet would do to pods; "" for nothing.
	restart string
	// others is who else may run on the CPUs of dedicated VMs by the report; "" for nobody.
	others string
	// tuning are the machine's settings.
	tuning map[string]string
	// admitted are the pods admitted here, in order.
	admitted []types.UID
	// names are those of the snapshot.
	names map[types.UID]string
	// object is the Node, and fit what the kubelet checks after the grant of CPUs. Both are nil where there is no Node.
	object *corev1.Node
	fit    *predicates.Node
	added  []*corev1.Pod // to fit
	// silent reports that the node is not heard from since a moment, the zero time where it is not known.
	silent bool
	since  time.Time
}

// holders are the pods with CPUs of their own: those of the report, and then those admitted here.
func (m *machine) holders() []types.UID {
	var all []types.UID
	for uid := range m.report.Pods() {
		if !slices.Contains(m.admitted, uid) {
			all = append(all, uid)
		}
	}
	slices.Sort(all)
	return append(all, m.admitted...)
}

// nameOf is the name of a pod with CPUs of its own.
func (m *machine) nameOf(uid types.UID) string { return cmp.Or(m.names[uid], "pod "+string(uid)) }

var (
	podKind    = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	nodeKind   = metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}
	reportKind = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind}
)

// snapshotOf reads NodeCPU, Node and Pod objects and virtual machines. Other kinds are input errors.
func snapshotOf(all []objects.Object) *snapshot {
	s := newSnapshot()
	s.validator = newValidator(vmi.Strict, all)
	for i := range all {
		o := &all[i]
		if err := s.add(o); err != nil {
			s.bad = append(s.bad, inputError{o.Kind, qualified(o.Namespace, o.Name), err, len(s.pods)})
		}
	}
	s.joinNodes()
	return s
}

func (s *snapshot) add(o *objects.Object) error {
	kind := metav1.TypeMeta{APIVersion: o.APIVersion, Kind: o.Kind}
	switch {
	case o.Err != nil:
		return o.Err
	case kind == podKind:
		return s.addPod(o)
	case kind == nodeKind:
		return s.addNode(o)
	case kind == reportKind:
		return s.addReport(o)
	case isVM(o):
		return s.addVM(o)
	case isKubeVirt(o), vmi.IsInstancetype(o.APIVersion, o.Kind), vmi.IsPreference(o.APIVersion, o.Kind), isRevision(o):
		return nil // the validator has read it
	}
	if o.APIVersion == "" || o.Kind == "" {
		return o.Wrap(errKindless)
	}
	return o.Wrap(fmt.Errorf("this is %s %q, and only NodeCPU (%s), Node and Pod (v1) and virtual machines (kubevirt.io) can be used here",
		o.APIVersion, o.Kind, reportKind.APIVersion))
}

// inputErrors sums up what cannot be used of the input; nil where all can be.
func (s *snapshot) inputErrors() error {
	switch n := len(s.bad); n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("reading input: %w", s.bad[0].err)
	default:
		return fmt.Errorf("reading input: %w; and %d more objects that cannot be used", s.bad[0].err, n-1)
	}
}

func newSnapshot() *snapshot {
	return &snapshot{byName: map[string]*machine{}, nodes: map[string]*corev1.Node{}, listed: map[string]bool{}, names: map[types.UID]string{}}
}

// name records whose UID is in a report.
func (s *snapshot) name(pod *corev1.Pod) {
	uid := verdict.UIDOnNode(pod)
	if uid != "" {
		s.names[uid] = holderName(pod)
	}
}

// holderName is the name of a pod that holds CPUs: that of its VM, where it has one.
func holderName(pod *corev1.Pod) string {
	l, is := launcher.Of(pod)
	if is && l.VMI.Name != "" {
		return "VM " + qualified(pod.Namespace, l.VMI.Name)
	}
	return nameOf(pod)
}

func (s *snapshot) addNode(o *objects.Object) error {
	node := &corev1.Node{}
	_, err := o.Decode(node)
	switch {
	case err != nil:
	case node.Name == "":
		err = errors.New("metadata.name is missing")
	case s.nodes[node.Name] != nil:
		err = errors.New("a second Node of this name; leave one out")
	case node.Status.Allocatable == nil:
		err = errors.New("status.allocatable is missing; take the Node as kubectl get nodes -o yaml gives it")
	}
	if err != nil {
		return o.Wrap(fmt.Errorf("%s: %w", called(o), err))
	}
	s.nodes[node.Name] = node
	return nil
}

func (s *snapshot) addPod(o *objects.Object) error {
	pod, err := readPod(o)
	if err == nil && s.listed[nameOf(pod)] {
		err = errors.New("a second Pod of this name; rename it, or leave one out")
	}
	if err != nil {
		return o.Wrap(fmt.Errorf("%s: %w", called(o), err))
	}
	s.listed[nameOf(pod)] = true
	s.pods = append(s.pods, pod)
	s.name(pod)
	return nil
}

// joinNodes gives the machines their Node objects.
func (s *snapshot) joinNodes() {
	for _, m := range s.machines {
		node := s.nodes[m.name]
		if node != nil {
			m.object = node
			m.fit = fitOf(node)
		}
	}
}

// fitOf is a node without pods, for the checks after the grant of CPUs.
func fitOf(node *corev1.Node) *predicates.Node { return predicates.New(node) }

// add counts a pod in the checks after the grant of CPUs.
func (m *machine) add(pod *corev1.Pod) {
	m.fit.Add(pod)
	m.added = append(m.added, pod)
}

// fromCluster adds a cluster's nodes. It admits the pods that are bound to them and have not been granted what they
// ask for, in the order of their creation: the kubelets are about to.
func (s *snapshot) fromCluster(ctx context.Context, host Host) error {
	cluster, err := s.readCluster(ctx, host)
	if err != nil {
		return err
	}
	slices.SortStableFunc(cluster.Pods, func(a, b corev1.Pod) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	s.there = cluster.Pods
	for i := range cluster.Pods {
		s.name(&cluster.Pods[i])
		s.arrive(&cluster.Pods[i])
	}
	return nil
}

// arrive admits a pod of the cluster where it is bound to a node.
func (s *snapshot) arrive(pod *corev1.Pod) {
	m := s.byName[pod.Spec.NodeName]
	if m == nil || ended(pod) {
		return
	}
	t := m.admit(arriving(pod))
	runs := pod.Status.Phase == corev1.PodRunning
	if runs && !t.admitted && m.fit != nil {
		m.add(pod) // the kubelet knows better
	}
}

// everyNode are the machines, and then the nodes that have no NodeCPU.
func (s *snapshot) everyNode() []*machine {
	all := slices.Clone(s.machines)
	for _, name := range slices.Sorted(maps.Keys(s.nodes)) {
		if s.byName[name] == nil {
			all = append(all, &machine{name: name, report: nodereport.Absent(nodereport.Missing)})
		}
	}
	return all
}

// arriving is the demand of a pod that is bound. While it has no CPUs it is drawn as in flight.
func arriving(pod *corev1.Pod) *demand {
	d := demandOf(pod)
	d.holder += " (in flight)"
	return d
}

// readCluster adds a cluster's nodes as they are reported.
func (s *snapshot) readCluster(ctx context.Context, host Host) (*Cluster, error) {
	cluster, err := host.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	if len(cluster.Reports) == 0 {
		return nil, errors.New("the cluster has no NodeCPU objects; is corepin-agent running on its nodes?")
	}
	s.live = true
	s.namespace = cluster.Namespace
	pods := cluster.podsByName()
	for i := range cluster.Reports {
		m := machineOf(&cluster.Reports[i])
		m.since, m.silent = nodereport.Silence(&cluster.Reports[i], pods, host.Now())
		if err := s.addMachine(m); err != nil {
			return nil, fmt.Errorf("reading the cluster: %w", err)
		}
	}
	for i := range cluster.Nodes {
		s.nodes[cluster.Nodes[i].Name] = &cluster.Nodes[i]
	}
	s.joinNodes()
	return &cluster, nil
}

// podsByName gives the pods of a cluster by namespace and name; nil for one that is not there.
func (c *Cluster) podsByName() func(namespace, name string) *corev1.Pod {
	byName := make(map[types.NamespacedName]*corev1.Pod, len(c.Pods))
	for i := range c.Pods {
		byName[types.NamespacedName{Namespace: c.Pods[i].Namespace, Name: c.Pods[i].Name}] = &c.Pods[i]
	}
	return func(namespace, name string) *corev1.Pod {
		return byName[types.NamespacedName{Namespace: namespace, Name: name}]
	}
}

// nameOf is the pod's name with its namespace, unless that is default.
func nameOf(pod *corev1.Pod) string { return qualified(pod.Namespace, pod.Name) }

func qualified(namespace, name string) string {
	if namespace == "" || namespace == metav1.NamespaceDefault {
		return name
	}
	return namespace + "/" + name
}
