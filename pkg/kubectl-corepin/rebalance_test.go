// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cli"
	"corepin.dev/corepin/pkg/cpuset"
)

var (
	pods  = corev1.SchemeGroupVersion.WithResource("pods")
	nodes = corev1.SchemeGroupVersion.WithResource("nodes")
)

// world is the cluster of pkg/cli/testdata/input/rebalance.yaml, and KubeVirt in it. VM eight fits on n1 after b has moved to n2 and c
// to n3. A migration comes to the next of its phases each time it is read. The last one moves the VM.
type world struct {
	t      *testing.T
	client *dynamicfake.FakeDynamicClient
	phases []string
	// drops makes the API server forget where migrations go, and refuses is its answer to all of them.
	drops   bool
	refuses error
	// elsewhere is the node to which all VMs move in truth; "" for the planned one.
	elsewhere string
	// meanwhile is called with each phase of the first migration.
	meanwhile func(w *world, phase string)
	// stop ends the context as Ctrl-C does.
	stop context.CancelFunc

	created int
	read    map[string]int
	// ending is the pod that ends at the next look but one at the cluster.
	ending *unstructured.Unstructured
	looks  int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	text, err := os.ReadFile("../cli/testdata/input/rebalance.yaml")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[schema.GroupVersionResource]string{v1alpha1.Resource: "NodeCPUList", vmis[0]: "VirtualMachineInstanceList",
		migrations: "VirtualMachineInstanceMigrationList", nodes: "NodeList", pods: "PodList"}
	w := &world{t: t, phases: []string{"Scheduling", "Running", "Succeeded"}, read: map[string]int{},
		client: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds)}
	resources := map[string]schema.GroupVersionResource{"NodeCPU": v1alpha1.Resource, "Node": nodes, "Pod": pods, "VirtualMachineInstance": vmis[0]}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		object := w.object(document)
		if object.GetKind() == "Node" {
			w.set(object, "true", "metadata", "labels", "kubevirt.io/schedulable")
			w.set(object, "true", "metadata", "labels", "kubevirt.io/cpumanager")
			for _, amount := range []string{"devices.kubevirt.io/kvm", "devices.kubevirt.io/tun", "ephemeral-storage"} {
				w.set(object, "100G", "status", "allocatable", amount)
			}
		}
		containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "containers")
		for _, container := range containers { // as the API server does
			amounts := container.(map[string]any)["resources"].(map[string]any)
			amounts["requests"] = amounts["limits"]
		}
		if len(containers) > 0 {
			w.set(object, containers, "spec", "containers")
		}
		w.add(resources[object.GetKind()], object)
	}
	w.client.PrependReactor("create", cli.ResourceMigrations, w.create)
	w.client.PrependReactor("get", cli.ResourceMigrations, w.proceed)
	w.client.PrependReactor("list", "pods", w.look)
	return w
}

func (w *world) object(text string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	data, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = object.UnmarshalJSON(data)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return object
}

func (w *world) set(object *unstructured.Unstructured, value any, path ...string) {
	err := unstructured.SetNestedField(object.Object, value, path...)
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) add(resource schema.GroupVersionResource, object *unstructured.Unstructured) {
	err := w.client.Tracker().Create(resource, object, object.GetNamespace())
	if err != nil {
		w.t.Fatal(err)
	}
}

// change changes an object that is there.
func (w *world) change(resource schema.GroupVersionResource, namespace, name string, change func(*unstructured.Unstructured)) {
	found, err := w.client.Tracker().Get(resource, namespace, name)
	if err == nil {
		object := found.(*unstructured.Unstructured).DeepCopy()
		change(object)
		err = w.client.Tracker().Update(resource, object, namespace)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create(action clienttesting.Action) (bool, runtime.Object, error) {
	if w.refuses != nil {
		return true, nil, w.refuses
	}
	w.created++
	object := action.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured).DeepCopy()
	object.SetName(fmt.Sprintf("%s%d", object.GetGenerateName(), w.created))
	if w.drops {
		unstructured.RemoveNestedField(object.Object, "spec", "addedNodeSelector")
	}
	w.add(migrations, object)
	return true, object, nil
}

// proceed brings a migration to its next phase.
func (w *world) proceed(action clienttesting.Action) (bool, runtime.Object, error) {
	name := action.(clienttesting.GetAction).GetName()
	phase := w.phases[min(w.read[name], len(w.phases)-1)]
	w.read[name]++
	w.change(migrations, "vms", name, func(migration *unstructured.Unstructured) {
		w.set(migration, phase, "status", "phase")
		if phase == "Failed" {
			w.set(migration, "the guest writes too fast", "status", "migrationState", "failureReason")
		}
		if phase == "Succeeded" && w.read[name] == len(w.phases) {
			w.move(migration)
		}
	})
	if w.meanwhile != nil && w.created == 1 {
		w.meanwhile(w, phase)
	}
	return false, nil, nil
}

// move moves a VM of three CPUs from n1. They come to the same CPUs everywhere.
func (w *world) move(migration *unstructured.Unstructured) {
	vm, _, _ := unstructured.NestedString(migration.Object, "spec", "vmiName")
	hostname, _, _ := unstructured.NestedString(migration.Object, "spec", "addedNodeSelector", corev1.LabelHostname)
	to := strings.TrimSuffix(hostname, ".rack")
	if w.elsewhere != "" {
		to = w.elsewhere
	}
	found, err := w.client.Tracker().Get(pods, "vms", "virt-launcher-"+vm)
	if err != nil {
		w.t.Fatal(err)
	}
	w.ending = found.(*unstructured.Unstructured)
	w.looks = 0
	w.bind(w.ending, vm+"-2", to, "7,14-15")
	w.change(vmis[0], "vms", vm, func(vmi *unstructured.Unstructured) {
		w.set(vmi, to, "status", "nodeName")
		w.set(vmi, map[string]any{"completed": true}, "status", "migrationState")
	})
}

// bind makes another pod like one, on a node that grants it CPUs.
func (w *world) bind(like *unstructured.Unstructured, name, node, cpus string) {
	pod := like.DeepCopy()
	pod.SetName("virt-launcher-" + name)
	pod.SetUID(like.GetUID() + "-2")
	w.set(pod, node, "spec", "nodeName")
	w.set(pod, "Running", "status", "phase")
	w.add(pods, pod)
	w.grant(node, string(pod.GetUID()), cpus)
}

// grant writes into the report of a node which CPUs a pod has; "" for none.
func (w *world) grant(node, uid, cpus string) {
	w.change(v1alpha1.Resource, "", node, func(report *unstructured.Unstructured) {
		shared, _, _ := unstructured.NestedString(report.Object, "status", "sharedCPUs")
		all := w.cpus(shared)
		granted, _, _ := unstructured.NestedSlice(report.Object, "status", "granted")
		var kept []any
		for _, grant := range granted {
			fields := grant.(map[string]any)
			if fields["podUID"] != uid {
				kept = append(kept, grant)
				continue
			}
			all = all.Union(w.cpus(fields["containers"].([]any)[0].(map[string]any)["cpus"].(string)))
		}
		if cpus != "" {
			kept = append(kept, map[string]any{"podUID": uid, "containers": []any{map[string]any{"name": "compute", "cpus": cpus}}})
			all = all.Minus(w.cpus(cpus))
		}
		w.set(report, kept, "status", "granted")
		w.set(report, all.String(), "status", "sharedCPUs")
	})
}

func (w *world) cpus(text string) cpuset.Set {
	set, err := cpuset.Parse(text)
	if err != nil {
		w.t.Fatal(err)
	}
	return set
}

// end ends a pod, and takes its CPUs back.
func (w *world) end(pod *unstructured.Unstructured) {
	w.change(pods, pod.GetNamespace(), pod.GetName(), func(pod *unstructured.Unstructured) { w.set(pod, "Succeeded", "status", "phase") })
	node, _, _ := unstructured.NestedString(pod.Object, "spec", "nodeName")
	w.grant(node, string(pod.GetUID()), "")
}

func (w *world) look(clienttesting.Action) (bool, runtime.Object, error) {
	w.looks++
	if w.ending != nil && w.looks == 2 {
		w.end(w.ending)
		w.ending = nil
	}
	return false, nil, nil
}

// migrating adds a migration of somebody else.
func (w *world) migrating(name, vm, phase string) {
	w.add(migrations, w.object(fmt.Sprintf("{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstanceMigration, metadata: {name: %s, namespace: vms}, "+
		"spec: {vmiName: %s}, status: {phase: '%s'}}", name, vm, phase)))
}

// run runs kubectl-corepin in the world, and gives what it writes and the exit code.
func (w *world) run(args ...string) (out string, code int) {
	kubeconfig := filepath.Join(w.t.TempDir(), "kubeconfig")
	text := "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: 'https://none'}}]}"
	err := os.WriteFile(kubeconfig, []byte(text), 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	flags := genericclioptions.NewConfigFlags(true)
	flags.Namespace = nil
	host := connection{config: flags, dial: func(*rest.Config) (dynamic.Interface, error) { return w.client, nil }}.host()
	var all bytes.Buffer
	host.Out = &all
	host.Err = &all
	files := fstest.MapFS{"vm.yaml": {Data: []byte("{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: new, namespace: vms}, " +
		"spec: {domain: {cpu: {cores: 6, dedicatedCpuPlacement: true}, memory: {guest: 1Gi}}}}")}}
	host.Open = func(name string) (fs.File, error) { return files.Open(name) }
	host.UntilInterrupted = func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, w.stop = context.WithCancel(ctx)
		return ctx, w.stop
	}
	code = cli.Run(w.t.Context(), host, append(args, "--kubeconfig", kubeconfig, "--apply"))
	return all.String(), code
}

// left are the migrations that are there at the end, with the VM, the target node and the label of each.
func (w *world) left() string {
	list, err := w.client.Resource(migrations).List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	var all []string
	for i := range list.Items {
		spec := list.Items[i].Object["spec"].(map[string]any)
		all = append(all, fmt.Sprint(spec["vmiName"], spec["addedNodeSelector"], list.Items[i].GetLabels()))
	}
	return strings.Join(all, "; ")
}

const (
	madeB = "bmap[kubernetes.io/hostname:n2.rack] map[corepin.dev/made-by:rebalance]"
	madeC = "cmap[kubernetes.io/hostname:n3.rack] map[corepin.dev/made-by:rebalance]"

	firstSteps = "1/2 VM vms/b n1 -> n2: migration vms/corepin-rebalance-1 created\n" +
		"1/2 VM vms/b n1 -> n2: Scheduling after 0s\n" +
		"1/2 VM vms/b n1 -> n2: Running after 1s\n"
	firstSucceeds = firstSteps +
		"1/2 VM vms/b n1 -> n2: Succeeded after 2s\n" +
		"1/2 VM vms/b n1 -> n2: waiting: pod virt-launcher-b on n1 has not ended\n" +
		"1/2 VM vms/b n1 -> n2: waiting: the report of n1 still has the CPUs of VM vms/b\n" +
		"1/2 VM vms/b n1 -> n2: it is on n2 now, CPUs 7,14-15\n"
	bothSucceed = firstSucceeds +
		"2/2 VM vms/c n1 -> n3: migration vms/corepin-rebalance-2 created\n" +
		"2/2 VM vms/c n1 -> n3: Scheduling after 0s\n" +
		"2/2 VM vms/c n1 -> n3: Running after 1s\n" +
		"2/2 VM vms/c n1 -> n3: Succeeded after 2s\n" +
		"2/2 VM vms/c n1 -> n3: waiting: pod virt-launcher-c on n1 has not ended\n" +
		"2/2 VM vms/c n1 -> n3: waiting: the report of n1 still has the CPUs of VM vms/c\n" +
		"2/2 VM vms/c n1 -> n3: it is on n3 now, CPUs 7,14-15\n"
	planAgain = "run rebalance again: it plans from what is there then\n"
	upgrade   = "next: upgrade KubeVirt to 1.6 or newer, which has the field, or create the migrations by hand while all other nodes are cordoned\n"
)

// during calls what happens once, at a phase of the first migration.
func during(phase string, happens func(w *world)) func(w *world, now string) {
	return func(w *world, now string) {
		if now == phase {
			happens(w)
		}
	}
}

const eight = "vm eight -n vms"

// plans are what becomes of plans that are made, most of them for VM eight.
var plans = map[string]struct {
	args string
	in   func(w *world)
	want string // what is written after the plan
	left string
}{
	"all goes as planned": {eight, func(w *world) { w.migrating("earlier", "b", "Succeeded") }, bothSucceed + "done: VM vms/eight fits on n1 now, CPUs 4-7,12-15\n", madeB + "; " + madeC + "; b<nil> map[]"},
	"room for a shape":    {"--goal cpus=8", nil, bothSucceed + "done: cpus=8: 1 more fit now\n", madeB + "; " + madeC},
	"a new VM":            {"-f vm.yaml", nil, bothSucceed + "done: VM vms/new fits on n1 now, CPUs 4-6,12-14\n", madeB + "; " + madeC},
	"it fits earlier": {eight, func(w *world) {
		w.meanwhile = during("Running", func(w *world) {
			w.change(pods, "vms", "virt-launcher-c", func(pod *unstructured.Unstructured) { w.set(pod, "Failed", "status", "phase") })
			w.grant("n1", "uid-c", "")
		})
	}, firstSucceeds + "done: VM vms/eight fits on n1 now, CPUs 4-7,12-15; 1 migration of the plan not needed\n", madeB},
	"somebody else takes the place": {eight, func(w *world) {
		w.meanwhile = during("Running", func(w *world) {
			w.add(pods, w.object("{apiVersion: v1, kind: Pod, metadata: {name: other, namespace: vms, uid: uid-other}, spec: {nodeName: n3, containers: "+
				"[{name: c, resources: {limits: {cpu: 3, memory: 1Gi}, requests: {cpu: 3, memory: 1Gi}}}]}, status: {phase: Running}}"))
			w.grant("n3", "uid-other", "7,14-15")
		})
	}, firstSucceeds + "1/2 VM vms/b n1 -> n2: waiting: the rest of the plan is not possible: n3 does not take VM vms/c: OutOfcpu\n" +
		"1/2 VM vms/b n1 -> n2: stopped: migration vms/corepin-rebalance-1 has Succeeded, and 2m0s later the cluster is not as planned: " +
		"the rest of the plan is not possible: n3 does not take VM vms/c: OutOfcpu; next: " + planAgain, madeB},
	"the VM goes to another node": {eight, func(w *world) { w.elsewhere = "n3" }, firstSteps + "1/2 VM vms/b n1 -> n2: Succeeded after 2s\n" +
		"1/2 VM vms/b n1 -> n2: stopped: VM vms/b is on node n3, and was expected on n2; next: " + planAgain, madeB},
	"a migration fails": {eight, func(w *world) { w.phases = []string{"Scheduling", "Running", "Failed"} }, firstSteps + "1/2 VM vms/b n1 -> n2: Failed after 2s\n" +
		"1/2 VM vms/b n1 -> n2: stopped: migration vms/corepin-rebalance-1 is Failed, and was expected to be Succeeded: the guest writes too fast; " +
		"next: kubectl describe vmim corepin-rebalance-1 -n vms\n", madeB},
	"a migration does not end": {eight + " --migration-timeout 5s", func(w *world) { w.phases = []string{"Scheduling", "Running"} }, firstSteps +
		"1/2 VM vms/b n1 -> n2: stopped: migration vms/corepin-rebalance-1 has not ended after 5s (--migration-timeout), phase Running, and was not deleted; " +
		"next: kubectl describe vmim corepin-rebalance-1 -n vms\n", madeB},
	"Ctrl-C": {eight, func(w *world) { w.meanwhile = during("Running", func(w *world) { w.stop() }) }, firstSteps +
		"1/2 VM vms/b n1 -> n2: stopped: interrupted: migration vms/corepin-rebalance-1 is still running, phase Running, and was not deleted; " +
		"1 migration of the plan not created; next: when no migration is running, " + planAgain, madeB},
	"Ctrl-C after a migration": {eight, func(w *world) { w.meanwhile = during("Succeeded", func(w *world) { w.stop() }) }, firstSteps + "1/2 VM vms/b n1 -> n2: Succeeded after 2s\n" +
		"1/2 VM vms/b n1 -> n2: stopped: interrupted: migration vms/corepin-rebalance-1 has Succeeded, and no other one is running; " +
		"1 migration of the plan not created; next: when no migration is running, " + planAgain, madeB},
	"somebody else deletes it": {eight, func(w *world) {
		w.meanwhile = during("Running", func(w *world) { w.delete("corepin-rebalance-1") })
	}, "1/2 VM vms/b n1 -> n2: migration vms/corepin-rebalance-1 created\n1/2 VM vms/b n1 -> n2: Scheduling after 0s\n" +
		"1/2 VM vms/b n1 -> n2: stopped: migration vms/corepin-rebalance-1 was deleted by somebody else, phase Scheduling; next: see where the VM is, and then " + planAgain, ""},
	"the VM is on its way already": {eight, func(w *world) { w.migrating("evacuation", "b", "") },
		"1/2 VM vms/b n1 -> n2: stopped: migration vms/evacuation of VM vms/b has not ended, phase none; no other one is created beside it; next: wait until it has ended, and then " + planAgain, "b<nil> map[]"},
	"another VM leaves a node of the plan": {eight, func(w *world) { w.migrating("evacuation", "f", "Running") }, firstSucceeds +
		"2/2 VM vms/c n1 -> n3: stopped: migration vms/evacuation of VM vms/f has not ended, phase Running; no other one is created beside it; next: wait until it has ended, and then " + planAgain,
		madeB + "; f<nil> map[]"},
	"the API server drops the field": {eight, func(w *world) { w.drops = true },
		"1/2 VM vms/b n1 -> n2: stopped: the API server keeps spec.addedNodeSelector of migration vms/corepin-rebalance-1 as map[], not as map[kubernetes.io/hostname:n2.rack], " +
			"so KubeVirt may choose another node; the migration was deleted; " + upgrade, ""},
	"the API server refuses the field": {eight, func(w *world) {
		w.refuses = apierrors.NewBadRequest(`strict decoding error: unknown field "spec.addedNodeSelector"`)
	}, "1/2 VM vms/b n1 -> n2: stopped: creating a VirtualMachineInstanceMigration in namespace vms: strict decoding error: unknown field \"spec.addedNodeSelector\"; " + upgrade, ""},
	"no right to it": {eight, func(w *world) {
		w.refuses = apierrors.NewForbidden(migrations.GroupResource(), "", fmt.Errorf("no"))
	}, "1/2 VM vms/b n1 -> n2: stopped: creating a VirtualMachineInstanceMigration in namespace vms: virtualmachineinstancemigrations.kubevirt.io is forbidden: no; " +
		"ask for ClusterRole corepin-rebalance, which corepin's manifests bring: kubectl create clusterrolebinding NAME --clusterrole=corepin-rebalance --user=YOU; next: " + planAgain, ""},
}

func TestApply(t *testing.T) {
	for name, test := range plans {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if test.in != nil {
					test.in(w)
				}
				out, code := w.run(append([]string{"rebalance"}, strings.Fields(test.args)...)...)
				_, got, _ := strings.Cut(out, "LiveMigratable: DisksNotLiveMigratable\n")
				if got != test.want {
					t.Errorf("got\n%s\nwant\n%s", out, test.want)
				}
				if want := map[bool]int{true: 0, false: 1}[strings.Contains(test.want, "\ndone: ")]; code != want {
					t.Errorf("exit code %d, want %d", code, want)
				}
				if left := w.left(); left != test.left {
					t.Errorf("migrations at the end: %s, want %s", left, test.left)
				}
			})
		})
	}
}

func (w *world) delete(migration string) {
	err := w.client.Tracker().Delete(migrations, "vms", migration)
	if err != nil {
		w.t.Fatal(err)
	}
}

// Each event is a line of its own.
func TestApplyAsJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, code := newWorld(t).run("rebalance", "vm", "eight", "-n", "vms", "-o", "json")
		var got []string
		var last map[string]any
		for line := range strings.Lines(out) {
			last = nil
			err := json.Unmarshal([]byte(line), &last)
			if err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			got = append(got, fmt.Sprintf("%v %v %v", last["step"], last["event"], last["phase"]))
		}
		const want = "1 <nil> <nil>, 2 <nil> <nil>, <nil> <nil> <nil>, " + // the plan
			"1 created <nil>, 1 phase Scheduling, 1 phase Running, 1 phase Succeeded, 1 waiting <nil>, 1 waiting <nil>, 1 moved <nil>, " +
			"2 created <nil>, 2 phase Scheduling, 2 phase Running, 2 phase Succeeded, 2 waiting <nil>, 2 waiting <nil>, 2 moved <nil>, <nil> done <nil>"
		if text := strings.Join(got, ", "); text != want || code != 0 {
			t.Errorf("exit code %d, got %s, want %s in\n%s", code, text, want, out)
		}
		if last["node"] != "n1" || fmt.Sprint(last["cpus"]) != "map[compute:4-7,12-15]" {
			t.Errorf("at the end: %v", last)
		}
	})
}
