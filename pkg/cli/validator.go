// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/objects"
	"corepin.dev/corepin/pkg/vmi"
)

// validator applies the rules to objects, with the settings and instancetypes that are in the same input.
type validator struct {
	strictness vmi.Strictness
	cluster    vmi.Cluster
	sizes      sizes
	nodes      nodeReports
}

// newValidator finds the settings of the cluster, instancetypes, preferences and reports of nodes among all objects. One
// that cannot be read is left to check.
func newValidator(strictness vmi.Strictness, all []objects.Object) *validator {
	c := &validator{strictness: strictness, sizes: newSizes()}
	for i := range all {
		o := &all[i]
		switch {
		case o.Err != nil:
		case isKubeVirt(o):
			if cluster, err := read(o, vmi.ClusterOf); err == nil {
				c.cluster = cluster
			}
		case c.sizes.add(o):
		case isReport(o):
			c.nodes.add(o)
		}
	}
	return c
}

// check gives the answer about one object.
func (c *validator) check(o *objects.Object) checked {
	v := checked{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, where: o.Where(), Findings: []finding{}} // [] and not null
	switch {
	case o.Err != nil:
		v.add(unreadable(o.Err))
	case isKubeVirt(o):
		if _, err := read(o, vmi.ClusterOf); err != nil {
			v.add(unreadable(o.Wrap(err)))
		} else {
			v.add(notJudged("kind", "its settings are those by which the virtual machines are checked"))
		}
	case vmi.IsInstancetype(o.APIVersion, o.Kind):
		c.checkInstancetype(o, &v)
	case vmi.IsPreference(o.APIVersion, o.Kind):
		if _, err := readPreference(o); err != nil {
			v.add(unreadable(o.Wrap(err)))
		} else {
			v.add(notJudged("kind", "it is checked with the virtual machines that refer to it"))
		}
	case isRevision(o):
		if _, err := readRevision(o); err != nil {
			v.add(unreadable(o.Wrap(err)))
		} else {
			v.add(notJudged("kind", "it is checked with the virtual machines that refer to it"))
		}
	case foreign(o):
		v.add(notJudged("kind", fmt.Sprintf("only virtual machines, and replica sets and pools of them, are checked, and this is %s %s", o.APIVersion, o.Kind)))
	default:
		c.checkMachine(o, &v)
	}
	unread := slices.ContainsFunc(v.Findings, func(f finding) bool { return f.Rule == ruleUnreadable })
	if !unread {
		v.Findings = append(v.Findings, unknownFields(o)...)
	}
	v.Allowed = !slices.ContainsFunc(v.Findings, func(f finding) bool { return f.Severity == string(vmi.Error) })
	return v
}

// checkMachine checks an object that is a virtual machine or makes some, together with its instancetype and preference.
func (c *validator) checkMachine(o *objects.Object, v *checked) {
	machine, err := readMachine(o)
	if err != nil {
		v.add(unreadable(o.Wrap(err)))
		return
	}
	whole, conflicts, missing := c.sizes.complete(machine)
	for _, ref := range missing {
		if ref == machine.Instancetype {
			v.add(notJudged("spec.instancetype", fmt.Sprintf("checked without its sizes, which are in %s; give that too, or the VirtualMachineInstance made from both", ref)))
		} else {
			v.add(notJudged("spec.preference", fmt.Sprintf("checked without %s, which may give the guest threads and ask for a size; give that too", ref)))
		}
	}
	v.addAll(conflicts)
	v.addAll(c.cluster.Unexpanded(machine))
	v.addAll(c.cluster.Judge(whole, c.strictness))
	v.addAll(c.cluster.Others(whole, c.strictness))
	v.addAll(c.nodes.judge(whole))
}

// checkInstancetype says which rules a VirtualMachine with nothing except these sizes would break. They are warnings,
// because the VM may say the rest.
func (c *validator) checkInstancetype(o *objects.Object, v *checked) {
	t, err := readInstancetype(o)
	if err != nil {
		v.add(unreadable(o.Wrap(err)))
		return
	}
	whole, _ := vmi.Expand(&vmi.VMI{Kind: vmi.KindVM, Instancetype: &t.Reference}, t, nil)
	for _, f := range c.cluster.Judge(whole, c.strictness) {
		f.Severity = vmi.Warning
		f.Field = "spec." + strings.TrimPrefix(f.Field, "spec.template.spec.domain.")
		v.addAll([]vmi.Finding{f})
	}
}

func (v *checked) add(f finding) { v.Findings = append(v.Findings, f) }

func (v *checked) addAll(findings []vmi.Finding) {
	for _, f := range findings {
		v.add(finding{f.Rule, string(f.Severity), f.Field, f.Message})
	}
}

func unreadable(err error) finding {
	return finding{Rule: ruleUnreadable, Severity: string(vmi.Error), Message: err.Error()}
}

func notJudged(field, message string) finding {
	return finding{Rule: ruleNotJudged, Severity: string(vmi.Warning), Field: field, Message: message}
}

const kubevirtGroup = "kubevirt.io"

func isKubeVirt(o *objects.Object) bool {
	return o.Group() == kubevirtGroup && o.Kind == vmi.KindKubeVirt
}

// otherKinds are those of KubeVirt's own group that say nothing about a VM's CPUs. Any other kind of that group
// counts as a misspelled one.
var otherKinds = []string{"VirtualMachineInstanceMigration", "VirtualMachineInstancePreset"}

// foreign reports whether the object is of another API or another kind, which is not checked. An object that does
// not say what it is, is not foreign: it is an error.
func foreign(o *objects.Object) bool {
	if o.APIVersion == "" || o.Kind == "" {
		return false
	}
	if o.Group() == kubevirtGroup {
		return slices.Contains(otherKinds, o.Kind)
	}
	return !vmi.IsKind(o.Kind)
}

// readMachine reads an object that is a virtual machine or makes some.
func readMachine(o *objects.Object) (*vmi.VMI, error) {
	machine, err := read(o, vmi.FromUnstructured)
	if err != nil {
		return nil, err
	}
	machine.Name = o.Name
	machine.Namespace = o.Namespace
	if machine.Instancetype != nil && machine.Instancetype.Kind == vmi.KindInstancetype {
		machine.Instancetype.Namespace = o.Namespace
	}
	if machine.Preference != nil && machine.Preference.Kind == vmi.KindPreference {
		machine.Preference.Namespace = o.Namespace
	}
	return machine, nil
}

func readPreference(o *objects.Object) (*vmi.Preference, error) {
	p, err := read(o, vmi.PreferenceOf)
	if err != nil {
		return nil, err
	}
	if p.Kind == vmi.KindPreference {
		p.Namespace = o.Namespace
	}
	return p, nil
}

func readInstancetype(o *objects.Object) (*vmi.Instancetype, error) {
	t, err := read(o, vmi.InstancetypeOf)
	if err != nil {
		return nil, err
	}
	if t.Kind == vmi.KindInstancetype {
		t.Namespace = o.Namespace
	}
	return t, nil
}

var errKindless = errors.New("apiVersion or kind is missing, so it is not known what this is")

// read decodes an object into what one of pkg/vmi's functions makes of it.
func read[T any](o *objects.Object, of func(map[string]any) (T, error)) (out T, err error) {
	if o.APIVersion == "" || o.Kind == "" {
		return out, errKindless
	}
	fields, err := o.Fields()
	if err != nil {
		return out, fmt.Errorf("reading %s: %w", o.Kind, err)
	}
	fields["apiVersion"] = o.APIVersion
	fields["kind"] = o.Kind
	return of(fields)
}

// called is how messages name an object: by its kind and name.
func called(o *objects.Object) string {
	if o.Name == "" {
		return o.Kind + " without a name"
	}
	return o.Kind + " " + qualified(o.Namespace, o.Name)
}
