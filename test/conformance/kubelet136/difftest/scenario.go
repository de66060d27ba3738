// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/pkg/quantity"
)

// scenario is a machine, a kubelet's configuration and what happens to it.
type scenario struct {
	machine         *cputopology.Topology
	cpuOptions      []string
	policy, scope   string
	topologyOptions []string
	reserved        cpuset.Set
	reservedCount   int  // used where it is not 0
	podLevel        bool // the gate PodLevelResourceManagers
	memory          []MemoryNode
	devices         []DeviceResource
	steps           []step
}

// podLevelGate is the line that turns this gate on.
const podLevelGate = "PodLevelResourceManagers"

// pluginsLater is behind a restart after which the device plugins come late.
const pluginsLater = "plugins-later"

// step adds a pod, starts the app containers of one, removes one, or restarts the kubelet.
type step struct {
	restart, add, start bool
	// pluginsLater is set for a restart after which the kubelet admits the pods again before any device plugin registers.
	pluginsLater bool
	pod          string
	class        string // "", burstable, or pod-level and the CPUs that the pod asks for as a whole
	wants        []admission.Container
	result       string // "" if nothing in particular is expected
	since        []since
}

// since is the result of a step from a kubelet on that decides otherwise than those before: 38 stands for 1.38.
type since struct {
	minor  int
	result string
}

// of is the step as a kubelet 1.<minor> is expected to do it.
func (s step) of(minor int) step {
	for _, since := range s.since {
		if minor >= since.minor {
			s.result = since.result
		}
	}
	return s
}

func (s step) String() string {
	if s.restart && s.pluginsLater {
		return "restart " + pluginsLater
	}
	if s.restart {
		return "restart"
	}
	if s.start {
		return "start " + s.pod
	}
	if !s.add {
		return "remove " + s.pod
	}
	var containers []string
	for _, c := range s.wants {
		containers = append(containers, wantText(c))
	}
	return "add " + strings.TrimSpace(s.pod+" "+s.class) + ": " + strings.Join(containers, ", ")
}

func (s scenario) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "machine %s\n", s.machine)
	if s.machine.NUMANodes()[0].Distances != nil {
		var rows []string
		for _, node := range s.machine.NUMANodes() {
			rows = append(rows, strings.Trim(fmt.Sprint(node.Distances), "[]"))
		}
		fmt.Fprintf(&b, "distances %s\n", strings.Join(rows, "; "))
	}
	fmt.Fprintln(&b, strings.TrimSpace("cpu-manager "+strings.Join(s.cpuOptions, " ")))
	fmt.Fprintln(&b, strings.TrimSpace("topology-manager "+s.policy+" "+s.scope+" "+strings.Join(s.topologyOptions, " ")))
	switch {
	case s.reservedCount != 0:
		fmt.Fprintf(&b, "reserved count %d\n", s.reservedCount)
	case !s.reserved.IsEmpty():
		fmt.Fprintf(&b, "reserved %s\n", s.reserved)
	}
	if s.podLevel {
		fmt.Fprintln(&b, podLevelGate)
	}
	if s.memory != nil {
		fmt.Fprintln(&b, memoryLine(s.memory))
	}
	for _, r := range s.devices {
		fmt.Fprintln(&b, deviceLine(r))
	}
	for _, step := range s.steps {
		fmt.Fprintln(&b, step)
	}
	return b.String()
}

// options gives "name=value" and "name" (true) as a kubelet's configuration has them.
func options(words []string) map[string]string {
	options := map[string]string{}
	for _, word := range words {
		name, value, found := strings.Cut(word, "=")
		if !found {
			value = "true"
		}
		options[name] = value
	}
	return options
}

// spec is the pod of a step as the API server has it.
func (s step) spec(serial int) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Name, pod.UID = s.pod, types.UID(fmt.Sprintf("%s-%d", s.pod, serial))
	for _, want := range s.wants {
		cpu := resource.MustParse("500m")
		if want.CPUs > 0 {
			cpu = *resource.NewQuantity(int64(want.CPUs), resource.DecimalSI)
		}
		list := corev1.ResourceList{corev1.ResourceCPU: cpu}
		amounts(&want, list)
		container := corev1.Container{Name: want.Name}
		container.Resources = corev1.ResourceRequirements{Requests: list, Limits: list.DeepCopy()}
		if s.class == "burstable" {
			delete(container.Resources.Limits, corev1.ResourceCPU)
			delete(container.Resources.Limits, corev1.ResourceMemory)
		}
		switch want.Kind {
		case admission.App:
			pod.Spec.Containers = append(pod.Spec.Containers, container)
			continue
		case admission.Sidecar:
			always := corev1.ContainerRestartPolicyAlways
			container.RestartPolicy = &always
		}
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, container)
	}
	if cpus, found := strings.CutPrefix(s.class, "pod-level "); found {
		list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpus), corev1.ResourceMemory: resource.MustParse("1Gi")}
		pod.Spec.Resources = &corev1.ResourceRequirements{Requests: list, Limits: list}
	}
	return pod
}

// parseScenario reads what String writes, with comments and results.
func parseScenario(text string) (s scenario, err error) {
	s.policy, s.scope = topologymanager.PolicyNone, topologymanager.ScopeContainer
	for number, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		if err = s.parseLine(word, rest); err != nil {
			return s, fmt.Errorf("line %d: %q: %w", number+1, line, err)
		}
	}
	if s.machine == nil {
		return s, fmt.Errorf("there is no line that begins with machine")
	}
	return s, nil
}

func (s *scenario) parseLine(word, rest string) (err error) {
	switch word {
	case "machine":
		s.machine, err = cputopology.Parse(rest)
	case "distances":
		err = s.parseDistances(rest)
	case "cpu-manager":
		s.cpuOptions = strings.Fields(rest)
	case "topology-manager":
		words := strings.Fields(rest)
		if len(words) < 2 {
			return fmt.Errorf("want a policy and a scope")
		}
		s.policy, s.scope, s.topologyOptions = words[0], words[1], words[2:]
	case "reserved":
		if count, found := strings.CutPrefix(rest, "count "); found {
			s.reservedCount, err = strconv.Atoi(count)
		} else {
			s.reserved, err = cpuset.Parse(rest)
		}
	case "add":
		return s.parseAdd(rest)
	case "remove":
		s.steps = append(s.steps, step{pod: rest})
	case "start":
		s.steps = append(s.steps, step{start: true, pod: rest})
	case "memory-manager":
		s.memory, err = parseMemory(rest)
	case "devices":
		var r DeviceResource
		r, err = parseDevices(rest)
		s.devices = append(s.devices, r)
	case podLevelGate:
		s.podLevel = true
	case "restart":
		if rest != "" && rest != pluginsLater {
			return fmt.Errorf("want nothing or %s", pluginsLater)
		}
		s.steps = append(s.steps, step{restart: true, pluginsLater: rest != ""})
	default:
		from, isResult := strings.CutPrefix(word, "=")
		if !isResult {
			return fmt.Errorf("unknown word %q", word)
		}
		return s.parseResult(from, rest)
	}
	return err
}

// parseResult reads a result: "= admitted: c 1-2", or "=1.38 admitted: c 1-2" for kubelets from that one on. The oldest is first.
func (s *scenario) parseResult(from, result string) error {
	if len(s.steps) == 0 {
		return fmt.Errorf("a result before the first step")
	}
	last := &s.steps[len(s.steps)-1]
	if from == "" {
		last.result = result
		return nil
	}
	minor, err := strconv.Atoi(strings.TrimPrefix(from, "1."))
	if err != nil {
		return fmt.Errorf("%q is no version of the kubelet", from)
	}
	last.since = append(last.since, since{minor, result})
	return nil
}

func (s *scenario) parseDistances(rest string) error {
	if s.machine == nil {
		return fmt.Errorf("distances before the machine")
	}
	nodes := slices.Clone(s.machine.NUMANodes())
	rows := strings.Split(rest, ";")
	if len(rows) != len(nodes) {
		return fmt.Errorf("want %d rows", len(nodes))
	}
	for i, row := range rows {
		nodes[i].Distances = nil
		for _, field := range strings.Fields(row) {
			distance, err := strconv.Atoi(field)
			if err != nil {
				return err
			}
			nodes[i].Distances = append(nodes[i].Distances, distance)
		}
	}
	machine, err := cputopology.New(s.machine.Cores(), nodes...)
	s.machine = machine
	return err
}

func (s *scenario) parseAdd(rest string) error {
	name, list, _ := strings.Cut(rest, ":")
	name, class, _ := strings.Cut(name, " ")
	if name == "" {
		return fmt.Errorf("want a pod's name and its containers")
	}
	if cpus, found := strings.CutPrefix(class, "pod-level "); found {
		if _, err := quantity.Parse(cpus); err != nil {
			return fmt.Errorf("pod-level %q: %w", cpus, err)
		}
	} else if class != "" && class != "burstable" {
		return fmt.Errorf("%q is neither burstable nor pod-level with a number of CPUs", class)
	}
	next := step{add: true, pod: name, class: class}
	for part := range strings.SplitSeq(list, ",") {
		want, err := parseWant(part)
		if err != nil {
			return fmt.Errorf("container %q: %w", part, err)
		}
		next.wants = append(next.wants, want)
	}
	s.steps = append(s.steps, next)
	return nil
}

func parseWant(text string) (want admission.Container, err error) {
	words := strings.Fields(text)
	kinds := map[string]admission.Kind{"init": admission.Init, "sidecar": admission.Sidecar}
	if len(words) > 2 {
		if kind, found := kinds[words[0]]; found {
			want.Kind = kind
			words = words[1:]
		}
	}
	if len(words) < 2 {
		return want, fmt.Errorf("want a name and a number of CPUs or shared")
	}
	want.Name = words[0]
	if words[1] != "shared" {
		if want.CPUs, err = strconv.Atoi(words[1]); err != nil {
			return want, err
		}
	}
	return want, parseAmounts(&want, words[2:])
}
