// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/user"
)

const (
	vmiHead = "{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: demo}, spec: {schedulerName: corepin, domain: "
	badVM   = "{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: demo}, " +
		"spec: {running: true, template: {metadata: {labels: {a: b}}, spec: {schedulerName: corepin, domain: {cpu: {dedicatedCpuPlacement: true, cores: 2}}}}}}"
	noMemory = "resources.limits.memory: no memory is given; set limits.memory, for example 2Gi"
)

// The policy ignores everything that does not ask for dedicated CPUs, and names what does not have
// its type, or is too large, in what does.
func TestPolicyOnOddObjects(t *testing.T) {
	p := loadPolicy(t, refusePolicy)
	million := strings.Repeat("1", 1_000_000)
	many := "[" + strings.Repeat("{name: a}, ", 2000) + "{name: b}]"
	for _, tc := range []struct{ name, object, want string }{
		{"no cpu", vmiHead + "{resources: {limits: nonsense}}}}", ""},
		{"cpu is null", vmiHead + "{cpu: null}}}", ""},
		{"not dedicated, all wrong", vmiHead + "{cpu: {cores: -1, dedicatedCpuPlacement: false}, resources: {limits: {cpu: x}}}}}", ""},
		{"dedicated is null", vmiHead + "{cpu: {dedicatedCpuPlacement: null}}}}", ""},
		{"dedicated in quotes", vmiHead + "{cpu: {dedicatedCpuPlacement: 'true'}}}}", "spec.domain.cpu.dedicatedCpuPlacement: must be true or false, without quotes"},
		{"wrong types", vmiHead + "{cpu: {dedicatedCpuPlacement: true, cores: '2', sockets: -1, threads: 1.5}, memory: {guest: much}, resources: {limits: {cpu: [2]}}}}}",
			"spec.domain.cpu.sockets: must be a whole number from 0 to 2147483647; spec.domain.cpu.cores: must be a whole number from 0 to 2147483647; " +
				"spec.domain.cpu.threads: must be a whole number from 0 to 2147483647; spec.domain.resources.limits.cpu: must be an amount such as 2, 1500m or 2Gi; " +
				"spec.domain.memory.guest: must be an amount such as 2, 1500m or 2Gi"},
		{"huge exponent", vmiHead + "{cpu: {dedicatedCpuPlacement: true}, memory: {guest: '1e2147483647'}}}}", "spec.domain.memory.guest: must be an amount such as 2, 1500m or 2Gi"},
		{"endless for the API server's own parser", vmiHead + "{cpu: {dedicatedCpuPlacement: true}, memory: {guest: '1e-2147483647', hugepages: {pageSize: '1E2147483648'}}, resources: {limits: {cpu: '1E2147483648'}}}}}",
			"spec.domain.resources.limits.cpu: must be an amount such as 2, 1500m or 2Gi; spec.domain.memory.guest: must be an amount such as 2, 1500m or 2Gi"},
		{"not objects", vmiHead + "{cpu: {dedicatedCpuPlacement: true, numa: []}, memory: 2Gi, resources: {limits: [cpu]}}}}",
			"spec.domain.memory: must be an object; spec.domain.resources.limits: must be an object; spec.domain.cpu.numa: must be an object"},
		{"a domain that is no object", vmiHead + "[cpu]}}", "spec.domain: must be an object"},
		{"a cpu that is no object", vmiHead + "{cpu: 2}}}", "spec.domain.cpu: must be an object"},
		{"features that are no objects, and more", vmiHead + "{cpu: {dedicatedCpuPlacement: true, features: [vmx]}}}}", "spec.domain.cpu.features: must be a list of objects"},
		{"a policy of threads that is no text", vmiHead + "{cpu: {dedicatedCpuPlacement: true}, ioThreadsPolicy: {}}}}", "spec.domain.ioThreadsPolicy: must be a string"},
		{"a million digits", vmiHead + "{cpu: {dedicatedCpuPlacement: true}, memory: {guest: '" + million + "'}, resources: {limits: {cpu: '" + million + "'}}}}}",
			"spec.domain.resources.limits.cpu: too large; no VM needs as much text here; spec.domain.memory.guest: too large; no VM needs as much text here"},
		{"long names", vmiHead + "{cpu: {dedicatedCpuPlacement: true, features: " + many + "}, memory: {hugepages: {pageSize: '" + million + "'}}, ioThreadsPolicy: '" + million + "'}}}",
			"spec.domain.memory.hugepages.pageSize: too large; no VM needs as much text here; spec.domain.ioThreadsPolicy: too large; no VM needs as much text here; " +
				"spec.domain.cpu.features: too large; no VM needs as much text here"},
		{"a long policy of a feature", vmiHead + "{cpu: {dedicatedCpuPlacement: true, cores: 1, features: [{name: a, policy: " + strings.Repeat("é", 50) + "}]}, memory: {guest: 1Gi}}}}",
			`spec.domain.cpu.features: "` + strings.Repeat("é", 40) + `..." is not the policy of a feature; write force, require, optional, disable or forbid`},
		{"an instancetype", strings.Replace(badVM, "running: true", "instancetype: {name: cx1.large}", 1),
			"spec.template.spec.domain.cpu: cores beside an instancetype, which gives the number of CPUs; remove one of the two"},
		{"a new VM", badVM, "spec.template.spec.domain." + noMemory},
	} {
		if got := p.refuse(t, parse(t, tc.object), nil); got != tc.want {
			t.Errorf("%s: refused with %q; want %q", tc.name, got, tc.want)
		}
	}
}

// An old VM is refused only for a change of what the rules look at.
func TestPolicyOnUpdates(t *testing.T) {
	p := loadPolicy(t, refusePolicy)
	change := func(from, to string) string { return strings.Replace(badVM, from, to, 1) }
	for _, tc := range []struct{ name, old, now, want string }{
		{"it is stopped", badVM, change("running: true", "running: false"), ""},
		{"a label of the template", badVM, change("a: b", "a: c"), ""},
		{"a disk", badVM, change("cores: 2}", "cores: 2}, devices: {disks: [{name: d}]}"), ""},
		{"the architecture, which KubeVirt fills in", badVM, change("schedulerName: corepin", "schedulerName: corepin, architecture: amd64"), ""},
		{"the size", badVM, change("cores: 2", "cores: 3"), noMemory},
		{"a VM becomes dedicated", change("dedicatedCpuPlacement: true, ", ""), badVM, noMemory},
		{"a VM moves to corepin's scheduler", change("schedulerName: corepin, ", ""), badVM, noMemory},
		{"a VM moves to another scheduler", badVM, change("schedulerName: corepin", "schedulerName: other"), ""},
		{"an instancetype is added", badVM, change("running: true", "instancetype: {name: cx1.large}"), "cores beside an instancetype"},
	} {
		if got := p.refuse(t, parse(t, tc.now), parse(t, tc.old)); tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%s: refused with %q; want %q", tc.name, got, tc.want)
		}
	}
}

// Who is refused and who is only warned: a template that exists, and a VM for another scheduler, are never refused.
func TestPolicyRefusesAuthorsOnly(t *testing.T) {
	refuse := loadPolicy(t, refusePolicy)
	warn := loadPolicy(t, warnPolicy)
	const (
		bad    = vmiHead + "{cpu: {dedicatedCpuPlacement: true, cores: 2}}}}"
		sound  = vmiHead + "{cpu: {dedicatedCpuPlacement: true, cores: 2}, memory: {guest: 1Gi}}}}"
		twice  = vmiHead + "{cpu: {dedicatedCpuPlacement: true, cores: 2}, resources: {limits: {cpu: 2, memory: 1Gi}}}}}"
		owners = "name: demo, ownerReferences: [{apiVersion: kubevirt.io/v1, kind: VirtualMachine, name: demo, uid: u, controller: %t}]"
	)
	owned := strings.Replace(bad, "name: demo", fmt.Sprintf(owners, true), 1)
	related := strings.Replace(bad, "name: demo", fmt.Sprintf(owners, false), 1)
	unnamed := strings.Replace(bad, "schedulerName: corepin, ", "", 1)
	controller := &user.DefaultInfo{Name: "system:serviceaccount:kubevirt:kubevirt-controller"}
	for _, tc := range []struct {
		name, object    string
		who             user.Info
		refused, warned string
	}{
		{"its author", bad, author, noMemory, ""},
		{"an owner that is no controller", related, author, noMemory, ""},
		{"made of a template", owned, author, "", noMemory},
		{"made by KubeVirt", bad, controller, "", noMemory},
		{"no scheduler", unnamed, author, "", noMemory},
		{"another scheduler", strings.Replace(bad, "corepin", "default-scheduler", 1), author, "", noMemory},
		{"a scheduler that is no text", strings.Replace(bad, "schedulerName: corepin", "schedulerName: [corepin]", 1), author, "", noMemory},
		{"sound", sound, author, "", ""},
		{"given twice, alike", twice, author, "", "both give the number of CPUs, 2; one of the two is enough"},
		{"given twice, alike, made of a template", strings.Replace(twice, "name: demo", fmt.Sprintf(owners, true), 1), author, "", "one of the two is enough"},
		{"no number of CPUs", strings.Replace(sound, ", cores: 2", "", 1), author, "", "so the guest gets 1 vCPU"},
		{"malformed, for no scheduler", strings.Replace(unnamed, "cores: 2", "cores: two", 1), author, "", "must be a whole number"},
		{"not dedicated", strings.Replace(bad, "true", "false", 1), author, "", ""},
	} {
		object := parse(t, tc.object)
		got := refuse.refuseBy(t, tc.who, &corev1.Namespace{}, object, nil)
		if (got == "") != (tc.refused == "") || !strings.Contains(got, tc.refused) {
			t.Errorf("%s: refused with %q; want %q", tc.name, got, tc.refused)
		}
		got = warn.refuseBy(t, tc.who, &corev1.Namespace{}, object, nil)
		if (got == "") != (tc.warned == "") || !strings.Contains(got, tc.warned) {
			t.Errorf("%s: warned with %q; want %q", tc.name, got, tc.warned)
		}
	}
}

// The bindings enforce the policies in every namespace, for every version.
func TestPolicyIsBound(t *testing.T) {
	for name, actions := range map[string][]admissionv1.ValidationAction{
		refusePolicy: {admissionv1.Deny},
		warnPolicy:   {admissionv1.Warn, admissionv1.Audit},
	} {
		p := readPolicy(t, name)
		if p.binding.Spec.PolicyName != name || !slices.Equal(p.binding.Spec.ValidationActions, actions) || p.binding.Spec.MatchResources != nil {
			t.Errorf("binding %+v does not bind %s everywhere", p.binding.Spec, name)
		}
		for _, rule := range p.object.Spec.MatchConstraints.ResourceRules {
			versions := []string{"v1", "v1alpha3", "v1alpha2"}
			if rule.APIGroups[0] == "pool.kubevirt.io" {
				versions = []string{"v1beta1", "v1alpha1"}
			}
			if !slices.Equal(rule.APIVersions, versions) {
				t.Errorf("resources %v match in the versions %v", rule.Resources, rule.APIVersions)
			}
		}
		if len(p.object.Spec.Validations) != 1 {
			t.Errorf("%s has %d validations; the API server passes on the first refused one only", name, len(p.object.Spec.Validations))
		}
	}
}

// BenchmarkPolicy is the cost of both policies for the largest objects that pass, and for one that is too large.
func BenchmarkPolicy(b *testing.B) {
	refuse := loadPolicy(b, refusePolicy)
	warn := loadPolicy(b, warnPolicy)
	for name, text := range largeObjects() {
		object := parse(b, text)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				refuse.refuse(b, object, nil)
				warn.refuse(b, object, nil)
			}
		})
	}
}

// largeObjects are a VMI with all that can be large at its limits, one whose fields are too large, and a megabyte that
// no rule looks at.
func largeObjects() map[string]string {
	features := strings.Repeat("{name: a, policy: require}, ", 512)
	digits := strings.Repeat("1", 1_000_000)
	amounts := "requests: {cpu: '" + strings.Repeat("9", 40) + "', memory: '" + strings.Repeat("9", 40) + "'}, limits: {cpu: '" +
		strings.Repeat("9", 40) + "', memory: '" + strings.Repeat("9", 40) + "'}"
	return map[string]string{
		"largest": vmiHead + "{cpu: {dedicatedCpuPlacement: true, isolateEmulatorThread: true, cores: 2147483647, sockets: 2147483647, threads: 2, features: [" +
			features + "]}, memory: {guest: '" + strings.Repeat("9", 40) + "', hugepages: {pageSize: 1Gi}}, resources: {" + amounts + "}}}}",
		"too large": vmiHead + "{cpu: {dedicatedCpuPlacement: true}, memory: {guest: '" + digits + "'}}}}",
		"a megabyte elsewhere": strings.Replace(vmiHead, "name: demo", "name: demo, annotations: {a: '"+digits+"'}", 1) +
			"{cpu: {dedicatedCpuPlacement: true, cores: 2}, memory: {guest: 1Gi}}}}",
	}
}

// Both policies together take 8 to 20 ms of CPU for any object, by the host; the log has the figure. What fails is far more, as where rules are
// evaluated on a text of a million digits: that took 34 s.
func TestPolicyCost(t *testing.T) {
	refuse := loadPolicy(t, refusePolicy)
	warn := loadPolicy(t, warnPolicy)
	for name, text := range largeObjects() {
		object := parse(t, text)
		best := time.Hour
		for range 10 {
			began := cpuTime(t)
			refuse.refuse(t, object, nil)
			warn.refuse(t, object, nil)
			best = min(best, cpuTime(t)-began)
		}
		t.Logf("%-20s %v", name, best)
		if best > 100*time.Millisecond {
			t.Errorf("%s takes %v of CPU", name, best)
		}
	}
}

// cpuTime is the time that this process has used, whatever else the machine does.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
