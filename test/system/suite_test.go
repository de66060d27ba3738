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

// The whole suite is one story: each spec begins where the one before it left the machines.
var _ = ginkgo.Describe("On two machines with real kubelets, corepin", ginkgo.Ordered, func() {
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
})
