// SPDX-License-Identifier: Apache-2.0

//go:build system

package kubevirt

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"corepin.dev/corepin/pkg/vmi"
)

// recordEnv names a file that gets the combinations that KubeVirt refuses, one a line: the table of pkg/vmi.
const recordEnv = "COREPIN_RECORD_COMBINATIONS"

// combination is a dedicated instancetype and a preference; none is "".
type combination struct{ instancetype, preference string }

// String is the line of the table.
func (c combination) String() string { return strings.TrimSpace(c.instancetype + " " + c.preference) }

// verdict is what became of a combination: the reason of a refusal, or "".
type verdict struct{ kubevirt, check string }

var _ = ginkgo.Describe("instancetypes and preferences", func() {
	ginkgo.It("are refused by check where KubeVirt refuses them", func(ctx context.Context) {
		began := time.Now()
		checked := checkAll()
		asked := askAll(ctx, slices.Collect(maps.Keys(checked)))
		var differ, refused []string
		for c, ours := range checked {
			v := verdict{kubevirt: asked[c], check: ours}
			if (v.kubevirt == "") != (v.check == "") {
				differ = append(differ, fmt.Sprintf("%s: KubeVirt says %q, check says %q", c, v.kubevirt, v.check))
			}
			if v.kubevirt != "" {
				refused = append(refused, c.String())
			}
		}
		slices.Sort(refused)
		report("instancetypes and preferences", fmt.Sprintf("%d combinations, %d refused by KubeVirt, %d verdicts differ; %s\n",
			len(checked), len(refused), len(differ), seconds(began)))
		record := os.Getenv(recordEnv)
		if record != "" {
			gomega.Expect(os.WriteFile(record, []byte(strings.Join(refused, "\n")+"\n"), 0o644)).To(gomega.Succeed())
		}
		gomega.Expect(len(checked)).To(gomega.BeNumerically(">", 0))
		gomega.Expect(differ).To(gomega.BeEmpty())
	}, ginkgo.NodeTimeout(10*time.Minute))
})

// checkAll judges every combination as check does for a cluster whose users follow KubeVirt's rules.
func checkAll() map[combination]string {
	var preferences []*vmi.Preference
	for _, object := range programs.Objects(vmi.KindClusterPreference) {
		p, err := vmi.PreferenceOf(object.Object)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		preferences = append(preferences, p)
	}
	preferences = append(preferences, nil)
	verdicts := map[combination]string{}
	for _, object := range programs.Objects(vmi.KindClusterInstancetype) {
		it, err := vmi.InstancetypeOf(object.Object)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		if !it.CPU.DedicatedCPUPlacement {
			continue
		}
		for _, p := range preferences {
			v := &vmi.VMI{Kind: vmi.KindVM, Instancetype: &it.Reference}
			c := combination{instancetype: it.Name}
			if p != nil {
				v.Preference = &p.Reference
				c.preference = p.Name
			}
			whole, findings := vmi.Expand(v, it, p)
			findings = vmi.Errors(append(findings, vmi.Judge(whole, vmi.KubeVirt)...))
			verdicts[c] = ""
			if len(findings) > 0 {
				verdicts[c] = findings[0].String()
			}
		}
	}
	return verdicts
}

// askAll asks the API server about a VirtualMachine of each combination, without making it, several at a time.
func askAll(ctx context.Context, all []combination) map[combination]string {
	ginkgo.GinkgoHelper()
	answers := map[combination]string{}
	var failures []error
	var mu sync.Mutex
	var group sync.WaitGroup
	queue := make(chan combination)
	for range 4 {
		group.Go(func() {
			for c := range queue {
				answer, err := ask(ctx, c)
				mu.Lock()
				answers[c] = answer
				if err != nil {
					failures = append(failures, fmt.Errorf("%s: %w", c, err))
				}
				mu.Unlock()
			}
		})
	}
	for _, c := range all {
		queue <- c
	}
	close(queue)
	group.Wait()
	gomega.Expect(failures).To(gomega.BeEmpty())
	return answers
}

// ask returns the reason of KubeVirt's webhook, "" where it allows. The error is anything else.
func ask(ctx context.Context, c combination) (string, error) {
	spec := map[string]any{
		"runStrategy": "Halted", "instancetype": map[string]any{"name": c.instancetype},
		"template": map[string]any{"spec": map[string]any{"domain": map[string]any{"devices": map[string]any{}}}},
	}
	if c.preference != "" {
		spec["preference"] = map[string]any{"name": c.preference}
	}
	vm := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": map[string]any{"name": "combination", "namespace": "default"}, "spec": spec,
	}}
	_, err := bed.Dynamic().Resource(virtualMachines).Namespace("default").Create(ctx, vm, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	switch {
	case err == nil:
		return "", nil
	case apierrors.IsInvalid(err) || strings.Contains(err.Error(), `admission webhook "virtualmachine-validator.kubevirt.io" denied`):
		return err.Error(), nil
	}
	return "", err
}
