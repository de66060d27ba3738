// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/objects"
)

// Is reports whether the objects of a file are a dump.
func Is(all []objects.Object) bool {
	return len(all) > 0 && all[0].APIVersion == APIVersion && all[0].Kind == Kind
}

// Read reads the objects of a file. Its errors name file and line.
func Read(all []objects.Object) (*Contents, error) {
	contents := &Contents{}
	if err := json.Unmarshal(all[0].JSON, &contents.Header); err != nil {
		return nil, all[0].Wrap(fmt.Errorf("reading the header: %w", err))
	}
	for i := range all[1:] {
		o := &all[1+i]
		if o.Err != nil {
			return nil, o.Err
		}
		if err := contents.add(o); err != nil {
			return nil, o.Wrap(err)
		}
	}
	return contents, nil
}

func (c *Contents) add(o *objects.Object) error {
	switch o.APIVersion + " " + o.Kind {
	case v1alpha1.GroupVersion.String() + " " + v1alpha1.Kind:
		return decode(o, &c.Reports)
	case corev1.SchemeGroupVersion.String() + " Node":
		return decode(o, &c.Nodes)
	case corev1.SchemeGroupVersion.String() + " Pod":
		return decode(o, &c.Pods)
	case APIVersion + " " + Kind:
		return fmt.Errorf("a second %s", Kind)
	}
	fields, err := o.Fields()
	if err != nil {
		return err
	}
	if o.Kind == "VirtualMachineInstance" {
		c.VMIs = append(c.VMIs, fields)
	} else {
		c.Sizes = append(c.Sizes, fields)
	}
	return nil
}

func decode[T any](o *objects.Object, list *[]T) error {
	var object T
	if err := json.Unmarshal(o.JSON, &object); err != nil {
		return fmt.Errorf("reading %s %s: %w", o.Kind, o.Name, err)
	}
	*list = append(*list, object)
	return nil
}
