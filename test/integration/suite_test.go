// SPDX-License-Identifier: Apache-2.0

// Package integration runs corepin's two binaries with the shipped manifests against a real control plane
// and real libvirt guests. The nodes are simulated; the kubelet's own packages grant their CPUs (see
// test/harness/testbed). Assertions ask the API server, the kubelets' checkpoint files, libvirt and /proc,
// never corepin's own reports.
//
// The specs of each file run in a process of their own, two files at a time on two CPUs. With a filter, such as
// -ginkgo.focus, what is left runs in this process.
//
// It takes root, libvirt and QEMU (hack/setup.sh), and the binaries in the directory COREPIN_BIN
// (hack/build.sh). Without these it is skipped with a message. With COREPIN_REQUIRE_ALL=1, as in CI and in
// `make test`, that is a failure.
package integration

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"golang.org/x/sys/unix"
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
	suite, _ := ginkgo.GinkgoConfiguration()
	filters := [][]string{suite.FocusFiles, suite.SkipFiles, suite.FocusStrings, suite.SkipStrings}
	if len(slices.Concat(filters...)) == 0 && suite.LabelFilter == "" {
		runFiles(t, suite.Timeout)
		return
	}
	gomega.RegisterFailHandler(ginkgo.Fail)
	ginkgo.RunSpecs(t, "corepin with a real control plane")
}

// runFiles runs the specs of each file in a process of their own, as many at a time as go test -parallel says. Most of what
// specs do is to wait. Each container of specs has its own testbed, so that none meets another.
func runFiles(t *testing.T, timeout time.Duration) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, unix.SIGTERM)
	t.Cleanup(stop)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(text, []byte("\nvar _ = ginkgo.Describe(")) {
			continue
		}
		t.Run(strings.TrimSuffix(file, "_test.go"), func(t *testing.T) {
			t.Parallel()
			runFile(ctx, t, file, timeout)
		})
	}
}

// runFile runs the specs of one file, in a process that ends with this one.
func runFile(ctx context.Context, t *testing.T, file string, timeout time.Duration) {
	// The kernel sends the signal when the thread ends that started the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestIntegration$", "-test.timeout=0", "-ginkgo.no-color",
		"-ginkgo.focus-file=^.*/"+regexp.QuoteMeta(file)+"$", "-ginkgo.fail-on-empty", "-ginkgo.timeout="+timeout.String())
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	output, err := cmd.CombinedOutput()
	t.Logf("%s", output)
	if err != nil {
		t.Errorf("the specs of %s: %v", file, err)
	}
	if bytes.Contains(output, []byte("\nRan 0 of ")) {
		t.Skip("each of its specs was skipped; the reasons are above")
	}
}

// minor is that of the control plane's Kubernetes, such as "1.36". hack/test-minor.sh brings others than that of go.mod.
func minor(ctx context.Context) string {
	ginkgo.GinkgoHelper()
	output, err := exec.CommandContext(ctx, filepath.Join(os.Getenv("COREPIN_BIN"), "clusterd"), "kube-apiserver", "--version").Output()
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	version := regexp.MustCompile(`v(1\.\d+)\.`).FindSubmatch(output)
	gomega.Expect(version).To(gomega.HaveLen(2), string(output))
	return string(version[1])
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
