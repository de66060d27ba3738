// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/test/harness/machine"
)

// loadProfiles loads the shipped profiles as manifests/INSTALL.md says. The kernel then writes all that they deny to its log, and
// not only some lines of each five seconds.
func loadProfiles(ctx context.Context, m *machine.Machine) error {
	if _, err := m.Shell(ctx, "echo 0 >/proc/sys/kernel/printk_ratelimit"); err != nil {
		return err
	}
	for _, name := range []string{"corepin-agent", "corepin-scheduler"} {
		text, err := manifests.FS.ReadFile("overlays/apparmor/profiles/" + name)
		if err != nil {
			return err
		}
		file := path.Join("/etc/apparmor.d", name)
		if err := m.WriteFile(ctx, file, 0o644, text); err != nil {
			return err
		}
		if _, err := m.Run(ctx, "apparmor_parser", "--replace", file); err != nil {
			return err
		}
	}
	return nil
}

// worksConfined is what the agent does on a node, under its profile. It asks the kernel what confines the agent, and what it
// was denied.
func (w *world) worksConfined(ctx context.Context) {
	ginkgo.GinkgoHelper()
	m := w.machines[flatMachine]
	label, err := m.Shell(ctx, `cat /proc/$(busybox pidof corepin-agent)/attr/current`)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(strings.TrimSpace(label)).To(gomega.Equal("corepin-agent (enforce)"))
	w.knowsItsNodes(ctx)
	w.runsVM(ctx, "vmi-cores")
	gomega.Expect(w.killAgent(ctx, m)).To(gomega.Succeed())
	gomega.Expect(w.awaitTrueReport(ctx, flatMachine)).To(gomega.Succeed())
	denied, err := denials(ctx, m)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(denied).To(gomega.BeEmpty(), "the next spec shows that the log has what is denied")
}

// tokenScript opens a pod's token. Under the agent's profile it opens a file of the kubelet that the agent reads, and the token
// again. Only the shell's own commands are used: the profile lets it start no other.
const tokenScript = `
token=$(ls /var/lib/kubelet/pods/*/volumes/kubernetes.io~projected/*/token | head -n 1)
: <"$token"
echo "without the profile: opened $token"
echo changeprofile corepin-agent >/proc/self/attr/current
: </var/lib/kubelet/cpu_manager_state
echo "under the profile: opened cpu_manager_state"
(: <"$token") && echo "under the profile: opened $token"
exit 0
`

// keepsTokens shows that a process under the agent's profile opens what the agent needs, and not the token of a pod, with
// which it could be that pod at the API server.
func (w *world) keepsTokens(ctx context.Context) {
	ginkgo.GinkgoHelper()
	m := w.machines[flatMachine]
	output, err := m.Run(ctx, "sh", "-ec", tokenScript)
	fmt.Fprintln(ginkgo.GinkgoWriter, output, err)
	gomega.Expect(output).To(gomega.ContainSubstring("under the profile: opened cpu_manager_state\n"))
	gomega.Expect(output).To(gomega.ContainSubstring("Permission denied"))
	gomega.Expect(output).NotTo(gomega.ContainSubstring("under the profile: opened /"))
	denied, err := denials(ctx, m)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(denied).To(gomega.ContainElement(gomega.MatchRegexp(`operation="open".* name="/var/lib/kubelet/pods/[^/]+/volumes/kubernetes.io~projected/.*token"`)))
	ginkgo.AddReportEntry("what the kernel denied", ginkgo.ReportEntryVisibilityAlways, strings.Join(denied, "\n"))
}

// denials are the lines of the kernel's log about what processes under the agent's profile were denied.
func denials(ctx context.Context, m *machine.Machine) ([]string, error) {
	log, err := m.Run(ctx, "dmesg")
	if err != nil {
		return nil, err
	}
	var denied []string
	for _, line := range lines(log) {
		if strings.Contains(line, `apparmor="DENIED"`) && strings.Contains(line, `profile="corepin-agent"`) {
			denied = append(denied, line)
		}
	}
	return denied, nil
}
