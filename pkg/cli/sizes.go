// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/objects"
	"corepin.dev/corepin/pkg/vmi"
)

// sizes are the instancetypes and preferences of the input, and the revisions in which KubeVirt keeps them.
type sizes struct {
	instancetypes map[vmi.Reference]*vmi.Instancetype
	preferences   map[vmi.Reference]*vmi.Preference
	// Those kept in a ControllerRevision, by its name.
	oldInstancetypes map[types.NamespacedName]*vmi.Instancetype
	oldPreferences   map[types.NamespacedName]*vmi.Preference
}

func newSizes() sizes {
	return sizes{
		instancetypes:    map[vmi.Reference]*vmi.Instancetype{},
		preferences:      map[vmi.Reference]*vmi.Preference{},
		oldInstancetypes: map[types.NamespacedName]*vmi.Instancetype{},
		oldPreferences:   map[types.NamespacedName]*vmi.Preference{},
	}
}

// add reports whether an object is one of these. One that cannot be read is left to check.
func (s *sizes) add(o *objects.Object) bool {
	switch {
	case vmi.IsInstancetype(o.APIVersion, o.Kind):
		if t, err := readInstancetype(o); err == nil {
			s.instancetypes[t.Reference] = t
		}
	case vmi.IsPreference(o.APIVersion, o.Kind):
		if p, err := readPreference(o); err == nil {
			s.preferences[p.Reference] = p
		}
	case isRevision(o):
		name := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
		kept, _ := readRevision(o)
		switch kept := kept.(type) {
		case *vmi.Instancetype:
			s.oldInstancetypes[name] = kept
		case *vmi.Preference:
			s.oldPreferences[name] = kept
		}
	default:
		return false
	}
	return true
}

// complete gives a VirtualMachine the sizes of its instancetype and what its preference fills in. missing are those of the
// two that are not in the input.
func (s *sizes) complete(machine *vmi.VMI) (whole *vmi.VMI, conflicts []vmi.Finding, missing []*vmi.Reference) {
	t := find(s.instancetypes, s.oldInstancetypes, machine.Instancetype, machine.Namespace)
	if t == nil && machine.Instancetype != nil {
		missing = append(missing, machine.Instancetype)
	}
	p := find(s.preferences, s.oldPreferences, machine.Preference, machine.Namespace)
	if p == nil && machine.Preference != nil {
		missing = append(missing, machine.Preference)
	}
	whole, conflicts = vmi.Expand(machine, t, p)
	return whole, conflicts, missing
}

// find is what a VM in a namespace refers to, nil if that is not in the input. A revision counts in place of what it was made of
// (KubeVirt pkg/instancetype/find/revision.go, commit d923fdb815cd).
func find[T any](current map[vmi.Reference]*T, revisions map[types.NamespacedName]*T, ref *vmi.Reference, namespace string) *T {
	if ref == nil {
		return nil
	}
	if ref.Revision != "" {
		return revisions[types.NamespacedName{Namespace: namespace, Name: ref.Revision}]
	}
	return current[*ref]
}

// isRevision reports whether an object is a revision of KubeVirt's instancetypes or preferences.
func isRevision(o *objects.Object) bool {
	if o.APIVersion != "apps/v1" || o.Kind != vmi.KindRevision {
		return false
	}
	kept, err := readRevision(o)
	return kept != nil || err != nil
}

// readRevision is the *vmi.Instancetype or *vmi.Preference that a ControllerRevision holds, nil for one of something else.
func readRevision(o *objects.Object) (any, error) {
	fields, err := o.Fields()
	if err != nil {
		return nil, err
	}
	data, _ := fields["data"].(map[string]any)
	apiVersion, _ := data["apiVersion"].(string)
	kind, _ := data["kind"].(string)
	switch {
	case vmi.IsInstancetype(apiVersion, kind):
		t, err := vmi.InstancetypeOf(data)
		if err != nil {
			return nil, err
		}
		return t, nil
	case vmi.IsPreference(apiVersion, kind):
		p, err := vmi.PreferenceOf(data)
		if err != nil {
			return nil, err
		}
		return p, nil
	}
	return nil, nil
}
