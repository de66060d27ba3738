// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Kinds that can be read: a VMI, and those that hold a template for VMIs.
const (
	KindVMI        = "VirtualMachineInstance"
	KindVM         = "VirtualMachine"
	KindReplicaSet = "VirtualMachineInstanceReplicaSet"
	KindPool       = "VirtualMachinePool"
)

var (
	apiVersions     = []string{"kubevirt.io/v1", "kubevirt.io/v1alpha3", "kubevirt.io/v1alpha2"}
	poolAPIVersions = []string{"pool.kubevirt.io/v1beta1", "pool.kubevirt.io/v1alpha1"}
	kinds           = []string{KindVMI, KindVM, KindReplicaSet, KindPool}
)

// IsKind reports whether FromUnstructured reads objects of that kind.
func IsKind(kind string) bool { return slices.Contains(kinds, kind) }

// templatePath is the path of the VMI in an object of a kind: empty, or that of the template with a dot behind it.
func templatePath(kind string) string {
	switch kind {
	case KindVM, KindReplicaSet:
		return "spec.template."
	case KindPool:
		return "spec.virtualMachineTemplate.spec.template."
	default:
		return ""
	}
}

// Decode reads one VMI, or object with a template for VMIs, from YAML or JSON. Its error names every field that does not
// have its type, not only the first.
func Decode(data []byte) (*VMI, error) {
	document, err := oneDocument(data)
	if err != nil {
		return nil, fmt.Errorf("reading the virtual machine: %w", err)
	}
	text, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return nil, fmt.Errorf("reading the virtual machine: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil || object == nil {
		return nil, fmt.Errorf("reading the virtual machine: want one object with apiVersion, kind, metadata and spec: %w",
			cmp.Or(err, errors.New("there is none")))
	}
	return FromUnstructured(object)
}

// oneDocument refuses a YAML stream of several objects, because all but the first would be lost.
func oneDocument(data []byte) ([]byte, error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	var document []byte
	for {
		next, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return document, nil
		}
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(next)) == 0 {
			continue
		}
		if document != nil {
			return nil, errors.New("it holds more than one object; give them one at a time")
		}
		document = next
	}
}

// FromUnstructured reads an object of a kind that IsKind knows from decoded JSON, as unstructured.Unstructured holds
// it. Numbers may be int64, float64 or json.Number.
func FromUnstructured(object map[string]any) (*VMI, error) {
	r := &reader{}
	root := node{r: r, value: object}
	v := &VMI{APIVersion: root.at("apiVersion").text(), Kind: root.at("kind").text()}
	versions := apiVersions
	if v.Kind == KindPool {
		versions = poolAPIVersions
	}
	if !slices.Contains(versions, v.APIVersion) {
		r.fail("apiVersion", "%q is not one of %s", abbreviate(v.APIVersion), strings.Join(versions, ", "))
	}
	if !IsKind(v.Kind) {
		r.fail("kind", "%q is not one of %s", abbreviate(v.Kind), strings.Join(kinds, ", "))
	}
	metadata := root.at("metadata")
	v.Name = metadata.at("name").text()
	v.Namespace = metadata.at("namespace").text()
	v.UID = types.UID(metadata.at("uid").text())

	spec := root.at("spec")
	if v.Kind == KindPool {
		spec = spec.at("virtualMachineTemplate").at("spec")
	}
	if v.Kind == KindVM || v.Kind == KindPool {
		v.Instancetype = reference(spec.at("instancetype"), v.Namespace, KindClusterInstancetype, KindInstancetype)
		v.Preference = reference(spec.at("preference"), v.Namespace, KindClusterPreference, KindPreference)
	}
	if v.Kind != KindVMI {
		template := spec.at("template")
		metadata = template.at("metadata")
		spec = template.at("spec")
	}
	v.Labels = metadata.at("labels").texts()
	v.Annotations = metadata.at("annotations").texts()
	if spec.value == nil {
		r.fail(spec.path, "is missing")
	}
	v.Spec = decodeSpec(spec)
	if len(r.problems) > 0 {
		name := types.NamespacedName{Namespace: v.Namespace, Name: v.Name}.String()
		return nil, fmt.Errorf("reading %s %s: %s", kindOrObject(v.Kind), strings.TrimPrefix(name, "/"), strings.Join(r.problems, "; "))
	}
	return v, nil
}

func kindOrObject(kind string) string {
	if slices.Contains(kinds, kind) {
		return kind
	}
	return "object"
}

func decodeSpec(spec node) Spec {
	domain := spec.at("domain")
	if domain.value == nil {
		domain.r.fail(domain.path, "is missing")
	}
	out := Spec{
		SchedulerName: spec.at("schedulerName").text(),
		NodeSelector:  spec.at("nodeSelector").texts(),
		Architecture:  spec.at("architecture").text(),
	}
	out.Domain.CPU = decodeCPU(domain.at("cpu"))
	out.Domain.Memory = decodeMemory(domain.at("memory"))
	resources := domain.at("resources")
	out.Domain.Resources = Resources{
		Requests:                decodeAmounts(resources.at("requests")),
		Limits:                  decodeAmounts(resources.at("limits")),
		OvercommitGuestOverhead: resources.at("overcommitGuestOverhead").boolean(),
	}
	out.Domain.IOThreadsPolicy = domain.at("ioThreadsPolicy").optionalText()
	out.Domain.IOThreads = decodeIOThreads(domain.at("ioThreads"))
	for _, disk := range domain.at("devices").at("disks").list() {
		out.Domain.Devices.Disks = append(out.Domain.Devices.Disks, Disk{DedicatedIOThread: disk.at("dedicatedIOThread").boolean()})
	}
	return out
}

func decodeCPU(cpu node) CPU {
	out := CPU{
		Sockets:               cpu.at("sockets").count(),
		Cores:                 cpu.at("cores").count(),
		Threads:               cpu.at("threads").count(),
		MaxSockets:            cpu.at("maxSockets").count(),
		Model:                 cpu.at("model").text(),
		DedicatedCPUPlacement: cpu.at("dedicatedCpuPlacement").boolean(),
		IsolateEmulatorThread: cpu.at("isolateEmulatorThread").boolean(),
	}
	out.Features = decodeFeatures(cpu.at("features"))
	out.NUMA = decodeNUMA(cpu.at("numa"))
	out.Realtime = decodeRealtime(cpu.at("realtime"))
	cpu.refuseMisspelled("dedicatedCpuPlacement")
	return out
}

func decodeFeatures(features node) []CPUFeature {
	var out []CPUFeature
	for _, feature := range features.list() {
		out = append(out, CPUFeature{Name: feature.at("name").text(), Policy: feature.at("policy").text()})
	}
	return out
}

func decodeIOThreads(threads node) *IOThreads {
	if !threads.isObject() {
		return nil
	}
	out := &IOThreads{}
	count := threads.at("supplementalPoolThreadCount")
	if count.value != nil {
		n := count.count()
		out.SupplementalPoolThreadCount = &n
	}
	return out
}

func decodeMemory(memory node) Memory {
	out := Memory{Guest: memory.at("guest").quantity(), MaxGuest: memory.at("maxGuest").quantity()}
	pages := memory.at("hugepages")
	if pages.isObject() {
		out.Hugepages = &Hugepages{PageSize: pages.at("pageSize").text()}
	}
	return out
}

func decodeNUMA(numa node) *NUMA {
	switch {
	case !numa.isObject():
		return nil
	case numa.at("guestMappingPassthrough").isObject():
		return &NUMA{GuestMappingPassthrough: &struct{}{}}
	}
	return &NUMA{}
}

func decodeRealtime(realtime node) *Realtime {
	if !realtime.isObject() {
		return nil
	}
	return &Realtime{Mask: realtime.at("mask").text()}
}

func decodeAmounts(amounts node) Amounts {
	return Amounts{CPU: amounts.at("cpu").quantity(), Memory: amounts.at("memory").quantity()}
}
