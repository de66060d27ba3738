// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"

	"corepin.dev/corepin/test/harness/guest"
	"corepin.dev/corepin/test/harness/testbed"
)

const chart = "../../manifests/chart"

// A cluster without corepin, which gets it by helm alone: helm itself, from hack/tools/helm, and the pods that the
// controllers make of the chart's objects.
var _ = ginkgo.Describe("the chart", ginkgo.Ordered, func() {
	var (
		bed    *testbed.Testbed
		before map[string]bool
		told   strings.Builder
		flips  *labelWatch
	)
	ginkgo.BeforeAll(func(ctx context.Context) {
		if _, err := os.Stat(helmBinary()); err != nil {
			gomega.Expect(os.Getenv("COREPIN_REQUIRE_ALL")).NotTo(gomega.Equal("1"), "%v: run hack/build.sh helm", err)
			ginkgo.Skip(err.Error() + ": run hack/build.sh helm")
		}
		one := alignedMachine("one", "1 sockets x 1 numa x 8 cores x 2 threads", "0,8")
		two := alignedMachine("two", "2 sockets x 1 numa x 8 cores x 2 threads", "0,16")
		one.Guests = guest.None{}
		two.Guests = guest.None{}
		bed = startTestbedWith(ctx, testbed.Options{Machines: []testbed.Machine{one, two}, Bare: true})
		_, err := bed.Kubectl(ctx, "create", "namespace", testbed.SystemNamespace)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		_, err = bed.Kubectl(ctx, "label", "namespace", testbed.SystemNamespace, "pod-security.kubernetes.io/enforce=privileged")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Eventually(ctx, func() int { return strings.Count(strings.Join(added(ctx, bed, nil), "\n"), " corepin-system/") }).
			WithTimeout(deadline).Should(gomega.Equal(2), "the namespace's service account and certificate")
		before = inventory(ctx, bed)
		if minor(ctx) == "1.34" {
			output, err := runHelm(ctx, bed, "install", "corepin", olderChart(), "--namespace="+testbed.SystemNamespace)
			gomega.Expect(err).To(gomega.HaveOccurred(), output)
			gomega.Expect(output).To(gomega.ContainSubstring("chart requires kubeVersion: >=1.35.0-0"))
			ginkgo.Skip("no scheduler of ours serves 1.34, and the chart says so")
		}
	})
	helm := func(ctx context.Context, args ...string) string {
		ginkgo.GinkgoHelper()
		output, err := runHelm(ctx, bed, args...)
		fmt.Fprintf(&told, "$ helm %s\n%s\n", strings.Join(args, " "), output)
		gomega.Expect(err).NotTo(gomega.HaveOccurred(), output)
		return output
	}

	ginkgo.It("is installed in the version before, and runs", func(ctx context.Context) {
		helm(ctx, "install", "corepin", olderChart(), "--namespace="+testbed.SystemNamespace, "--wait", "--timeout=3m")
		for _, node := range []string{"one", "two"} {
			gomega.Eventually(ctx, witness{bed}.label).WithArguments(node).WithTimeout(deadline).Should(gomega.Equal("true/true"))
		}
		gomega.Expect(columns(ctx, bed)).NotTo(gomega.ContainElement("Seen"))
	})
	ginkgo.It("tests itself", func(ctx context.Context) {
		helm(ctx, "test", "corepin", "--namespace="+testbed.SystemNamespace)
		log, err := os.ReadFile(bed.LogFile("corepin-verify"))
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		told.Write(log)
		gomega.Expect(string(log)).To(gomega.MatchRegexp(`(?s)ok +leader .*ok +schedulers +2 of 2 .*ok +agents +2 of 2 .*ok +nodes +2 of 2`))
	})
	ginkgo.It("has nothing that the API server does not know, hooks included", func(ctx context.Context) {
		rendered, err := runHelm(ctx, bed, "template", "corepin", chart, "--kube-version=1.36.3", "--namespace="+testbed.SystemNamespace, "--set=networkPolicy.enabled=true")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		file := filepath.Join(ginkgo.GinkgoT().TempDir(), "rendered.yaml")
		gomega.Expect(os.WriteFile(file, []byte(rendered), 0o600)).To(gomega.Succeed())
		account := []string{"serviceaccount", "corepin-verify", "--namespace=" + testbed.SystemNamespace} // a dry run does not make it
		kubectl(ctx, bed, append([]string{"create"}, account...)...)
		kubectl(ctx, bed, "apply", "--filename="+file, "--dry-run=server", "--server-side", "--force-conflicts", "--validate=strict")
		kubectl(ctx, bed, append([]string{"delete"}, account...)...)
	})
	ginkgo.It("is upgraded while VMs start: none is refused, no label goes, the definition of NodeCPU is the new one", func(ctx context.Context) {
		flips = watchLabels(bed)
		starting := startVMs(bed)
		helm(ctx, "upgrade", "corepin", chart, "--namespace="+testbed.SystemNamespace, "--wait", "--timeout=5m")
		gomega.Eventually(ctx, func() []string { return imagesOf(ctx, bed) }).WithTimeout(2 * deadline).
			Should(gomega.Equal([]string{"corepin.dev/corepin-agent:dev", "corepin.dev/corepin-scheduler:dev"}))
		started, err := starting()
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(started).To(gomega.BeNumerically(">", 2))
		for i := range started {
			expectRuns(ctx, bed, vmName(i))
		}
		gomega.Expect(flips.stop()).To(gomega.BeEmpty())
		gomega.Expect(columns(ctx, bed)).To(gomega.ContainElement("Seen"))
		fmt.Fprintf(&told, "during the upgrade %d VMs were started: each runs; no label changed\n", started)
		told.WriteString(kubectl(ctx, bed, "get", "nodecpus"))
		helm(ctx, "test", "corepin", "--namespace="+testbed.SystemNamespace)
	})
	ginkgo.It("is removed: labels first, and nothing is left but its namespace and the scheduler's Lease in it", func(ctx context.Context) {
		helm(ctx, "uninstall", "corepin", "--namespace="+testbed.SystemNamespace, "--wait", "--timeout=3m")
		for _, node := range []string{"one", "two"} {
			gomega.Expect(witness{bed}.label(ctx, node)).To(gomega.Equal("/"), node)
		}
		expectRuns(ctx, bed, vmName(0))
		gomega.Eventually(ctx, func() []string { return added(ctx, bed, before) }).WithTimeout(deadline).
			Should(gomega.Equal([]string{"leases.coordination.k8s.io corepin-system/corepin-scheduler"}))
		told.WriteString(kubectl(ctx, bed, "delete", "namespace", testbed.SystemNamespace))
		gomega.Eventually(ctx, func() []string { return added(ctx, bed, before) }).WithTimeout(deadline).Should(gomega.BeEmpty())
		told.WriteString("left: nothing\n")
	})
	ginkgo.AfterAll(func() { ginkgo.AddReportEntry("helm", told.String()) })
})

func helmBinary() string { return filepath.Join(os.Getenv("COREPIN_BIN"), "helm") }

func runHelm(ctx context.Context, bed *testbed.Testbed, args ...string) (string, error) {
	command := exec.CommandContext(ctx, helmBinary(), args...)
	home := filepath.Dir(bed.AdminKubeconfig())
	command.Env = append(os.Environ(), "KUBECONFIG="+bed.AdminKubeconfig(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	output, err := command.CombinedOutput()
	return string(output), err
}

func kubectl(ctx context.Context, bed *testbed.Testbed, args ...string) string {
	ginkgo.GinkgoHelper()
	output, err := bed.Kubectl(ctx, args...)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return fmt.Sprintf("$ kubectl %s\n%s", strings.Join(args, " "), output)
}

// olderChart is the chart as a version before could be: another tag of the images, another configuration, and a definition
// of NodeCPU without one of its columns.
func olderChart() string {
	ginkgo.GinkgoHelper()
	dir := filepath.Join(ginkgo.GinkgoT().TempDir(), "corepin")
	gomega.Expect(os.CopyFS(dir, os.DirFS(chart))).To(gomega.Succeed())
	for file, change := range map[string][2]string{
		"Chart.yaml":     {"appVersion: dev", "appVersion: v0.0.9"},
		"values.yaml":    {"  verbosity: 2", "  verbosity: 3"},
		"files/crd.yaml": {"name: Seen\n", "name: Heard\n"},
	} {
		path := filepath.Join(dir, file)
		text, err := os.ReadFile(path)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(string(text)).To(gomega.ContainSubstring(change[0]), file)
		gomega.Expect(os.WriteFile(path, []byte(strings.ReplaceAll(string(text), change[0], change[1])), 0o600)).To(gomega.Succeed())
	}
	return dir
}

// columns are the printed columns of NodeCPU.
func columns(ctx context.Context, bed *testbed.Testbed) []string {
	ginkgo.GinkgoHelper()
	output, err := bed.Kubectl(ctx, "get", "crd", "nodecpus.corepin.dev", "--output=jsonpath={.spec.versions[*].additionalPrinterColumns[*].name}")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return strings.Fields(string(output))
}

// imagesOf are the images of corepin's pods.
func imagesOf(ctx context.Context, bed *testbed.Testbed) []string {
	pods, err := bed.Client().CoreV1().Pods(testbed.SystemNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return []string{err.Error()}
	}
	images := map[string]bool{}
	for i := range pods.Items {
		images[pods.Items[i].Spec.Containers[0].Image] = true
	}
	return slices.Sorted(maps.Keys(images))
}

func vmName(i int) string { return fmt.Sprintf("vm-%d", i) }

// mostVMs are as many as the two nodes hold.
const mostVMs = 20

// startVMs starts a VM every few seconds, until the function that it returns is called. That gives their number.
func startVMs(bed *testbed.Testbed) (stop func() (int, error)) {
	ctx, cancel := context.WithCancel(context.Background())
	var failed error
	started := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(4 * time.Second)
		defer ticker.Stop()
		for started < mostVMs && failed == nil {
			manifest := fmt.Sprintf("apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: %s, namespace: vms}\n"+
				"spec: {schedulerName: corepin, domain: {devices: {}, cpu: {cores: 2, dedicatedCpuPlacement: true}, resources: {limits: {memory: 64Mi}}}}\n", vmName(started))
			failed = bed.Apply(context.WithoutCancel(ctx), []byte(manifest))
			started++
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() (int, error) {
		cancel()
		<-done
		return started, failed
	}
}

// expectRuns waits until a VM's pod runs, and fails at once where it has failed.
func expectRuns(ctx context.Context, bed *testbed.Testbed, name string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		pods, err := bed.Client().CoreV1().Pods(testbed.VMNamespace).List(ctx, metav1.ListOptions{LabelSelector: "kubevirt.io=virt-launcher"})
		g.Expect(err).NotTo(gomega.HaveOccurred())
		for i := range pods.Items {
			if pods.Items[i].Status.Phase == corev1.PodFailed {
				gomega.StopTrying(pods.Items[i].Name + " was refused: " + pods.Items[i].Status.Message).Now()
			}
		}
		pod, err := bed.PodOf(ctx, name)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(pod.Status.Phase).To(gomega.Equal(corev1.PodRunning), name)
	}).WithTimeout(2 * deadline).Should(gomega.Succeed())
}

// labelWatch notes what the label of any node was, other than true.
type labelWatch struct {
	mu     sync.Mutex
	others []string
	events watch.Interface
}

func watchLabels(bed *testbed.Testbed) *labelWatch {
	ginkgo.GinkgoHelper()
	events, err := bed.Client().CoreV1().Nodes().Watch(context.Background(), metav1.ListOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	w := &labelWatch{events: events}
	go func() {
		for event := range events.ResultChan() {
			node, ok := event.Object.(*corev1.Node)
			if ok && node.Labels["cpumanager"] != "true" {
				w.mu.Lock()
				w.others = append(w.others, fmt.Sprintf("%s: %q", node.Name, node.Labels["cpumanager"]))
				w.mu.Unlock()
			}
		}
	}()
	return w
}

func (w *labelWatch) stop() []string {
	w.events.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.others
}

// inventory are all objects of the cluster but events, pods and what KubeVirt has, by resource and name.
func inventory(ctx context.Context, bed *testbed.Testbed) map[string]bool {
	ginkgo.GinkgoHelper()
	lists, err := bed.Client().Discovery().ServerPreferredResources()
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	all := map[string]bool{}
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "get"}}, lists) {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		for _, kind := range list.APIResources {
			resource := version.WithResource(kind.Name)
			if kind.Name == "events" || version.Group == "kubevirt.io" {
				continue
			}
			objects, err := bed.Dynamic().Resource(resource).List(ctx, metav1.ListOptions{})
			if err != nil {
				continue // gone since it was discovered
			}
			_ = objects.EachListItem(func(object runtime.Object) error {
				if item, ok := object.(*unstructured.Unstructured); ok && item.GetNamespace() != testbed.VMNamespace {
					all[strings.TrimSuffix(resource.GroupResource().String(), ".")+" "+strings.TrimPrefix(item.GetNamespace()+"/"+item.GetName(), "/")] = true
				}
				return nil
			})
		}
	}
	return all
}

// added is what there is now that was not there before.
func added(ctx context.Context, bed *testbed.Testbed, before map[string]bool) []string {
	ginkgo.GinkgoHelper()
	now := inventory(ctx, bed)
	maps.DeleteFunc(now, func(key string, _ bool) bool { return before[key] })
	return slices.Sorted(maps.Keys(now))
}
