// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"context"
	"os"
	"testing"
	"time"

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

// longest is the time after which a spec has failed: each takes a few minutes, and what it waits for five at most.
const longest = 20 * time.Minute

// begin starts a world before the specs of a container, and returns what adds a spec. Each spec removes its VMs, so that one
// that fails does not keep those after it from being told.
func begin(w *world) func(text string, spec func(context.Context), more ...any) {
	w.machines = map[string]*machine.Machine{}
	ginkgo.BeforeAll(w.start, ginkgo.NodeTimeout(longest))
	ginkgo.BeforeEach(w.again)
	ginkgo.AfterEach(func(ctx context.Context) {
		if ginkgo.CurrentSpecReport().Failed() {
			w.notice(ctx)
			w.collect(ctx)
			w.revive(ctx)
		}
	}, ginkgo.NodeTimeout(longest))
	return func(text string, spec func(context.Context), more ...any) {
		ginkgo.It(text, append([]any{spec, ginkgo.NodeTimeout(longest), ginkgo.FlakeAttempts(2)}, more...)...)
	}
}

// The specs are one story on the same machines.
var _ = ginkgo.Describe("On two machines with real kubelets, corepin", ginkgo.Ordered, ginkgo.ContinueOnFailure, func() {
	w := &world{names: []string{numaMachine, flatMachine}}
	it := begin(w)
	// CI leaves both out, which has only 90 minutes. furnished are the specs with huge pages, memory and devices.
	furnished := ginkgo.Label("furnished")
	long := ginkgo.Label("long")

	it("knows each node as its kubelet does", w.knowsItsNodes)
	it("labels the nodes while feature gate CPUManager is on", w.followsTheGate)
	it("refuses inconsistent VMIs at apply", w.refusesAtApply)
	it("gives a VM the CPUs that it predicted, and pins its vCPUs there", func(ctx context.Context) { w.runsVM(ctx, "vmi-cores") })
	it("does so with a VM whose size is a limit", func(ctx context.Context) { w.runsVM(ctx, "vmi-limits") })
	it("does so with an isolated emulator and an IO thread", w.runsIsolatedVM)
	it("tells which threads KubeVirt's housekeeping cgroup keeps off their CPUs, and leaves them there", w.keepsHouse, long)
	it("fills the machines without one refusal, where stock kube-scheduler has some", w.fills)
	it("predicts what every policy of the topology manager grants", func(ctx context.Context) { w.followsPolicies(ctx, topologyPolicies) }, long)
	it("predicts what every option of the CPU manager grants", func(ctx context.Context) { w.followsPolicies(ctx, optionPolicies) })
	it("keeps VMs on their CPUs whatever fails", w.survives)
	it("predicts what loose policies do with huge pages and devices", func(ctx context.Context) { w.followsFurnished(ctx, loosePolicies) }, furnished)
	it("predicts what strict policies do with huge pages and devices", func(ctx context.Context) { w.followsFurnished(ctx, strictPolicies) }, furnished)
	it("fills them without one refusal, where stock kube-scheduler has some", w.fillsFurnished, furnished)
	it("takes a VM's huge pages from the NUMA node that it predicted, and says before a restart that they are missing", w.backsWithPages, furnished)
})

var _ = ginkgo.Describe("On a machine with AppArmor, corepin", ginkgo.Ordered, ginkgo.ContinueOnFailure, ginkgo.Label("apparmor"), func() {
	w := &world{names: []string{flatMachine}, appArmor: true}
	it := begin(w)

	it("knows the node and pins a VM, with its agent confined and denied nothing", w.worksConfined)
	it("cannot read a pod's token under the agent's profile", w.keepsTokens)
})

var _ = ginkgo.Describe("On a machine with a kubelet as users have it, corepin", ginkgo.Ordered, ginkgo.ContinueOnFailure, func() {
	w := &world{names: []string{numaMachine}}
	it := begin(w)

	it("tells who else may run on a VM's CPUs, and who does", w.tellsOthers, ginkgo.Label("proof"))
	it("tells nothing in a quiet hour", w.staysQuiet, ginkgo.Label("quiet"), ginkgo.NodeTimeout(longest+quietFor))
})
