// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/machine"
)

// backsWithPages runs a guest whose memory is huge pages. Then the machine loses huge pages that nobody uses, and its kubelet does
// not start any more: corepin has said so before.
func (w *world) backsWithPages(ctx context.Context) {
	ginkgo.GinkgoHelper()
	const name = "vmi-pages"
	m := w.machines[numaMachine]
	settings := furnished{policy: "single-numa-node"}.settings(m.Name())
	gomega.Expect(w.furnish(ctx, m.Name(), settings)).To(gomega.Succeed())
	ginkgo.DeferCleanup(func(ctx context.Context) error { return w.remove(ctx, name) })
	runs := pages
	runs.decided = false
	j, err := w.judge(ctx, m.Name(), name, runs)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	v, err := w.awaitGrant(ctx, name)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(w.awaitRunning(ctx, &v)).To(gomega.Succeed())
	gomega.Expect(w.startGuest(ctx, v)).To(gomega.Succeed())
	gomega.Expect(w.awaitPinned(ctx, v)).To(gomega.Succeed())
	got, err := m.GuestHugePages(ctx, "vms_"+name)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	table := fmt.Sprintf("%s\nhuge pages of its QEMU by NUMA node, as its numa_maps says: %v\n", j, got)
	gomega.Expect(j.compute).To(gomega.ContainElement("384 MiB hugepages-2Mi of NUMA node 1"))
	gomega.Expect(maps.Equal(got, map[int]int{1: 192})).To(gomega.BeTrue(), table)
	table += w.losesPages(ctx, m, settings)
	gomega.Expect(w.awaitInvariants(ctx, []vm{v})).To(gomega.Succeed())
	ginkgo.AddReportEntry("a guest in huge pages, and a machine that loses some", ginkgo.ReportEntryVisibilityAlways, table)
}

// losesPages takes huge pages away that nobody uses, restarts the kubelet, and puts everything back as it was.
func (w *world) losesPages(ctx context.Context, m *machine.Machine, settings machine.Settings) (table string) {
	ginkgo.GinkgoHelper()
	has := furnitures[m.Name()]
	fewer := slices.Clone(has.pages)
	fewer[0] -= 56
	settings.Version = kubelets[m.Name()].Version
	settings.ReservedMiB = has.reservedMiB
	gomega.Expect(w.awaitRestartSafe(ctx, m.Name(), metav1.ConditionTrue)).Error().NotTo(gomega.HaveOccurred())
	runs := true // the kubelet
	ginkgo.DeferCleanup(func(ctx context.Context) error {
		err := m.SetHugePages(ctx, smallKiB, has.pages...)
		if !runs {
			err = errors.Join(err, w.startKubelet(ctx, m, settings))
		}
		return err
	})
	gomega.Expect(m.SetHugePages(ctx, smallKiB, fewer...)).To(gomega.Succeed())
	said, err := w.awaitRestartSafe(ctx, m.Name(), metav1.ConditionFalse)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	table = "RestartSafe: " + said + "\n"
	gomega.Expect(said).To(gomega.ContainSubstring(fmt.Sprintf("NUMA node 0 has %d bytes of hugepages-2Mi, and memory_manager_state was written with %d",
		fewer[0]*smallKiB<<10, has.pages[0]*smallKiB<<10)))

	gomega.Expect(m.StopKubelet(ctx)).To(gomega.Succeed())
	runs = false
	gomega.Expect(m.StartKubelet(ctx, settings)).To(gomega.Succeed())
	const wrong = "the expected machine state is different from the real one"
	kubelet, err := awaitLog(ctx, m, wrong)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	table += "kubelet:     " + kubelet + "\n"

	gomega.Expect(m.SetHugePages(ctx, smallKiB, has.pages...)).To(gomega.Succeed())
	gomega.Expect(w.startKubelet(ctx, m, settings)).To(gomega.Succeed())
	runs = true
	_, err = w.awaitRestartSafe(ctx, m.Name(), metav1.ConditionTrue)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return table
}

// awaitRestartSafe waits until a node's condition RestartSafe has a status, and returns its message.
func (w *world) awaitRestartSafe(ctx context.Context, node string, want metav1.ConditionStatus) (message string, err error) {
	err = await.Every(ctx, glance, fmt.Sprintf("RestartSafe of %s to be %s", node, want), limit, func(ctx context.Context) error {
		report, err := w.Report(ctx, node)
		if err != nil {
			return err
		}
		c := meta.FindStatusCondition(report.Status.Conditions, v1alpha1.ConditionRestartSafe)
		if c == nil || c.Status != want {
			return fmt.Errorf("it is %+v", c)
		}
		message = c.Message
		return nil
	})
	return message, err
}

// awaitLog waits until the last lines of the kubelet's log have a text, and the kubelet has ended. It returns the line.
func awaitLog(ctx context.Context, m *machine.Machine, text string) (line string, err error) {
	err = await.Every(ctx, pause, "the kubelet of "+m.Name()+" to end with "+text, limit, func(ctx context.Context) error {
		tail, err := m.Run(ctx, "sh", "-c", `tail -n 20 "$0"; ! kill -0 $(cat /run/kubelet.pid)`, machine.KubeletLog)
		if err != nil {
			return err
		}
		for _, l := range lines(tail) {
			if strings.Contains(l, text) {
				line = l
				return nil
			}
		}
		return fmt.Errorf("its log ends:\n%s", tail)
	})
	return line, err
}
