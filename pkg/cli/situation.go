package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubeletcpu"
	"corepin.dev/corepin/pkg/kubeletfit"
	"corepin.dev/corepin/pkg/launcher"
)

// situation is nodes, the pods that are to come to them, and the names of those that are there.
type situation struct {
	machines []*machine
	byName   map[string]*machine
	nodes    map[string]*corev1.Node // Node objects, which some machines have
	pods     []*corev1.Pod
	listed   map[string]bool // the pods of the input, by name
	names    map[types.UID]string
	flaws    []flaw // in the order of the input
}

// flaw is an object of the input that cannot be used, and is left out.
type flaw struct {
	kind, name string // as far as they are known
	err        error  // begins with the place
	after      int    // the number of pods that stand before it
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
	// owner is the UID of the Node that the report is about; "" where it does not tell.
	owner types.UID
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

// situationOf makes sense of NodeCPU, Node and Pod objects; all others are flaws.
func situationOf(documents []document) *situation {
	s := newSituation()
	objects := objectsOf(documents)
	for i := range objects {
		o := &objects[i]
		if err := s.add(o); err != nil {
			s.flaws = append(s.flaws, flaw{o.kind, qualified(o.namespace, o.name), err, len(s.pods)})
		}
	}
	s.joinNodes()
	return s
}

func (s *situation) add(o *object) error {
	kind := metav1.TypeMeta{APIVersion: o.apiVersion, Kind: o.kind}
	switch {
	case o.fault != nil:
		return o.fault
	case kind == podKind:
		return s.addPod(o)
	case kind == nodeKind:
		return s.addNode(o)
	case kind == reportKind:
		return s.addReport(o)
	}
	if o.apiVersion == "" || o.kind == "" {
		return o.faulty(errKindless)
	}
	hint := ""
	if o.group() == kubevirtGroup {
		hint = "; a virtual machine's launcher pod can, and for the virtual machine itself there are check and pins"
	}
	return o.faulty(fmt.Errorf("this is %s %q, and only NodeCPU (%s), Node and Pod (v1) can be used here%s",
		o.apiVersion, o.kind, reportKind.APIVersion, hint))
}

// flawed is the error of an input of which something cannot be used; nil where all can.
func (s *situation) flawed() error {
	switch n := len(s.flaws); n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("reading input: %w", s.flaws[0].err)
	default:
		return fmt.Errorf("reading input: %w; and %d more objects that cannot be used", s.flaws[0].err, n-1)
	}
}

func newSituation() *situation {
	return &situation{byName: map[string]*machine{}, nodes: map[string]*corev1.Node{}, listed: map[string]bool{}, names: map[types.UID]string{}}
}

func (s *situation) addPod(o *object) error {
	pod, err := o.pod()
	if err == nil && s.listed[nameOf(pod)] {
		err = errors.New("a second Pod of this name; rename it, or leave one out")
	}
	if err != nil {
		return o.faulty(fmt.Errorf("%s: %w", o.called(), err))
	}
	s.listed[nameOf(pod)] = true
	s.pods = append(s.pods, pod)
	s.name(pod)
	return nil
}

// pod reads a Pod as a kubelet would get it.
func (o *object) pod() (*corev1.Pod, error) {
	if err := o.vast(); err != nil {
		return nil, err
	}
	pod := &corev1.Pod{}
	unknown, err := o.decode(pod)
	if err != nil {
		return nil, o.withField(err)
	}
	unknown = slices.DeleteFunc(unknown, func(err error) bool {
		return strings.HasPrefix(err.Error(), `unknown field "status.`) // of a newer API server
	})
	if err := oneLine(unknown); err != nil {
		return nil, err
	}
	pod.Name = o.name
	if err := invalid(pod); err != nil {
		return nil, err
	}
	defaultRequests(pod)
	return pod, nil
}

// name remembers who a UID in a report is.
func (s *situation) name(pod *corev1.Pod) {
	if uid := uidOnNode(pod); uid != "" {
		s.names[uid] = holderName(pod)
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
		return o.faulty(fmt.Errorf("%s: %w", o.called(), err))
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
