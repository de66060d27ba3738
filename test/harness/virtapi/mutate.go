// SPDX-License-Identifier: Apache-2.0

package virtapi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/uuid"

	"corepin.dev/corepin/pkg/vmi"
)

// Finalizer keeps a VMI until virt-controller has seen its pods go.
const Finalizer = "kubevirt.io/foregroundDeleteVirtualMachine"

// Mutate fills in what KubeVirt's mutating webhook fills in of a new VMI (pkg/defaults/defaults.go, commit d923fdb815cd), on amd64
// and with the settings of a KubeVirt object at their defaults. Errors are about the VMI and name the field.
func Mutate(object *unstructured.Unstructured, now time.Time) error {
	request, err := vmi.FromUnstructured(object.Object)
	if err != nil {
		return err
	}
	spec, ok := object.Object["spec"].(map[string]any)
	if !ok {
		return errors.New("spec is no object")
	}
	f := &filler{}
	domain := f.object(spec, "domain")
	devices := f.object(domain, "devices")
	f.missing(spec, "architecture", "amd64")
	f.missing(spec, "evictionStrategy", "None")
	f.missing(f.object(domain, "machine"), "type", "q35")
	f.size(domain, request)
	f.network(spec, devices)
	f.disks(spec, devices)
	f.missing(f.object(f.object(domain, "features"), "acpi"), "enabled", true)
	f.missing(f.object(domain, "firmware"), "uuid", string(uuid.NewUUID()))
	f.missing(f.object(domain, "cpu"), "model", "host-model")
	if f.err != nil {
		return f.err
	}
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	if _, ok := annotations["kubevirt.io/pci-topology-version"]; !ok {
		annotations["kubevirt.io/pci-topology-version"] = "v3"
	}
	object.SetAnnotations(annotations)
	if !slices.Contains(object.GetFinalizers(), Finalizer) {
		object.SetFinalizers(append(object.GetFinalizers(), Finalizer))
	}
	object.Object["status"] = map[string]any{
		"phase":                     "Pending",
		"phaseTransitionTimestamps": []any{map[string]any{"phase": "Pending", "phaseTransitionTimestamp": now.UTC().Format(time.RFC3339)}},
		"runtimeUser":               int64(107),
	}
	return nil
}

// filler fills in what is not given, and keeps the first field that has another type.
type filler struct{ err error }

// object is the object in a field, made if there is none.
func (f *filler) object(in map[string]any, field string) map[string]any {
	value, ok := in[field]
	if !ok || value == nil {
		made := map[string]any{}
		in[field] = made
		return made
	}
	object, ok := value.(map[string]any)
	if !ok {
		f.fail(field, "an object")
		return map[string]any{}
	}
	return object
}

func (f *filler) fail(field, want string) {
	if f.err == nil {
		f.err = fmt.Errorf("%s is not %s", field, want)
	}
}

func (f *filler) missing(in map[string]any, field string, value any) {
	if given, ok := in[field]; !ok || given == nil || given == "" {
		in[field] = value
	}
}

// size fills in CPUs and memory, with the numbers of pkg/vmi.
func (f *filler) size(domain map[string]any, request *vmi.VMI) {
	before := request.Spec.Domain
	request.Default()
	after := request.Spec.Domain
	cpu := f.object(domain, "cpu")
	if before.CPU.Sockets == 0 && before.CPU.Cores == 0 && before.CPU.Threads == 0 {
		cpu["sockets"] = int64(after.CPU.Sockets)
		cpu["cores"] = int64(after.CPU.Cores)
		cpu["threads"] = int64(after.CPU.Threads)
	}
	if after.CPU.MaxSockets > 0 {
		cpu["maxSockets"] = int64(after.CPU.MaxSockets)
	}
	resources := f.object(domain, "resources")
	limit := after.Resources.Limits.CPU
	if limit != nil && limit.Sign() != 0 && (before.Resources.Requests.CPU == nil || before.Resources.Requests.CPU.IsZero()) {
		f.object(resources, "requests")["cpu"] = limit.String()
	}
	memory := f.object(domain, "memory")
	if after.Memory.Guest == nil {
		return
	}
	f.missing(memory, "guest", after.Memory.Guest.String())
	largest, ok := pluggable(&after)
	if ok {
		f.missing(memory, "maxGuest", largest.String())
	}
}

// pluggable is the memory that a guest can grow to, four times what it has (ValidateLiveUpdateMemory, pkg/liveupdate/memory); ok is
// false for one that cannot grow.
func pluggable(domain *vmi.Domain) (largest *resource.Quantity, ok bool) {
	if domain.CPU.Realtime != nil || domain.CPU.NUMA != nil && domain.CPU.NUMA.GuestMappingPassthrough != nil {
		return nil, false
	}
	block := int64(2) << 20
	if domain.Memory.Hugepages != nil && domain.Memory.Hugepages.PageSize == "1Gi" {
		block = 1 << 30
	}
	guest := domain.Memory.Guest.Value()
	if guest < 1<<30 || guest%block != 0 {
		return nil, false
	}
	return resource.NewQuantity(4*guest, resource.BinarySI), true
}

// network gives a VMI without any the pod's own.
func (f *filler) network(spec, devices map[string]any) {
	attach, given := devices["autoattachPodInterface"].(bool)
	if given && !attach || spec["networks"] != nil || devices["interfaces"] != nil {
		return
	}
	devices["interfaces"] = []any{map[string]any{"name": "default", "bridge": map[string]any{}}}
	spec["networks"] = []any{map[string]any{"name": "default", "pod": map[string]any{}}}
}

// disks makes a disk of every volume that is none yet, and says when images are pulled.
func (f *filler) disks(spec, devices map[string]any) {
	used := map[string]bool{}
	for _, field := range []string{"disks", "filesystems"} {
		list, _ := devices[field].([]any)
		for _, item := range list {
			disk, _ := item.(map[string]any)
			used[fmt.Sprint(disk["name"])] = true
		}
	}
	volumes, _ := spec["volumes"].([]any)
	disks, _ := devices["disks"].([]any)
	for _, item := range volumes {
		volume, ok := item.(map[string]any)
		if !ok {
			f.fail("volumes", "a list of objects")
			return
		}
		if !used[fmt.Sprint(volume["name"])] {
			disks = append(disks, map[string]any{"name": volume["name"]})
		}
		image, ok := volume["containerDisk"].(map[string]any)
		if ok {
			f.missing(image, "imagePullPolicy", pullPolicy(fmt.Sprint(image["image"])))
		}
	}
	for _, item := range disks {
		disk, ok := item.(map[string]any)
		if !ok {
			f.fail("disks", "a list of objects")
			return
		}
		defaultBus(disk)
	}
	if len(disks) > 0 {
		devices["disks"] = disks
	}
}

// defaultBus is a disk's on amd64 (setDefaultAmd64DisksBus, pkg/defaults/amd64.go).
func defaultBus(disk map[string]any) {
	for _, kind := range []string{"disk", "cdrom", "lun"} {
		target, ok := disk[kind].(map[string]any)
		if ok {
			if target["bus"] == nil {
				target["bus"] = "sata"
			}
			return
		}
	}
	disk["disk"] = map[string]any{"bus": "sata"}
}

func pullPolicy(image string) string {
	if strings.HasSuffix(image, ":latest") || !strings.ContainsAny(image, ":@") {
		return "Always"
	}
	return "IfNotPresent"
}
