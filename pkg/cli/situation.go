package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubeletcpu"
	"corepin.dev/corepin/pkg/kubeletfit"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/nodereport"
)

// situation is nodes, the pods that are to come to them, and the names of those that are there.
type situation struct {
	machines []*machine
	byName   map[string]*machine
	nodes    map[string]*corev1.Node // Node objects, which some machines have
	pods     []*corev1.Pod
	names    map[types.UID]string
}

// machine is a node and who holds its CPUs.
type machine struct {
	name string
	// node is as the pods admitted so far leave it; nil where the report cannot be read, for which why is
	// the reason.
	node *kubeletcpu.Node
	why  string
	// inexact says why the agent on the node holds that it cannot be predicted; "" where it does not.
	inexact string
	// fit is what the kubelet checks after the grant of CPUs; nil where there is no Node object.
	fit     *kubeletfit.Node
	granted map[types.UID]map[string]cpuset.Set
	holders []holder // admitted here, in their order
}

// holder is a pod with CPUs of its own.
type holder struct {
	name string
	cpus cpuset.Set
}

var (
	podKind    = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	nodeKind   = metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}
	reportKind = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind}
)

// situationOf makes sense of NodeCPU, Node and Pod objects; it refuses all others.
func situationOf(documents []document) (*situation, error) {
	s := newSituation()
	for _, document := range documents {
		for _, o := range document.objects() {
			err := o.fault
			switch kind := (metav1.TypeMeta{APIVersion: o.apiVersion, Kind: o.kind}); {
			case err != nil:
			case kind == podKind:
				err = s.addPod(&o)
			case kind == nodeKind:
				err = s.addNode(&o)
			case kind == reportKind:
				err = s.addReport(&o)
			default:
				err = fmt.Errorf("%s: this is %s %q, and only NodeCPU (%s), Node and Pod (v1) can be used here",
					o.where(), cmp.Or(o.apiVersion, "no apiVersion,"), o.kind, reportKind.APIVersion)
			}
			if err != nil {
				return nil, fmt.Errorf("reading input: %w", err)
			}
		}
	}
	s.joinNodes()
	return s, nil
}

func newSituation() *situation {
	return &situation{byName: map[string]*machine{}, nodes: map[string]*corev1.Node{}, names: map[types.UID]string{}}
}

func (s *situation) addPod(o *object) error {
	if err := o.vast(); err != nil {
		return o.faulty(fmt.Errorf("pod %s: %w", qualified(o.namespace, o.name), err))
	}
	pod := &corev1.Pod{}
	unknown, err := o.decode(pod)
	unknown = slices.DeleteFunc(unknown, func(err error) bool {
		return strings.HasPrefix(err.Error(), `unknown field "status.`) // of a newer API server
	})
	switch {
	case err != nil:
		err = o.withField(err)
	case len(unknown) > 0:
		err = oneLine(unknown)
	default:
		err = invalid(pod)
	}
	if err != nil {
		return o.faulty(fmt.Errorf("pod %s: %w", qualified(o.namespace, o.name), err))
	}
	defaultRequests(pod)
	s.pods = append(s.pods, pod)
	s.name(pod)
	return nil
}

// name remembers who a UID in a report is.
func (s *situation) name(pod *corev1.Pod) {
	if pod.UID != "" {
		s.names[pod.UID] = holderName(pod)
	}
}

// nameOf is who a UID in a report is.
func (s *situation) nameOf(uid types.UID) string {
	return cmp.Or(s.names[uid], "pod "+string(uid))
}

// holderName is how a pod with CPUs is called: as its VM, where it has one.
func holderName(pod *corev1.Pod) string {
	if l, is := launcher.Of(pod); is && l.VMI.Name != "" {
		return "VM " + qualified(pod.Namespace, l.VMI.Name)
	}
	return nameOf(pod)
}

// defaultRequests does what the API server does before a kubelet sees the pod: what has a limit and no
// request requests its limit, but a pod as a whole what its containers do together; and on the node's network
// a port is one of the node's (SetDefaults_Pod in pkg/apis/core/v1/defaults.go, v1.36.3).
func defaultRequests(pod *corev1.Pod) {
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			resources := &containers[i].Resources
			for name, limit := range resources.Limits {
				if _, requested := resources.Requests[name]; requested {
					continue
				}
				if resources.Requests == nil {
					resources.Requests = corev1.ResourceList{}
				}
				resources.Requests[name] = limit
			}
			for j := range containers[i].Ports {
				if port := &containers[i].Ports[j]; pod.Spec.HostNetwork && port.HostPort == 0 {
					port.HostPort = port.ContainerPort
				}
			}
		}
	}
	whole := pod.Spec.Resources
	if whole == nil || len(whole.Limits) == 0 {
		return
	}
	together := resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		sum, summed := together[name]
		limit, limited := whole.Limits[name]
		if _, requested := whole.Requests[name]; requested || !summed && !limited {
			continue
		}
		if whole.Requests == nil {
			whole.Requests = corev1.ResourceList{}
		}
		if whole.Requests[name] = sum; !summed {
			whole.Requests[name] = limit
		}
	}
}

func (s *situation) addNode(o *object) error {
	node := &corev1.Node{}
	err := o.vast()
	if err == nil {
		_, err = o.decode(node)
	}
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
		return o.faulty(fmt.Errorf("node %s: %w", o.name, err))
	}
	s.nodes[node.Name] = node
	return nil
}

// joinNodes gives the machines their Node objects.
func (s *situation) joinNodes() {
	for _, m := range s.machines {
		if node := s.nodes[m.name]; node != nil {
			m.fit = kubeletfit.New(node)
		}
	}
}

func (s *situation) addReport(o *object) error {
	report := &v1alpha1.NodeCPU{}
	unknown, err := o.decode(report)
	if err == nil && report.Status.Format <= v1alpha1.FormatVersion { // else what nodereport says of it is clearer
		err = oneLine(unknown)
	}
	if err != nil {
		return o.faulty(fmt.Errorf("NodeCPU %s: %w", o.name, err))
	}
	m := machineOf(report)
	if m.why != "" {
		return o.faulty(errors.New(m.why))
	}
	if err := s.addMachine(m); err != nil {
		return o.faulty(err)
	}
	return nil
}

func (s *situation) addMachine(m *machine) error {
	if m.name == "" {
		return errors.New("a NodeCPU's metadata.name is missing; it is the name of the node")
	}
	if s.byName[m.name] != nil {
		return fmt.Errorf("a second NodeCPU of node %s; leave one out", m.name)
	}
	s.machines = append(s.machines, m)
	s.byName[m.name] = m
	return nil
}

// machineOf reads a report; one that cannot be read makes a machine that says why.
func machineOf(report *v1alpha1.NodeCPU) *machine {
	m := &machine{name: report.Name}
	if exact := meta.FindStatusCondition(report.Status.Conditions, v1alpha1.ConditionExact); exact != nil && exact.Status != metav1.ConditionTrue {
		m.inexact = cmp.Or(exact.Message, "its report says that it is not exact")
	}
	node, err := nodereport.Node(report)
	if err == nil {
		m.granted, err = nodereport.Granted(report)
	}
	if err != nil {
		m.why = err.Error()
		return m
	}
	m.node = node
	return m
}

// fromCluster puts a cluster's nodes into the situation, and admits the pods that are bound to them and
// have not been granted what they ask for, in the order of their creation: the kubelets are about to.
func (s *situation) fromCluster(ctx context.Context, host Host, access Access) error {
	cluster, err := s.readCluster(ctx, host, access)
	if err != nil {
		return err
	}
	slices.SortStableFunc(cluster.Pods, func(a, b corev1.Pod) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	for i := range cluster.Pods {
		pod := &cluster.Pods[i]
		s.name(pod)
		m := s.byName[pod.Spec.NodeName]
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if m == nil || ended {
			continue
		}
		t := m.admit(arriving(pod))
		if runs := pod.Status.Phase == corev1.PodRunning; runs && !t.admitted && m.fit != nil {
			m.fit.Add(pod) // the kubelet knows better
		}
	}
	return nil
}

// arriving is the demand of a pod that is bound; who has no CPUs yet is drawn as such.
func arriving(pod *corev1.Pod) *demand {
	d := demandOf(pod)
	d.holder += " (in flight)"
	return d
}

// readCluster puts a cluster's nodes into the situation, as they are reported.
func (s *situation) readCluster(ctx context.Context, host Host, access Access) (*Cluster, error) {
	cluster, err := host.Cluster(ctx, access)
	if err != nil {
		return nil, err
	}
	if len(cluster.Reports) == 0 {
		return nil, errors.New("the cluster has no NodeCPU objects; is corepin-agent running on its nodes?")
	}
	for i := range cluster.Reports {
		if err := s.addMachine(machineOf(&cluster.Reports[i])); err != nil {
			return nil, fmt.Errorf("reading the cluster: %w", err)
		}
	}
	for i := range cluster.Nodes {
		s.nodes[cluster.Nodes[i].Name] = &cluster.Nodes[i]
	}
	s.joinNodes()
	return &cluster, nil
}

// nameOf is the pod's name as kubectl takes it: with its namespace, unless that is default.
func nameOf(pod *corev1.Pod) string { return qualified(pod.Namespace, pod.Name) }

func qualified(namespace, name string) string {
	if namespace == "" || namespace == metav1.NamespaceDefault {
		return name
	}
	return namespace + "/" + name
}
