package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	k8sjson "sigs.k8s.io/json"

	"corepin.dev/corepin/pkg/vmi"
)

// court gives verdicts on objects, by what stands beside them in the same input.
type court struct {
	strictness    vmi.Strictness
	cluster       vmi.Cluster
	instancetypes map[vmi.InstancetypeName]*vmi.Instancetype
}

// newCourt looks through all objects for the settings of the cluster and for instancetypes. What of those cannot
// be read is for verdict to tell.
func newCourt(strictness vmi.Strictness, objects []object) *court {
	c := &court{strictness: strictness, instancetypes: map[vmi.InstancetypeName]*vmi.Instancetype{}}
	for i := range objects {
		o := &objects[i]
		switch {
		case o.fault != nil:
		case o.isKubeVirt():
			if cluster, err := read(o, vmi.ClusterOf); err == nil {
				c.cluster = cluster
			}
		case vmi.IsInstancetype(o.apiVersion, o.kind):
			if t, err := read(o, vmi.InstancetypeOf); err == nil {
				c.instancetypes[t.InstancetypeName] = t
			}
		}
	}
	return c
}

func (c *court) verdict(o *object) verdict {
	v := verdict{Kind: o.kind, Namespace: o.namespace, Name: o.name, where: o.where(), Findings: []finding{}} // [] and not null
	switch {
	case o.fault != nil:
		v.add(unreadable(o.fault.Error()))
	case o.isKubeVirt():
		if _, err := read(o, vmi.ClusterOf); err != nil {
			v.add(unreadable(o.faulty(err).Error()))
		} else {
			v.add(notJudged("kind", "its settings are those by which the virtual machines are judged"))
		}
	case vmi.IsInstancetype(o.apiVersion, o.kind):
		c.instancetype(o, &v)
	case o.foreign():
		v.add(notJudged("kind", fmt.Sprintf("only VirtualMachineInstance and VirtualMachine are judged, and this is %s %s", o.apiVersion, o.kind)))
	default:
		c.judge(o, &v)
	}
	v.Allowed = !slices.ContainsFunc(v.Findings, func(f finding) bool { return f.Severity == string(vmi.Error) })
	return v
}

// judge judges a VirtualMachineInstance or a VirtualMachine, together with its instancetype if there is one.
func (c *court) judge(o *object, v *verdict) {
	machine, err := o.machine()
	if err != nil {
		v.add(unreadable(o.faulty(err).Error()))
		return
	}
	if name := machine.Instancetype; name != nil {
		t := c.instancetypes[*name]
		if t == nil {
			v.add(notJudged("spec.instancetype", fmt.Sprintf("judged without its sizes, which stand in %s; give that too, or the VirtualMachineInstance made from both", name)))
		} else {
			whole, conflicts := t.Apply(machine)
			v.addAll(conflicts)
			machine = whole
		}
	}
	v.addAll(c.cluster.Judge(machine, c.strictness))
}

// instancetype tells which rules a VirtualMachine with nothing but these sizes would break. That is a warning: the VM
// may say the rest.
func (c *court) instancetype(o *object, v *verdict) {
	t, err := read(o, vmi.InstancetypeOf)
	if err != nil {
		v.add(unreadable(o.faulty(err).Error()))
		return
	}
	whole, _ := t.Apply(&vmi.VMI{Kind: vmi.KindVM})
	for _, f := range c.cluster.Judge(whole, c.strictness) {
		f.Severity = vmi.Warning
		f.Field = "spec." + strings.TrimPrefix(f.Field, "spec.template.spec.domain.")
		v.addAll([]vmi.Finding{f})
	}
}

func (v *verdict) add(f finding) { v.Findings = append(v.Findings, f) }

func (v *verdict) addAll(findings []vmi.Finding) {
	for _, f := range findings {
		v.add(finding{f.Rule, string(f.Severity), f.Field, f.Message})
	}
}

func unreadable(message string) finding {
	return finding{Rule: ruleUnreadable, Severity: string(vmi.Error), Message: message}
}

func notJudged(field, message string) finding {
	return finding{Rule: ruleNotJudged, Severity: string(vmi.Warning), Field: field, Message: message}
}

// group is the API group that the object says it is of.
func (o *object) group() string {
	group, _, _ := strings.Cut(o.apiVersion, "/")
	return group
}

func (o *object) isKubeVirt() bool { return o.group() == kubevirtGroup && o.kind == vmi.KindKubeVirt }

const kubevirtGroup = "kubevirt.io"

// otherKinds are those of KubeVirt's own group that say nothing about a VM's CPUs. A kind of that group which is
// not among them is taken for a misspelled one.
var otherKinds = []string{"VirtualMachineInstanceMigration", "VirtualMachineInstanceReplicaSet", "VirtualMachineInstancePreset"}

// foreign tells whether the object is of another API, or another kind, and so for others to judge. An object that
// does not say what it is, is not foreign but faulty.
func (o *object) foreign() bool {
	if o.apiVersion == "" || o.kind == "" {
		return false
	}
	if o.group() == kubevirtGroup {
		return slices.Contains(otherKinds, o.kind)
	}
	return !slices.Contains([]string{vmi.KindVMI, vmi.KindVM}, o.kind)
}

// machine reads a VirtualMachineInstance or a VirtualMachine.
func (o *object) machine() (*vmi.VMI, error) {
	machine, err := read(o, vmi.FromUnstructured)
	if err == nil {
		machine.Name = o.name
	}
	return machine, err
}

var errKindless = errors.New("apiVersion or kind is missing, so it is not known what this is")

// read decodes an object into what one of pkg/vmi's functions makes of it.
func read[T any](o *object, of func(map[string]any) (T, error)) (out T, err error) {
	if o.apiVersion == "" || o.kind == "" {
		return out, errKindless
	}
	var fields map[string]any
	faults, err := k8sjson.UnmarshalStrict(o.json, &fields)
	if err == nil && len(faults) > 0 {
		err = faults[0]
	}
	if err != nil {
		return out, fmt.Errorf("reading %s: %w", o.kind, err)
	}
	fields["apiVersion"], fields["kind"] = o.apiVersion, o.kind
	return of(fields)
}
