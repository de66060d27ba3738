// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/test/harness/testbed"
)

// An upgrade from the release before and the way back, one part after the other: definitions and roles, agents, scheduler. In each
// state VMs start and are pinned on a node with devices and on one without, and those that ran run on. hack/test-rollback.sh
// builds the release before.
var _ = ginkgo.Describe("the release before and this one", ginkgo.Ordered, func() {
	const plain, furnished = "plain", "furnished"
	var (
		bed          *testbed.Testbed
		see          pinWitness
		before, this testbed.Release
		states       []string
		running      = map[string]string{} // what each VM that runs has: its pod, CPUs and pins
	)
	ginkgo.BeforeAll(func(ctx context.Context) {
		dir := os.Getenv("COREPIN_BEFORE")
		if dir == "" {
			ginkgo.Skip("COREPIN_BEFORE does not name a directory with the release before: use hack/test-rollback.sh")
		}
		before = testbed.Release{Bin: filepath.Join(dir, "bin"), Manifests: os.DirFS(filepath.Join(dir, "manifests"))}
		this = testbed.Release{Bin: os.Getenv("COREPIN_BIN"), Manifests: manifests.FS}
		simple := launcherNode(plain, testbed.NobodyPins)
		devices := deviceMachine(furnished, "single-numa-node", "container")
		devices.Topology = cputopology.MustParse("2 sockets x 1 numa x 2 cores x 2 threads")
		devices.Kubelet.ReservedSystemCPUs = simple.Kubelet.ReservedSystemCPUs
		devices.Guests = simple.Guests
		devices.GuestURI = simple.GuestURI
		devices.Hook = simple.Hook
		bed = startTestbedWith(ctx, testbed.Options{Machines: []testbed.Machine{devices, simple}, Release: &before})
		see = pinWitness{witness{bed}}
	})
	ginkgo.AfterAll(func() { ginkgo.AddReportEntry("report formats and VMs", strings.Join(states, "\n")) })

	// pinned waits until the VM's vCPUs are pinned to CPUs that its kubelet has granted, and returns what it has.
	pinned := func(ctx context.Context, vm string) (has string) {
		ginkgo.GinkgoHelper()
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			pod, err := bed.PodOf(ctx, vm)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(pod.Status.Phase).To(gomega.Equal(corev1.PodRunning), "%s on %q: %s %s", vm, pod.Spec.NodeName, pod.Status.Reason, pod.Status.Message)
			granted, err := see.tryGranted(pod)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			pins, err := see.tryAffinity(ctx, pod)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(pinnedWithin(pins, 2, granted)).To(gomega.Succeed())
			has = fmt.Sprintf("%s on %s: CPUs %s, pins %v", pod.UID, pod.Spec.NodeName, granted, pins)
		}).WithTimeout(2 * deadline).Should(gomega.Succeed())
		return has
	}
	// works is one state: what runs goes on after the change, and VMs end and others start.
	works := func(name string, change func(ctx context.Context) error) {
		ginkgo.It(name, func(ctx context.Context) {
			gomega.Expect(change(ctx)).To(gomega.Succeed())
			for vm, has := range running {
				gomega.Expect(pinned(ctx, vm)).To(gomega.Equal(has), "VM %s", vm)
			}
			for _, node := range []string{plain, furnished} {
				last := fmt.Sprintf("%s-%d", node, len(states)-1)
				if len(states) > 1 { // the first one runs until the end
					gomega.Expect(bed.DeleteVMI(ctx, last)).To(gomega.Succeed())
					delete(running, last)
				}
				vm := fmt.Sprintf("%s-%d", node, len(states))
				gomega.Expect(bed.Apply(ctx, onNode(node, pinnedVM(vm, false)))).To(gomega.Succeed())
				running[vm] = pinned(ctx, vm)
			}
			see.noCPUTwice()
			formats := ""
			for _, node := range slices.Sorted(maps.Keys(bed.Nodes)) {
				gomega.Expect(bed.Nodes[node].Agent.Running()).To(gomega.BeTrue(), "the agent of %s", node)
				gomega.Expect(see.label(ctx, node)).To(gomega.HavePrefix("true/"), "label cpumanager of %s", node)
				object, err := bed.Kubectl(ctx, "get", "nodecpu", node, "--output=jsonpath={.status.format} {.status.conditions[?(@.type=='Exact')].status}")
				gomega.Expect(err).NotTo(gomega.HaveOccurred())
				formats += fmt.Sprintf(", %s: format %s", node, object)
			}
			gomega.Expect(bed.Restarts()).To(gomega.BeEmpty())
			refused, err := bed.Client().CoreV1().Pods(testbed.VMNamespace).List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Failed"})
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			gomega.Expect(refused.Items).To(gomega.BeEmpty())
			states = append(states, fmt.Sprintf("%-70s %d VMs run%s", name, len(running), formats))
		})
	}
	installs := func(release *testbed.Release) func(context.Context) error {
		return func(ctx context.Context) error { return bed.Install(ctx, *release) }
	}
	agents := func(ctx context.Context) error { return bed.RollOutAgents(ctx) }
	scheduler := func(ctx context.Context) error { return bed.RollOutScheduler(ctx) }

	works("the release before", func(context.Context) error { return nil })
	works("up: this release's manifests, agents and scheduler of the one before", installs(&this))
	works("up: this release's agents, scheduler of the one before", agents)
	works("up: this release", scheduler)
	works("down: manifests of the release before, this one's agents and scheduler", installs(&before))
	works("down: agents of the release before, this one's scheduler", agents)
	works("down: the release before", scheduler)
	works("down: the release before, its reports written anew", func(ctx context.Context) error {
		// As manifests/INSTALL.md has it: an older agent does not write over a newer report.
		_, err := bed.Kubectl(ctx, "delete", "nodecpus", "--all")
		if err != nil {
			return err
		}
		for _, node := range []string{plain, furnished} {
			if err := bed.AwaitReported(ctx, node); err != nil {
				return err
			}
		}
		return nil
	})
	works("up again: this release's manifests and scheduler, agents of the one before", func(ctx context.Context) error {
		if err := bed.Install(ctx, this); err != nil {
			return err
		}
		return bed.RollOutScheduler(ctx)
	})
	works("up again: this release", agents)
	works("down again: manifests and scheduler of the release before, this one's agents", func(ctx context.Context) error {
		if err := bed.Install(ctx, before); err != nil {
			return err
		}
		return bed.RollOutScheduler(ctx)
	})
	works("down again: the release before", agents)
	works("up once more: this release", func(ctx context.Context) error {
		return errors.Join(bed.Install(ctx, this), bed.RollOutAgents(ctx), bed.RollOutScheduler(ctx))
	})
	works("agents, roles and configuration of the release before, this one's definition and scheduler", func(ctx context.Context) error {
		definition, err := fs.ReadFile(manifests.FS, "base/crd/corepin.dev_nodecpus.yaml")
		return errors.Join(err, bed.Install(ctx, before), bed.Apply(ctx, definition), bed.RollOutAgents(ctx))
	})
})
