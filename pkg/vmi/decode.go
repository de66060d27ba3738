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

// Kinds that can be read.
const (
	KindVMI = "VirtualMachineInstance"
	KindVM  = "VirtualMachine"
)

var (
	apiVersions = []string{"kubevirt.io/v1", "kubevirt.io/v1alpha3", "kubevirt.io/v1alpha2"}
	kinds       = []string{KindVMI, KindVM}
)

// Decode reads one VMI or VirtualMachine from YAML or JSON. Its errors name every field that has not its
// type, not only the first.
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

// oneDocument refuses a YAML stream of several objects, of which all but the first would be lost.
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

// FromUnstructured reads a VMI or a VirtualMachine from decoded JSON, as unstructured.Unstructured holds
// it. Numbers may be int64, float64 or json.Number.
func FromUnstructured(object map[string]any) (*VMI, error) {
	r := &reader{}
	root := node{r: r, value: object}
	v := &VMI{APIVersion: root.at("apiVersion").text(), Kind: root.at("kind").text()}
	if !slices.Contains(apiVersions, v.APIVersion) {
		r.fail("apiVersion", "%q is not one of %s", abbreviate(v.APIVersion), strings.Join(apiVersions, ", "))
	}
	if !slices.Contains(kinds, v.Kind) {
		r.fail("kind", "%q is not one of %s", abbreviate(v.Kind), strings.Join(kinds, ", "))
	}
	metadata := root.at("metadata")
	v.Name, v.Namespace = metadata.at("name").text(), metadata.at("namespace").text()
	v.UID = types.UID(metadata.at("uid").text())

	spec := root.at("spec")
	if v.Kind == KindVM {
		v.Instancetype = instancetypeName(spec.at("instancetype"), v.Namespace)
		template := spec.at("template")
		metadata, spec = template.at("metadata"), template.at("spec")
	}
	v.Labels, v.Annotations = metadata.at("labels").texts(), metadata.at("annotations").texts()
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
	if policy := domain.at("ioThreadsPolicy"); policy.value != nil {
		text := policy.text()
		out.Domain.IOThreadsPolicy = &text
	}
	if threads := domain.at("ioThreads"); threads.isObject() {
		out.Domain.IOThreads = &IOThreads{}
		if count := threads.at("supplementalPoolThreadCount"); count.value != nil {
			n := count.count()
			out.Domain.IOThreads.SupplementalPoolThreadCount = &n
		}
	}
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
	for _, feature := range cpu.at("features").list() {
		out.Features = append(out.Features, CPUFeature{Name: feature.at("name").text(), Policy: feature.at("policy").text()})
	}
	out.NUMA, out.Realtime = decodeNUMA(cpu.at("numa")), decodeRealtime(cpu.at("realtime"))
	cpu.refuseMisspelled("dedicatedCpuPlacement")
	return out
}

func decodeMemory(memory node) Memory {
	out := Memory{Guest: memory.at("guest").quantity(), MaxGuest: memory.at("maxGuest").quantity()}
	if pages := memory.at("hugepages"); pages.isObject() {
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
