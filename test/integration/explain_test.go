// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/test/harness/simnode"
	"corepin.dev/corepin/test/harness/testbed"
)

// The explanations for a pod that found no node, in its events and by kubectl-corepin, and that they are true.
var _ = ginkgo.Describe("explanations", ginkgo.Ordered, func() {
	var bed *testbed.Testbed
	ginkgo.BeforeAll(func(ctx context.Context) {
		threads := alignedMachine("threads", "1 sockets x 1 numa x 4 cores x 2 threads", "0-1") // half of two cores
		threads.Kubelet.TopologyManagerPolicy = "none"
		bed = startTestbed(ctx, []testbed.Machine{
			// Free for VMs: 14 CPUs of NUMA node 0 and 16 of NUMA node 1.
			alignedMachine("aligned", "2 sockets x 1 numa x 8 cores x 2 threads", "0,16"),
			{Name: "counted", Topology: cputopology.MustParse("1 sockets x 1 numa x 9 cores x 1 threads"),
				Kubelet: simnode.KubeletSettings{CPUManagerPolicy: "static", ReservedSystemCPUs: "0"}},
			threads,
		})
		gomega.Expect(bed.Apply(ctx, []byte(viewer))).To(gomega.Succeed())
		create(ctx, bed, launcherPod("a", 4, on("aligned"), runs("a")))
		eventuallyRunning(ctx, bed, []string{"a"})
		create(ctx, bed, launcherPod("b", 12, on("aligned"), runs("b")), launcherPod("c", 4, on("counted"), runs("c")))
		eventuallyRunning(ctx, bed, []string{"b", "c"})
	})

	refusal := func(name string, cpus int, want string, changes ...func(*corev1.Pod)) {
		ginkgo.It("say of "+name+" what is free, what is missing, and what would help", func(ctx context.Context) {
			create(ctx, bed, launcherPod(name, cpus, changes...))
			ginkgo.AddReportEntry("describe pod "+name, "kubectl describe pod "+name+"\nEvents:"+described(ctx, bed, name, want))
			out, code := corepin(ctx, bed, "corepin-explainer", "", "explain", "pod", name, "--namespace", testbed.VMNamespace)
			ginkgo.AddReportEntry("explain pod "+name, out)
			gomega.Expect(code).To(gomega.Equal(1))
			node, facts, _ := strings.Cut(strings.TrimSuffix(want, "."), ": ")
			facts, hints, _ := strings.Cut(facts, "; fits if ")
			gomega.Expect(out).To(gomega.ContainSubstring(node + ": " + facts + "\n"))
			for hint := range strings.SplitSeq(hints, ", or if ") {
				gomega.Expect(out).To(gomega.ContainSubstring("  fits if " + hint + "\n"))
			}
		})
	}
	refusal("misaligned", 12, "aligned: 10 free CPUs in NUMA node 0 as 5 whole cores, 4 in NUMA node 1 as 2 whole cores; needs 6 whole cores in one NUMA node; "+
		"fits if the pod asks for 2 CPUs fewer (10 instead of 12), or if VM vms/a (4 CPUs) moves.", on("aligned"))
	refusal("second", 4, "counted: 3800m of 8000m CPU left by count, of 4200m asked; "+
		"fits if the pod asks for 1 CPU fewer (3 instead of 4), or if VM vms/c (4 CPUs) moves.", on("counted"))
	refusal("odd", 3, "threads: 6 free CPUs as 2 whole cores + 2 half cores; needs 3 CPUs, and gives whole cores of 2 only; "+
		"fits if the pod asks for 1 CPU fewer (2 instead of 3), or if the pod asks for 1 CPU more (4 instead of 3).", on("threads"))
	refusal("beside", 6, "threads: 6 free CPUs as 2 whole cores + 2 half cores; needs 3 whole cores, and CPUs 4-5, on cores with a reserved CPU, do not count; "+
		"fits if the pod asks for 2 CPUs fewer (4 instead of 6), or if its kubelet does not have option full-pcpus-only.", on("threads"), alone)
	refusal("too-big", 18, "aligned: 13600m of 30000m CPU left by count, of 18200m asked; fits if the pod asks for 8 CPUs fewer (10 instead of 18).")

	ginkgo.It("tell the same once, however often the pod is tried", func(ctx context.Context) {
		create(ctx, bed, launcherPod("passing", 2, on("aligned")))
		eventuallyRunning(ctx, bed, []string{"passing"})
		remove(ctx, bed, "passing") // which lets pods be tried again
		create(ctx, bed, launcherPod("after", 2, on("aligned")))
		eventuallyRunning(ctx, bed, []string{"after"})
		remove(ctx, bed, "after")
		events, err := bed.Client().EventsV1().Events(testbed.VMNamespace).List(ctx, metav1.ListOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		told := map[string]int{}
		for _, event := range events.Items {
			if event.Reason == "CPUsMissing" {
				told[event.Regarding.Kind+" "+event.Regarding.Name+" "+event.Note]++
				gomega.Expect(len(event.Note)).To(gomega.BeNumerically("<=", 1024))
				gomega.Expect(event.Series).To(gomega.BeNil(), event.Note)
			}
		}
		gomega.Expect(len(told)).To(gomega.BeNumerically(">=", 5))
		gomega.Expect(told).To(gomega.HaveEach(1))
	})

	ginkgo.It("are true: the pod fits when what was said is done", func(ctx context.Context) {
		remove(ctx, bed, "a")
		eventuallyRunning(ctx, bed, []string{"misaligned"}, "aligned")
		remove(ctx, bed, "second")
		create(ctx, bed, launcherPod("second-smaller", 3, on("counted")), launcherPod("even", 4, on("threads")))
		eventuallyRunning(ctx, bed, []string{"second-smaller", "even"}, "counted", "threads")
		// The pod may run a moment before its node has reported what it got.
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			out, code := corepin(ctx, bed, "corepin-explainer", "", "explain", "pod", "even", "--namespace", testbed.VMNamespace)
			g.Expect(code).To(gomega.Equal(0))
			g.Expect(out).To(gomega.Equal("pod vms/even is on node threads: compute 2-3,6-7\n"))
		}).WithTimeout(time.Minute).Should(gomega.Succeed())
	})

	ginkgo.It("and the maps need no more rights than ClusterRole corepin-explain", func(ctx context.Context) {
		gomega.Expect(bed.Apply(ctx, good("explained"))).To(gomega.Succeed())
		eventuallyBound(ctx, bed, "explained")
		out, code := corepin(ctx, bed, "corepin-explainer", "", "explain", "vmi", "explained", "--namespace", testbed.VMNamespace)
		gomega.Expect(out).To(gomega.And(gomega.ContainSubstring("(VM vms/explained) is on node"), gomega.Not(gomega.ContainSubstring("error"))))
		gomega.Expect(code).To(gomega.Equal(0))
		wide := strings.ReplaceAll(string(good("wide")), "cores: 2", "cores: 20, threads: 2")
		gomega.Expect(bed.Apply(ctx, []byte(wide))).To(gomega.Succeed())
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			out, code = corepin(ctx, bed, "corepin-explainer", "", "explain", "vmi/wide", "--namespace", testbed.VMNamespace)
			g.Expect(out).To(gomega.And(gomega.ContainSubstring("(VM vms/wide) asks for 40 CPUs of its own"), gomega.ContainSubstring("\n0 of 3 nodes have room for it.\n")))
		}).WithTimeout(deadline).Should(gomega.Succeed())
		gomega.Expect(out).NotTo(gomega.ContainSubstring("left out"), "the VMI can be read")
		gomega.Expect(code).To(gomega.Equal(1))
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			events, err := bed.Client().CoreV1().Events(testbed.VMNamespace).List(ctx, metav1.ListOptions{
				FieldSelector: "involvedObject.kind=VirtualMachineInstance,involvedObject.name=wide,reason=CPUsMissing"})
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(events.Items).NotTo(gomega.BeEmpty(), "an event on the VMI")
			g.Expect(events.Items[0].Message).To(gomega.ContainSubstring("The pod asks for 40 CPUs of its own"))
		}).WithTimeout(deadline).Should(gomega.Succeed())
		out, code = corepin(ctx, bed, "corepin-explainer", "", "nodes")
		ginkgo.AddReportEntry("nodes", out)
		gomega.Expect(code).To(gomega.Equal(0))
		gomega.Expect(out).To(gomega.And(gomega.ContainSubstring("VM vms/b"), gomega.MatchRegexp(`s0 n0  RR( [A-Z.]{2}){7}\ns1 n1 ( [A-Z.]{2}){8}\n`)))
		pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: new}\nspec: {containers: [{name: c, resources: {limits: {cpu: 2, memory: 1Gi}}}]}\n"
		out, code = corepin(ctx, bed, "corepin-explainer", pod, "fit", "-f", "-")
		gomega.Expect(out).To(gomega.ContainSubstring("new: admitted by aligned: c "))
		gomega.Expect(code).To(gomega.Equal(0))
		for _, command := range [][]string{{"explain", "pod", "odd", "-n", "vms"}, {"nodes"}, {"status"}, {"dump"}} {
			out, code = corepin(ctx, bed, "default", "", command...)
			gomega.Expect(code).To(gomega.Equal(2), out)
			gomega.Expect(out).To(gomega.And(gomega.HavePrefix("error: listing NodeCPU objects"), gomega.ContainSubstring("forbidden"), gomega.ContainSubstring("--clusterrole=corepin-explain")))
		}
	})

	ginkgo.It("status says what is not right, and a dump answers as the cluster does", func(ctx context.Context) {
		out, _ := corepin(ctx, bed, "corepin-explainer", "", "status") // whether VMs wait for longer than a minute is chance
		ginkgo.AddReportEntry("status", out)
		gomega.Expect(out).To(gomega.And(gomega.MatchRegexp(`(?m)^ok       leader       \S+ leads for schedulerName corepin since `),
			gomega.ContainSubstring("ok       agents       3 of 3 nodes heard from\n"), gomega.ContainSubstring("more: kubectl corepin explain ")))
		file := filepath.Join(ginkgo.GinkgoT().TempDir(), "cluster.json")
		dumped, code := corepin(ctx, bed, "corepin-explainer", "", "dump")
		gomega.Expect(code).To(gomega.Equal(0), dumped)
		const note = "note: left out: listing controllerrevisions: " // on standard error: nobody may list those by ClusterRole corepin-explain
		gomega.Expect(dumped).To(gomega.HavePrefix(note))
		_, dumped, _ = strings.Cut(dumped, "\n")
		gomega.Expect(os.WriteFile(file, []byte(dumped), 0o600)).To(gomega.Succeed())
		for _, command := range []string{"nodes", "explain vmi wide -n vms", "explain pod odd -n vms -o json", "pins", "capacity"} {
			args := strings.Fields(command)
			online, _ := corepin(ctx, bed, "corepin-explainer", "", args...)
			output, _ := exec.CommandContext(ctx, filepath.Join(os.Getenv("COREPIN_BIN"), "kubectl-corepin"), append(args, "-f", file)...).CombinedOutput()
			gomega.Expect(string(output)).To(gomega.Equal(online), command)
		}
	})

	ginkgo.It("support writes what was told, and how corepin is configured, into an archive", func(ctx context.Context) {
		kubeconfig := adminKubeconfig(ctx, bed)
		file := filepath.Join(ginkgo.GinkgoT().TempDir(), "support.tar.gz")
		support := func() (string, error) {
			output, err := exec.CommandContext(ctx, filepath.Join(os.Getenv("COREPIN_BIN"), "kubectl-corepin"), "support", "--to", file, "--kubeconfig", kubeconfig).CombinedOutput()
			return string(output), err
		}
		out, err := support()
		gomega.Expect(err).NotTo(gomega.HaveOccurred(), out)
		ginkgo.AddReportEntry("support", out)
		for name, want := range map[string]string{"events.json": `"reason":"CPUsMissing"`, "objects.json": `"kind":"ConfigMap"`, "status.txt": "nodes heard from"} {
			text, err := exec.CommandContext(ctx, "tar", "-xzOf", file, "corepin-support/"+name).Output()
			gomega.Expect(err).NotTo(gomega.HaveOccurred(), name)
			gomega.Expect(string(text)).To(gomega.ContainSubstring(want), name)
		}
		out, err = support()
		gomega.Expect(err).To(gomega.HaveOccurred(), "a file that is there is not written over")
		gomega.Expect(out).To(gomega.ContainSubstring("file exists"))
	})
})

// viewer is somebody who may explain, and nothing else; service account default of the namespace may do nothing.
const viewer = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: corepin-explainer, namespace: vms}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: vms}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: corepin-explainer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: corepin-explain}
subjects: [{kind: ServiceAccount, name: corepin-explainer, namespace: vms}]
`

// on lets a pod go to one node only.
func on(node string) func(*corev1.Pod) {
	term := corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{
		{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}
	return func(pod *corev1.Pod) {
		pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term}}}}
	}
}

// runs makes the pod the launcher pod of a VM of that name.
func runs(vm string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Annotations = map[string]string{"kubevirt.io/domain": vm} }
}

// corepin runs kubectl-corepin as a service account of the VMs' namespace, and gives what a terminal would show.
func corepin(ctx context.Context, bed *testbed.Testbed, account, input string, args ...string) (out string, code int) {
	ginkgo.GinkgoHelper()
	kubeconfig, err := bed.ServiceAccountKubeconfig(ctx, testbed.VMNamespace, account)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	command := exec.CommandContext(ctx, filepath.Join(os.Getenv("COREPIN_BIN"), "kubectl-corepin"), append(args, "--kubeconfig", kubeconfig)...)
	command.Stdin = strings.NewReader(input)
	output, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
	}
	return string(output), command.ProcessState.ExitCode()
}

// adminKubeconfig is a file with which a program may do everything.
func adminKubeconfig(ctx context.Context, bed *testbed.Testbed) string {
	ginkgo.GinkgoHelper()
	admin, err := bed.Kubectl(ctx, "config", "view", "--raw")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	name := filepath.Join(ginkgo.GinkgoT().TempDir(), "kubeconfig")
	gomega.Expect(os.WriteFile(name, admin, 0o600)).To(gomega.Succeed())
	return name
}

func eventuallyBound(ctx context.Context, bed *testbed.Testbed, vm string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		pod, err := bed.PodOf(ctx, vm)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(pod.Spec.NodeName).NotTo(gomega.BeEmpty(), "%v", pod.Status.Conditions)
	}).WithTimeout(deadline).Should(gomega.Succeed())
}
