// SPDX-License-Identifier: Apache-2.0

//go:build system

package kubevirt

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/test/harness/guest"
	"corepin.dev/corepin/test/harness/kubevirt"
	"corepin.dev/corepin/test/harness/simnode"
	"corepin.dev/corepin/test/harness/testbed"
)

// deadline is for what takes a moment, on a machine that is busy with others.
const deadline = 2 * time.Minute

// shippedVerbosity is that of the Deployment and the DaemonSet in manifests/base.
const shippedVerbosity = 2

var (
	programs *kubevirt.Programs
	bed      *testbed.Testbed
	// controller acts as virt-controller, where a test makes by hand what a controller would.
	controller dynamic.Interface
)

func TestKubeVirt(t *testing.T) {
	var err error
	programs, err = kubevirt.Find(os.Getenv("KUBEVIRT"))
	if err != nil {
		t.Fatalf("use make test-kubevirt KUBEVIRT=DIR: %v", err)
	}
	gomega.RegisterFailHandler(ginkgo.Fail)
	ginkgo.RunSpecs(t, "corepin beside a real KubeVirt")
}

// machines have the policies of a node for VMs. Guests are of no interest.
func machines() []testbed.Machine {
	static := func(name, topology, policy, reserved string) testbed.Machine {
		return testbed.Machine{Name: name, Topology: cputopology.MustParse(topology), Guests: guest.None{}, Kubelet: simnode.KubeletSettings{
			CPUManagerPolicy: "static", TopologyManagerPolicy: policy, ReservedSystemCPUs: reserved,
		}}
	}
	roomy := static("roomy", "2 sockets x 1 numa x 32 cores x 2 threads", "none", "0")
	strict := static("strict", "2 sockets x 1 numa x 16 cores x 2 threads", "single-numa-node", "0,32")
	strict.Heartbeat = true
	return []testbed.Machine{roomy, strict}
}

var _ = ginkgo.BeforeSuite(func(ctx context.Context) {
	dir, err := os.MkdirTemp("", "corepin-kubevirt-")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(os.Chmod(dir, 0o755)).To(gomega.Succeed())
	// The kubelet's packages log much, through klog's global logger.
	options := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(options)
	for name, value := range map[string]string{
		"logtostderr": "false", "alsologtostderr": "false", "stderrthreshold": "FATAL", "log_file": filepath.Join(dir, "simulated-kubelets.log"),
	} {
		gomega.Expect(options.Set(name, value)).To(gomega.Succeed())
	}
	began := time.Now()
	bed, err = testbed.Start(ctx, testbed.Options{
		Dir: dir, Bin: os.Getenv("COREPIN_BIN"), Machines: machines(), Log: ginkgo.GinkgoWriter, Verbosity: shippedVerbosity,
		KubeVirt: func(ctx context.Context, t *testbed.Testbed) error {
			_, err := kubevirt.Install(ctx, t.Cluster, programs, filepath.Join(dir, "kubevirt"))
			return err
		},
	})
	gomega.Expect(err).NotTo(gomega.HaveOccurred(), "files are kept in %s", dir)
	fmt.Printf("cluster, KubeVirt and corepin ready after %.0f s; KubeVirt is %s\n", time.Since(began).Seconds(), versionOf(ctx))
	path, err := bed.ServiceAccountKubeconfig(ctx, kubevirt.Namespace, kubevirt.ControllerAccount)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	config, err := clientcmd.BuildConfigFromFlags("", path)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	controller, err = dynamic.NewForConfig(config)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	ginkgo.DeferCleanup(func() {
		fmt.Print(processes())
		gomega.Expect(bed.Stop()).To(gomega.Succeed(), "files are kept in %s", dir)
		if os.Getenv("COREPIN_KEEP") == "" {
			gomega.Expect(os.RemoveAll(dir)).To(gomega.Succeed())
		}
	})
}, ginkgo.NodeTimeout(10*time.Minute))

// versionOf is what virt-api says it is.
func versionOf(ctx context.Context) string {
	text, err := bed.Client().Discovery().RESTClient().Get().AbsPath("/apis/subresources.kubevirt.io/v1/version").DoRaw(ctx)
	if err != nil {
		return fmt.Sprintf("of a version that it does not tell (%v)", err)
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

// processes is a table of the memory and CPU time of all that runs.
func processes() string {
	table := fmt.Sprintf("%-34s %10s %10s\n", "process", "RSS", "CPU")
	for _, p := range bed.Processes() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
		if err != nil {
			table += fmt.Sprintf("%-34s %s\n", p.Name(), "has ended")
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		var user, system, pages int64
		_, err = fmt.Sscan(fields[11]+" "+fields[12]+" "+fields[21], &user, &system, &pages)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		table += fmt.Sprintf("%-34s %7d MB %8.1f s\n", p.Name(), pages*int64(os.Getpagesize())>>20, float64(user+system)/100)
	}
	return table
}

// report prints a table and keeps it for the suite's report.
func report(title, table string) {
	fmt.Printf("\n%s\n%s", title, table)
	ginkgo.AddReportEntry(title, table, ginkgo.ReportEntryVisibilityNever)
}
