//go:build system

package system

import (
	"context"
	"os"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"corepin.dev/corepin/test/harness/machine"
)

func TestSystem(t *testing.T) {
	for _, name := range []string{"COREPIN_BIN", "COREPIN_MACHINE"} {
		if os.Getenv(name) == "" {
			t.Fatalf("%s does not name its folder: use make test-system", name)
		}
	}
	gomega.RegisterFailHandler(ginkgo.Fail)
	ginkgo.RunSpecs(t, "corepin on real kubelets")
}

// The whole suite is one story on the same machines. Each spec removes its VMs, so that one that fails does not
// keep those after it from being told.
var _ = ginkgo.Describe("On two machines with real kubelets, corepin", ginkgo.Ordered, ginkgo.ContinueOnFailure, func() {
	w := &world{machines: map[string]*machine.Machine{}}
	ginkgo.BeforeAll(w.start)
	ginkgo.AfterEach(func(ctx context.Context) {
		if ginkgo.CurrentSpecReport().Failed() {
			w.collect(ctx)
		}
	})

	ginkgo.It("knows each node as its kubelet does", func(ctx context.Context) { w.knowsItsNodes(ctx) })
	ginkgo.It("labels the nodes while feature gate CPUManager is on", func(ctx context.Context) { w.followsTheGate(ctx) })
	ginkgo.It("refuses inconsistent VMIs at apply", func(ctx context.Context) { w.refusesAtApply(ctx) })
	ginkgo.It("gives a VM the CPUs that it predicted, and pins its vCPUs there", func(ctx context.Context) { w.runsVM(ctx, "vmi-cores") })
	ginkgo.It("does so with a VM whose size is a limit", func(ctx context.Context) { w.runsVM(ctx, "vmi-limits") })
	ginkgo.It("does so with an isolated emulator and an IO thread", func(ctx context.Context) { w.runsIsolatedVM(ctx) })
	ginkgo.It("fills the machines without one refusal, where stock kube-scheduler has some", func(ctx context.Context) { w.fills(ctx) })
	ginkgo.It("predicts what every policy grants", func(ctx context.Context) { w.followsEveryPolicy(ctx) })
	ginkgo.It("keeps VMs on their CPUs whatever fails", func(ctx context.Context) { w.survives(ctx) })
})
