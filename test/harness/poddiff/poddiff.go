// SPDX-License-Identifier: Apache-2.0

// Package poddiff compares two pods field by field: what each asks of the cluster, without what the API server, a scheduler and
// a kubelet write into it afterwards.
//
// It is made for launcher pods: those of pkg/launcherpod beside those of a real KubeVirt. What differs by chance, or between
// versions of KubeVirt without a meaning, is made equal first. That is the launcher's image, the random time that a guest
// has to appear, and whether the launcher's options are arguments or part of the command.
package poddiff

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	corev1defaults "k8s.io/kubernetes/pkg/apis/core/v1"

	"corepin.dev/corepin/pkg/quantity"
)

// Difference is a field that two pods do not have alike. A value is empty where the field is not there.
type Difference struct {
	Field     string // for example spec.containers[compute].resources.limits.memory
	Got, Want string
}

// String is one line.
func (d Difference) String() string {
	return fmt.Sprintf("%s: got %s, want %s", d.Field, orNothing(d.Got), orNothing(d.Want))
}

func orNothing(value string) string {
	if value == "" {
		return "nothing"
	}
	return value
}

// Between lists what got has otherwise than want, in the order of the fields' names. It changes neither.
func Between(got, want *corev1.Pod) ([]Difference, error) {
	ours, err := fieldsOf(got)
	if err != nil {
		return nil, err
	}
	theirs, err := fieldsOf(want)
	if err != nil {
		return nil, err
	}
	names := slices.Collect(maps.Keys(ours))
	for name := range theirs {
		if _, ok := ours[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var differences []Difference
	for _, name := range names {
		if ours[name] != theirs[name] {
			differences = append(differences, Difference{Field: name, Got: ours[name], Want: theirs[name]})
		}
	}
	return differences, nil
}

// fieldsOf are the pod's fields by their paths.
func fieldsOf(pod *corev1.Pod) (map[string]string, error) {
	asked := request(pod)
	data, err := json.Marshal(asked)
	if err != nil {
		return nil, fmt.Errorf("encoding pod %s: %w", pod.Name, err)
	}
	var content map[string]any
	if err := json.Unmarshal(data, &content); err != nil {
		return nil, fmt.Errorf("decoding pod %s: %w", pod.Name, err)
	}
	delete(content, "status")
	fields := map[string]string{}
	flatten("", content, fields)
	return fields, nil
}

// request is the pod as it was asked for, with the defaults that the API server fills in.
func request(pod *corev1.Pod) *corev1.Pod {
	asked := &corev1.Pod{Spec: *pod.Spec.DeepCopy()}
	asked.GenerateName = pod.GenerateName
	asked.Namespace = pod.Namespace
	asked.Labels = maps.Clone(pod.Labels)
	asked.Annotations = maps.Clone(pod.Annotations)
	asked.OwnerReferences = slices.Clone(pod.OwnerReferences)
	delete(asked.Labels, "kubevirt.io/nodeName") // written once the pod is bound
	spec := &asked.Spec
	spec.NodeName = ""
	spec.ServiceAccountName = ""
	spec.DeprecatedServiceAccount = ""
	spec.Priority = nil
	spec.PreemptionPolicy = nil
	spec.Tolerations = slices.DeleteFunc(spec.Tolerations, admitted)
	spec.Volumes = slices.DeleteFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Projected != nil })
	launcher := ""
	for i := range spec.Containers {
		if spec.Containers[i].Name == "compute" {
			launcher = spec.Containers[i].Image
		}
	}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			settle(&list[i], launcher)
		}
	}
	for i := range spec.Volumes {
		image := spec.Volumes[i].Image
		if image != nil && image.Reference == launcher {
			image.Reference = "launcher"
		}
	}
	corev1defaults.SetObjectDefaults_Pod(asked)
	return asked
}

// admitted reports whether an admission plugin of the API server has added the toleration.
func admitted(t corev1.Toleration) bool {
	ofNode := t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable
	return ofNode && t.TolerationSeconds != nil && *t.TolerationSeconds == 300
}

// settle makes equal in a container what may differ.
func settle(c *corev1.Container, launcher string) {
	if c.Image == launcher {
		c.Image = "launcher"
	}
	c.Command = append(c.Command, c.Args...)
	c.Args = nil
	for i, word := range c.Command {
		if word == "--qemu-timeout" && i+1 < len(c.Command) {
			c.Command[i+1] = "SECONDS"
		}
	}
	c.VolumeMounts = slices.DeleteFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return strings.HasPrefix(m.Name, "kube-api-access-") })
}

// flatten writes every leaf. Elements of a list go by their names where all have one, beside a field that has their order.
func flatten(path string, value any, fields map[string]string) {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			flatten(strings.TrimPrefix(path+"."+key, "."), inner, fields)
		}
	case []any:
		names := namesOf(value)
		for i, inner := range value {
			flatten(fmt.Sprintf("%s[%s]", path, names[i]), inner, fields)
		}
		if len(value) > 1 {
			fields[path+" (order)"] = strings.Join(names, " ")
		}
	case string:
		fields[path] = plain(path, value)
	case nil:
	default:
		fields[path] = fmt.Sprint(value)
	}
}

func namesOf(list []any) []string {
	names := make([]string, len(list))
	for i, item := range list {
		names[i] = fmt.Sprint(i)
		object, ok := item.(map[string]any)
		if !ok {
			continue
		}
		name, ok := object["name"].(string)
		if !ok {
			continue
		}
		names[i] = name
		part, ok := object["subPath"].(string)
		if ok {
			names[i] += "/" + part
		}
	}
	return names
}

// plain makes amounts comparable that are written in several ways.
func plain(path, value string) string {
	if !strings.Contains(path, ".limits.") && !strings.Contains(path, ".requests.") {
		return value
	}
	amount, err := quantity.Parse(value)
	if err != nil {
		return value
	}
	return amount.AsDec().String()
}
