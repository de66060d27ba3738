// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
)

const clusterInstancetype = `{"apiVersion":"instancetype.kubevirt.io/v1beta1","kind":"VirtualMachineClusterInstancetype","metadata":{"name":"four"},` +
	`"spec":{"cpu":{"guest":4,"dedicatedCPUPlacement":true},"memory":{"guest":"2Gi"}}}`

const vmOfInstancetype = `{"apiVersion":"kubevirt.io/v1","kind":"VirtualMachine","metadata":{"name":"new","namespace":"vms"},` +
	`"spec":{"instancetype":{"name":"four"},"template":{"spec":{"schedulerName":"corepin","domain":{"devices":{}}}}}}`

// liveHost is a cluster with all that the commands look at. A VM runs, one waits, one was refused, and one is in flight. A node
// is cordoned, and one is silent. The pods have secrets.
func liveHost(t *testing.T) Host {
	t.Helper()
	held := map[types.UID]map[string]cpuset.Set{"db": {"compute": cpuset.Of(1, 9)}}
	busy := reportOf(t, "busy", eightCores, "restricted", held)
	busy.Status.Granted[0].Pins = "vcpu 0 1, vcpu 1 9"
	silent := reportOf(t, "silent", eightCores, "restricted", nil)
	silent.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionSeen, Status: metav1.ConditionFalse, LastTransitionTime: metav1.NewTime(noon.Add(-time.Hour))}}
	cordoned := nodeOffering("14", "64Gi", "110")
	cordoned.Name = "cordoned"
	cordoned.Spec.Unschedulable = true
	var nodes []corev1.Node
	for _, name := range []string{"busy", "silent"} {
		node := nodeOffering("14", "64Gi", "110")
		node.Name = name
		node.Labels = map[string]string{"cpumanager": "true", "kubevirt.io/cpumanager": "true", corev1.LabelHostname: name}
		nodes = append(nodes, node)
	}
	vm := func(name, node string, phase corev1.PodPhase, cpus string) corev1.Pod {
		pod := podAsking(name, node, cpus, "100m")
		pod.Namespace = "vms"
		pod.Labels = map[string]string{"kubevirt.io": "virt-launcher"}
		pod.Annotations = map[string]string{"kubevirt.io/domain": name, "x": "secret"}
		pod.CreationTimestamp = metav1.NewTime(noon.Add(-time.Hour))
		pod.Spec.SchedulerName = "corepin"
		pod.Spec.NodeSelector = map[string]string{"cpumanager": "true"}
		pod.Spec.Containers[0].Name = "compute"
		pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", Value: "secret"}}
		pod.Spec.Tolerations = []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists}}
		pod.Status.Phase = phase
		return pod
	}
	refused := vm("refused", "busy", corev1.PodFailed, "2")
	refused.Status.Reason = "SMTAlignmentError"
	flying := vm("flying", "busy", corev1.PodPending, "4")
	flying.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	agent := podAsking("agent", "silent", "100m")
	agent.Labels = map[string]string{"app.kubernetes.io/name": "corepin-agent"}
	agent.Spec.Containers[0].Image = "registry.example/corepin-agent:v1.2.3"
	agent.Spec.Containers[0].Resources.Requests[corev1.ResourceMemory] = resource.MustParse("128Mi")
	cluster := Cluster{Namespace: "vms", Reports: []v1alpha1.NodeCPU{busy, silent, reportOf(t, "cordoned", eightCores, "restricted", nil)},
		Nodes: append(nodes, cordoned), Pods: []corev1.Pod{vm("db", "busy", corev1.PodRunning, "2"), vm("waits", "", corev1.PodPending, "12"), refused, flying, agent}}
	return Host{
		Now: func() time.Time { return noon }, Connection: connection(),
		Cluster: func(context.Context) (Cluster, error) {
			each := cluster
			each.Pods = slices.Clone(cluster.Pods)
			return each, nil
		},
		Lease: func(_ context.Context, namespace, name string) (*Lease, error) {
			if name == stockLease.name {
				return nil, fmt.Errorf("getting Lease %s/%s: forbidden", namespace, name)
			}
			return lease("corepin-scheduler-a_1", 90*time.Second), nil
		},
		VMI: func(_ context.Context, name types.NamespacedName) (map[string]any, error) { return nil, NoVMI(name) },
		List: func(_ context.Context, resource string) ([]map[string]any, error) {
			if resource != ResourceClusterInstancetypes {
				return nil, nil
			}
			var object map[string]any
			err := json.Unmarshal([]byte(clusterInstancetype), &object)
			return []map[string]any{object}, err
		},
	}
}

// ask runs a command on a host, and gives all that it writes.
func ask(t *testing.T, host Host, files fstest.MapFS, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	host.In = strings.NewReader("")
	host.Out = &out
	host.Err = &out
	host.Open = files.Open
	host.Connection = connection() // with no flag set
	code := Run(t.Context(), host, args)
	fmt.Fprintf(&out, "exit %d\n", code)
	return out.String()
}

// A dump answers every command with the same bytes as the cluster.
func TestADumpAnswersAsTheCluster(t *testing.T) {
	live := liveHost(t)
	dumped := strings.TrimSuffix(ask(t, live, nil, "dump"), "exit 0\n")
	if strings.Contains(dumped, "secret") {
		t.Errorf("there is a secret in it:\n%s", dumped)
	}
	files := fstest.MapFS{
		"cluster.json": &fstest.MapFile{Data: []byte(dumped)}, "vm.json": &fstest.MapFile{Data: []byte(vmOfInstancetype)},
		"pod.json": &fstest.MapFile{Data: []byte(stream(t, podAsking("p", "", "4")))},
	}
	for _, command := range []string{
		"status", "status -o json", "nodes", "report", "report --shape cpus=2,memory=1Gi", "report -f vm.json", "pins", "pins -n vms -o json", "capacity", "capacity --shape cpus=2,memory=1Gi -o json",
		"explain vm waits", "explain vm waits -n vms -o json", "explain vm db -n vms", "explain pod flying -n vms", "explain vm nobody",
		"explain -f vm.json", "explain -f vm.json -o json", "fit -f vm.json", "fit -f pod.json -o json", "capacity -f vm.json",
		"what-if drain busy", "what-if remove busy -o json", "what-if restart busy", "what-if kubelet busy --reserved 0-2,8-10", "what-if arrive -f vm.json --count 3",
		"what-if add busy --count 2", "rebalance vm waits -n vms", "rebalance --goal cpus=4 -o json", "rebalance -f vm.json", "dump", "dump --mask-names",
	} {
		args := strings.Fields(command)
		online := ask(t, live, files, args...)
		offline := ask(t, Host{Connection: connection()}, files, append(args, "-f", "cluster.json")...)
		if online != offline {
			t.Errorf("%s: the cluster says\n%.3000s\nand the dump says\n%.3000s", command, online, offline)
		}
		if strings.HasPrefix(online, "error") && command != "explain vm nobody" {
			t.Errorf("%s: %s", command, online)
		}
	}
}

func TestDumpInput(t *testing.T) {
	live := liveHost(t)
	dumped := strings.TrimSuffix(ask(t, live, nil, "dump"), "exit 0\n")
	files := fstest.MapFS{"cluster.json": &fstest.MapFile{Data: []byte(dumped)}, "pod.json": &fstest.MapFile{Data: []byte(stream(t, podAsking("p", "", "4")))}}
	for command, want := range map[string]string{
		"status -f pod.json":                                   "error: reading input: want a file that kubectl corepin dump has written, and nothing else\nexit 2\n",
		"status -f cluster.json -f cluster.json":               "error: reading input: cluster.json:1: a second dump; give one\nexit 2\n",
		"nodes -f cluster.json --context c":                    "error: the input has a dump, and NodeCPU objects, --kubeconfig or --context mean another cluster; leave out the one or the other\nexit 2\n",
		"status -f cluster.json --scheduler corepin=other/one": "note     leader       whether a corepin-scheduler leads is not known: the dump does not have Lease other/one; name it when the dump is made: kubectl corepin dump --scheduler\n",
		"pins -f pod.json":                                     "error: --cpus is missing",
	} {
		if got := ask(t, live, files, strings.Fields(command)...); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", command, got, want)
		}
	}
}

// status --wait looks until there is no problem, or until its time is over.
func TestStatusWaits(t *testing.T) {
	now := noon
	looks := 0
	host := liveHost(t)
	host.Now = func() time.Time { return now }
	host.Pause = func(_ context.Context, length time.Duration) error {
		now = now.Add(length)
		looks++
		return nil
	}
	out := ask(t, host, nil, "status", "--wait", "--wait-timeout", "10s")
	if looks != 5 || !strings.HasSuffix(out, " problems\nexit 1\n") {
		t.Errorf("%d looks; want 5\n%s", looks, out)
	}
	looks = 0
	out = ask(t, host, nil, "status")
	if looks != 0 || !strings.HasSuffix(out, "exit 1\n") {
		t.Errorf("without --wait: %d looks\n%s", looks, out)
	}
}

// The nodes may be a dump while -f has the machine of the nodes to add.
func TestNodesOfAnotherMachineAreAdded(t *testing.T) {
	dumped := strings.TrimSuffix(ask(t, liveHost(t), nil, "dump"), "exit 0\n")
	big := reportOf(t, "big", "2 sockets x 1 numa x 16 cores x 2 threads", "single-numa-node", nil)
	files := fstest.MapFS{"cluster.json": &fstest.MapFile{Data: []byte(dumped)}, "machine.json": &fstest.MapFile{Data: []byte(stream(t, big))}}
	out := ask(t, Host{}, files, "what-if", "add", "rack", "-f", "machine.json", "-f", "cluster.json", "--count", "2")
	for _, want := range []string{"1 VM finds a place", "cpus=32 2\n", "  VM vms/waits (12 CPUs): rack-new-"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
	}
}

// 1,000 equal nodes are a few lines, whatever the command.
func TestEqualNodesAreOneGroup(t *testing.T) {
	var all []any
	for i := range 1000 {
		all = append(all, reportOf(t, fmt.Sprintf("n%04d", i), eightCores, "restricted", nil))
	}
	input := stream(t, append(all, podAsking("p", "", "20"))...)
	fits := stream(t, append(all, podAsking("p", "", "2"))...)
	for command, test := range map[string]struct{ input, want string }{
		"fit -f -":                      {input, "  refused by n0000, n0001, n0002 and 997 more nodes: TopologyAffinityError"},
		"explain pod p -f -":            {input, "n0000, n0001, n0002 and 997 more nodes: 14 free CPUs"},
		"explain pod p -f - ":           {fits, "n0000, n0001, n0002 and 997 more nodes: fits: c0 1,9\n"},
		"capacity --shape cpus=8 -f -":  {stream(t, all...), "  1 on n0000, n0001, n0002 and 997 more nodes: then TopologyAffinityError"},
		"capacity --shape cpus=8  -f -": {stream(t, all...), "  they stay free by: TopologyAffinityError 6000 CPUs\n"},
	} {
		_, out, errs := run(t, test.input, strings.Fields(command)...)
		if !strings.Contains(out, test.want) || strings.Count(out, "\n") > 9 {
			t.Errorf("%s: want %q in\n%s%s", command, test.want, out, errs)
		}
	}
}

// Nodes on which a pod fits are one group, on whatever CPUs it would be there.
func TestNodesThatFitAreOneGroup(t *testing.T) {
	var all []any
	for i := range 5 {
		taken := cpuset.Of(1, 9)
		for core := range i {
			taken = taken.Union(cpuset.Of(2+core, 10+core))
		}
		held := map[types.UID]map[string]cpuset.Set{"x": {"c": taken}}
		all = append(all, reportOf(t, fmt.Sprintf("n%d", i), eightCores, "restricted", held))
	}
	_, out, _ := run(t, stream(t, append(all, podAsking("p", "", "2"))...), "explain", "pod", "p", "-f", "-")
	want := "5 of 5 nodes have room for it.\n\nn0, n1, n2 and 2 more nodes: fits, there on n0: c0 2,10\n"
	if !strings.HasSuffix(out, want) {
		t.Errorf("want %q in\n%s", want, out)
	}
}

func TestSelector(t *testing.T) {
	files := fstest.MapFS{}
	live := liveHost(t)
	for command, want := range map[string]string{
		"capacity --shape cpus=2 -l kubernetes.io/hostname=busy": "on 1 of 1 nodes",
		"nodes -l kubernetes.io/hostname=silent":                 "silent\nsilent ",
		"nodes -l pool=x":                                        "error: --selector is \"pool=x\": no node with a NodeCPU has these labels\nexit 2\n",
		"capacity -l =":                                          "error: --selector is \"=\": ",
		"status -o yaml":                                         "---\nmore: kubectl get pods -n corepin-system\nstate: problem\nsubject: leader\ntext: ",
		"capacity -o table":                                      "error: --output is \"table\"; want text, json or yaml",
	} {
		if got := ask(t, live, files, strings.Fields(command)...); !strings.Contains(got, want) {
			t.Errorf("%s: want %q in\n%s", command, want, got)
		}
	}
}

// What an object says cannot change the terminal in YAML either.
func TestYAMLIsHarmless(t *testing.T) {
	pod := podAsking("p", "", "20")
	pod.Name = "p\u202e\x1b[2J"
	_, out, errs := run(t, stream(t, reportOf(t, "n1", eightCores, "restricted", nil), pod), "fit", "-f", "-", "-o", "yaml")
	if strings.ContainsAny(out+errs, "\u202e\x1b") || !strings.HasPrefix(out, "---\n") {
		t.Errorf("got %q, %q", out, errs)
	}
}
