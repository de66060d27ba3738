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

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubeletcpu"
	"corepin.dev/corepin/pkg/nodereport"
)

// situation is nodes, the pods that are to come to them, and the names of those that are there.
type situation struct {
	machines []*machine
	byName   map[string]*machine
	pods     []*corev1.Pod
	names    map[types.UID]string
}

// machine is a node and who holds its CPUs.
type machine struct {
	name string
	// node is as the pods admitted so far leave it; nil where the report cannot be read, for which why is
	// the reason.
	node    *kubeletcpu.Node
	why     string
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
	reportKind = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind}
)

// situationOf makes sense of NodeCPU and Pod objects; it refuses all others.
func situationOf(documents []document) (*situation, error) {
	s := newSituation()
	for _, document := range documents {
		for _, o := range document.objects() {
			err := o.fault
			switch kind := (metav1.TypeMeta{APIVersion: o.apiVersion, Kind: o.kind}); {
			case err != nil:
			case kind == podKind:
				err = s.addPod(&o)
			case kind == reportKind:
				err = s.addReport(&o)
			default:
				err = fmt.Errorf("%s: this is %s %q, and only NodeCPU (%s) and Pod (v1) can be used here",
					o.where(), cmp.Or(o.apiVersion, "no apiVersion,"), o.kind, reportKind.APIVersion)
			}
			if err != nil {
				return nil, fmt.Errorf("reading input: %w", err)
			}
		}
	}
	return s, nil
}

func newSituation() *situation {
	return &situation{byName: map[string]*machine{}, names: map[types.UID]string{}}
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
		s.names[pod.UID] = nameOf(pod)
	}
}

// defaultRequests does what the API server does before a kubelet sees the pod: what has a limit and no
// request requests its limit (SetDefaults_Pod in pkg/apis/core/v1/defaults.go, v1.36.3).
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
	cluster, err := host.Cluster(ctx, access)
	if err != nil {
		return err
	}
	if len(cluster.Reports) == 0 {
		return errors.New("the cluster has no NodeCPU objects; is corepin-agent running on its nodes?")
	}
	for i := range cluster.Reports {
		if err := s.addMachine(machineOf(&cluster.Reports[i])); err != nil {
			return fmt.Errorf("reading the cluster: %w", err)
		}
	}
	slices.SortStableFunc(cluster.Pods, func(a, b corev1.Pod) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	for i := range cluster.Pods {
		pod := &cluster.Pods[i]
		s.name(pod)
		m := s.byName[pod.Spec.NodeName]
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if m != nil && !ended {
			m.admit(demandOf(pod))
		}
	}
	return nil
}

// nameOf is the pod's name as kubectl takes it: with its namespace, unless that is default.
func nameOf(pod *corev1.Pod) string { return qualified(pod.Namespace, pod.Name) }

func qualified(namespace, name string) string {
	if namespace == "" || namespace == metav1.NamespaceDefault {
		return name
	}
	return namespace + "/" + name
}
