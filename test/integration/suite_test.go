// SPDX-License-Identifier: Apache-2.0

// Package integration runs corepin's two binaries with the shipped manifests against a real control plane
// and real libvirt guests. The nodes are simulated; the kubelet's own packages grant their CPUs (see
// test/harness/testbed). Assertions ask the API server, the kubelets' checkpoint files, libvirt and /proc,
// never corepin's own reports.
//
// It takes root, libvirt and QEMU (hack/setup.sh), and the binaries in the directory COREPIN_BIN
// (hack/build.sh). Without these it is skipped with a message. With COREPIN_REQUIRE_ALL=1, as in CI and in
// `make test`, that is a failure.
package integration

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/test/harness/testbed"
)

func TestIntegration(t *testing.T) {
	for _, program := range []string{"libvirtd", "virsh", "setpriv"} {
		_, err := exec.LookPath(program)
		need(t, err == nil, program+" is not installed: run hack/setup.sh")
	}
	need(t, os.Geteuid() == 0, "guests run as another user: run it as root")
	need(t, os.Getenv("COREPIN_BIN") != "", "COREPIN_BIN does not name the directory of the binaries: use make test")
	gomega.RegisterFailHandler(ginkgo.Fail)
	ginkgo.RunSpecs(t, "corepin with a real control plane")
}

func need(t *testing.T, have bool, otherwise string) {
	t.Helper()
	switch {
	case have:
	case os.Getenv("COREPIN_REQUIRE_ALL") == "1":
		t.Fatal(otherwise)
	default:
		t.Skip(otherwise)
	}
}

var _ = ginkgo.BeforeSuite(func() {
	// The kubelet's packages log through klog's global logger.
	options := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(options)
	gomega.Expect(options.Set("logtostderr", "false")).To(gomega.Succeed())
	klog.SetOutput(ginkgo.GinkgoWriter)
})

// startTestbed starts a testbed for the specs of one container; it is stopped after them. If one of them
// fails, its files are kept.
func startTestbed(ctx context.Context, machines []testbed.Machine) *testbed.Testbed {
	ginkgo.GinkgoHelper()
	return startTestbedWith(ctx, testbed.Options{Machines: machines})
}

// startTestbedWith is startTestbed with other options than the usual ones. Where its files are and what it logs to is set
// here.
func startTestbedWith(ctx context.Context, options testbed.Options) *testbed.Testbed {
	ginkgo.GinkgoHelper()
	dir, err := os.MkdirTemp("", "corepin-it-")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(os.Chmod(dir, 0o755)).To(gomega.Succeed())
	options.Dir = dir
	options.Bin = os.Getenv("COREPIN_BIN")
	options.Log = ginkgo.GinkgoWriter
	bed, err := testbed.Start(ctx, options)
	gomega.Expect(err).NotTo(gomega.HaveOccurred(), "files are kept in %s", dir)
	ginkgo.DeferCleanup(func() {
		gomega.Expect(bed.Stop()).To(gomega.Succeed(), "files are kept in %s", dir)
		if ginkgo.CurrentSpecReport().Failed() {
			ginkgo.GinkgoWriter.Printf("files are kept in %s\n", dir)
			return
		}
		gomega.Expect(os.RemoveAll(dir)).To(gomega.Succeed())
	})
	return bed
}
