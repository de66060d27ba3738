// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// wellKnown are namespaces that say nothing about whose cluster it is.
var wellKnown = []string{"default", "kube-system", "kubevirt", "corepin-system"}

// names are the words that are replaced, with what replaces them.
type names map[string]string

// Mask is Objects with other names of nodes, namespaces, pods and VMs. Revisions, which are called after VMs, are left out.
func Mask(contents *Contents) ([]any, error) {
	public := *contents
	public.Sizes = slices.DeleteFunc(slices.Clone(contents.Sizes), func(size map[string]any) bool { return size["kind"] == "ControllerRevision" })
	all := Objects(&public)
	n := namesOf(contents)
	masked := make([]any, len(all))
	for i, object := range all {
		fields, err := fieldsOf(object)
		if err != nil {
			return nil, err
		}
		n.maskObject(fields)
		masked[i] = fields
	}
	return masked, nil
}

// fieldsOf is an object as decoded JSON.
func fieldsOf(object any) (map[string]any, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("writing %T: %w", object, err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("writing %T: %w", object, err)
	}
	return fields, nil
}

// namesOf finds the names in a cluster. Each kind is numbered by its sorted names.
func namesOf(contents *Contents) names {
	nodes := map[string]bool{}
	namespaces := map[string]bool{}
	pods := map[string]bool{}
	vms := map[string]bool{}
	for i := range contents.Reports {
		nodes[contents.Reports[i].Name] = true
	}
	for i := range contents.Nodes {
		nodes[contents.Nodes[i].Name] = true
	}
	for i := range contents.Pods {
		pod := &contents.Pods[i]
		pods[pod.Name] = true
		namespaces[pod.Namespace] = true
		vms[pod.Annotations["kubevirt.io/domain"]] = true
		for _, owner := range pod.OwnerReferences {
			if owner.Kind == "VirtualMachineInstance" {
				vms[owner.Name] = true
			} else {
				pods[owner.Name] = true
			}
		}
	}
	for _, vmi := range contents.VMIs {
		metadata := mapAt(vmi, "metadata")
		name, _ := metadata["name"].(string)
		namespace, _ := metadata["namespace"].(string)
		vms[name] = true
		namespaces[namespace] = true
	}
	n := names{}
	n.number("vm", vms)
	n.number("pod", pods)
	n.number("namespace", namespaces)
	n.number("node", nodes)
	for i := range contents.Nodes {
		host := contents.Nodes[i].Labels[corev1.LabelHostname]
		if host != "" {
			n[host] = n[contents.Nodes[i].Name]
		}
	}
	delete(n, "")
	return n
}

// number gives each name a word and a number.
func (n names) number(word string, found map[string]bool) {
	delete(found, "")
	for i, name := range slices.Sorted(maps.Keys(found)) {
		if !slices.Contains(wellKnown, name) {
			n[name] = fmt.Sprintf("%s-%d", word, i+1)
		}
	}
}

// word is what may be a name within a message.
var word = regexp.MustCompile(`[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?`)

// text replaces the names in a message.
func (n names) text(text string) string {
	return word.ReplaceAllStringFunc(text, n.name)
}

// name is what stands for a name.
func (n names) name(name string) string {
	masked, known := n[name]
	if known {
		return masked
	}
	return name
}

// maskObject replaces the names in the places of an object where names are. The names of containers, resources and policies
// stay, whatever they are.
func (n names) maskObject(object map[string]any) {
	metadata := mapAt(object, "metadata")
	n.fields(metadata, "name", "namespace")
	n.values(mapAt(metadata, "labels"))
	n.values(mapAt(metadata, "annotations"))
	owners, _ := metadata["ownerReferences"].([]any)
	for _, owner := range owners {
		fields, _ := owner.(map[string]any)
		n.fields(fields, "name")
	}
	spec := mapAt(object, "spec")
	n.fields(spec, "nodeName")
	n.values(mapAt(spec, "nodeSelector"))
	n.everywhere(spec["affinity"], n.name)
	n.images(spec["containers"])
	n.images(spec["initContainers"])
	status := mapAt(object, "status")
	n.fields(status, "nominatedNodeName")
	n.fields(mapAt(status, "agent"), "namespace", "name")
	n.message(status)
	leases, _ := object["leases"].([]any)
	for _, lease := range leases {
		fields, _ := lease.(map[string]any)
		holder, _ := fields["holder"].(string)
		if holder != "" {
			fields["holder"] = n.holder(holder)
		}
	}
	n.fields(object, "namespace")
}

// holder masks the identity of a leader: a name, and behind "_" a random number.
func (n names) holder(holder string) string {
	name, number, numbered := strings.Cut(holder, "_")
	masked := n.name(name)
	if masked == name {
		masked = "leader"
	}
	if numbered {
		masked += "_" + number
	}
	return masked
}

func (n names) fields(object map[string]any, keys ...string) {
	for _, key := range keys {
		value, _ := object[key].(string)
		if value != "" {
			object[key] = n.name(value)
		}
	}
}

func (n names) values(object map[string]any) {
	for key, value := range object {
		text, _ := value.(string)
		object[key] = n.name(text)
	}
}

// message masks every field of that name.
func (n names) message(value any) {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			text, is := inner.(string)
			if is && key == "message" {
				value[key] = n.text(text)
			}
			n.message(inner)
		}
	case []any:
		for _, inner := range value {
			n.message(inner)
		}
	}
}

// everywhere replaces every text.
func (n names) everywhere(value any, mask func(string) string) any {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			value[key] = n.everywhere(inner, mask)
		}
	case []any:
		for i, inner := range value {
			value[i] = n.everywhere(inner, mask)
		}
	case string:
		return mask(value)
	}
	return value
}

// images keeps the last part of an image: its name and version, without the registry.
func (n names) images(value any) {
	containers, _ := value.([]any)
	for _, container := range containers {
		fields, _ := container.(map[string]any)
		image, _ := fields["image"].(string)
		if image != "" {
			fields["image"] = image[strings.LastIndex(image, "/")+1:]
		}
	}
}
