// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/vmi"
)

var examples = filepath.Join("..", "..", "..", "manifests", "examples")

// The examples that are to run break no rule, not even one that only warns, before and after KubeVirt's
// defaulting, and the policy lets them pass.
func TestExamplesPass(t *testing.T) {
	p := loadPolicy(t, refusePolicy)
	for _, file := range runnable(t) {
		text, v := readExample(t, file)
		version := "kubevirt.io/v1" // the one that every KubeVirt of today serves
		if strings.Contains(file, "v1alpha2") {
			version = "kubevirt.io/v1alpha2"
		} else if strings.Contains(text, "image") {
			t.Errorf("%s names an image, which nobody may be able to pull", file)
		}
		if !v.Dedicated() || v.Namespace != "vms" || v.Spec.SchedulerName != "corepin" || v.APIVersion != version {
			t.Errorf("%s is no dedicated VM of %s for corepin in namespace vms: %+v", file, version, v)
		}
		if message := p.refuse(t, parse(t, text), nil); message != "" {
			t.Errorf("%s is refused by the policy: %s", file, message)
		}
		if message := loadPolicy(t, warnPolicy).refuse(t, parse(t, text), nil); message != "" {
			t.Errorf("%s is warned of by the policy: %s", file, message)
		}
		findings := vmi.Check(v, vmi.Strict)
		v.Default()
		for _, finding := range append(findings, vmi.Check(v, vmi.Strict)...) {
			t.Errorf("%s: %s", file, finding)
		}
	}
}

// The examples that are to be refused are refused, and their comments say what the user will read.
func TestExamplesAreRefused(t *testing.T) {
	p := loadPolicy(t, refusePolicy)
	comment := regexp.MustCompile(`(?m)^#.*$`)
	for _, file := range glob(t, filepath.Join(examples, "rejected", "*.yaml")) {
		text, v := readExample(t, file)
		if v.APIVersion != "kubevirt.io/v1" {
			t.Errorf("%s is of %s, which KubeVirt does not serve", file, v.APIVersion)
		}
		message := p.refuse(t, parse(t, text), nil)
		if message == "" {
			t.Errorf("%s is not refused by the policy", file)
		}
		told := strings.Join(strings.Fields(strings.ReplaceAll(strings.Join(comment.FindAllString(text, -1), " "), "#", "")), " ")
		if !strings.HasSuffix(told, "You will be told: "+message) {
			t.Errorf("%s is refused with %q, and its comment says %q", file, message, told)
		}
	}
}

// runnable are the examples that are to run.
func runnable(t *testing.T) []string {
	t.Helper()
	return append(glob(t, filepath.Join(examples, "*.yaml")), glob(t, filepath.Join(examples, "v1alpha2", "*.yaml"))...)
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	return files
}

func readExample(t *testing.T, file string) (string, *vmi.VMI) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	v, err := vmi.Decode(text)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return string(text), v
}
