// SPDX-License-Identifier: Apache-2.0

package launcherpod

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"corepin.dev/corepin/pkg/vmi"
)

// maxVCPUs bounds what is rendered: far above any machine, and low enough that nothing overflows.
const maxVCPUs = 1 << 20

// machine is a VMI as the renderer sees it: what pkg/vmi reads, and what beyond that shapes the pod.
type machine struct {
	*vmi.VMI
	pod    podFields
	domain domainFields
	// machine is status.machine.type, which a VM that runs keeps when it moves; empty before.
	machine string
}

// podFields are fields of spec that are copied to the pod.
type podFields struct {
	Hostname                      string                            `json:"hostname"`
	Subdomain                     string                            `json:"subdomain"`
	DNSPolicy                     corev1.DNSPolicy                  `json:"dnsPolicy"`
	DNSConfig                     *corev1.PodDNSConfig              `json:"dnsConfig"`
	TerminationGracePeriodSeconds *int64                            `json:"terminationGracePeriodSeconds"`
	Affinity                      *corev1.Affinity                  `json:"affinity"`
	Tolerations                   []corev1.Toleration               `json:"tolerations"`
	TopologySpreadConstraints     []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints"`
	PriorityClassName             string                            `json:"priorityClassName"`
	LivenessProbe                 *probe                            `json:"livenessProbe"`
	ReadinessProbe                *probe                            `json:"readinessProbe"`
	Networks                      []struct{}                        `json:"networks"`
	Volumes                       []volume                          `json:"volumes"`
	Domain                        domainFields                      `json:"domain"`
}

// probe is a guest's probe, of which only the memory of one that runs a program counts.
type probe struct {
	Exec *struct{} `json:"exec"`
}

// volume is an entry of spec.volumes. Sources that need no container and no pod volume, such as an empty disk, are
// left out.
type volume struct {
	Name                  string                        `json:"name"`
	ContainerDisk         *imageSource                  `json:"containerDisk"`
	PersistentVolumeClaim *claim                        `json:"persistentVolumeClaim"`
	Ephemeral             *ephemeral                    `json:"ephemeral"`
	DataVolume            *dataVolume                   `json:"dataVolume"`
	ConfigMap             *corev1.ConfigMapVolumeSource `json:"configMap"`
	Secret                *secretSource                 `json:"secret"`
	DownwardAPI           *struct {
		Fields []corev1.DownwardAPIVolumeFile `json:"fields"`
	} `json:"downwardAPI"`
	CloudInitNoCloud     *cloudInit `json:"cloudInitNoCloud"`
	CloudInitConfigDrive *cloudInit `json:"cloudInitConfigDrive"`
	DownwardMetrics      *struct{}  `json:"downwardMetrics"`
}

// claim, ephemeral and dataVolume name the claim that holds a disk. A hotpluggable one is attached by a pod of its own.
type claim struct {
	corev1.PersistentVolumeClaimVolumeSource
	Hotpluggable bool `json:"hotpluggable"`
}

type ephemeral struct {
	PersistentVolumeClaim *corev1.PersistentVolumeClaimVolumeSource `json:"persistentVolumeClaim"`
}

type dataVolume struct {
	Name         string `json:"name"`
	Hotpluggable bool   `json:"hotpluggable"`
}

type secretSource struct {
	SecretName string `json:"secretName"`
	Optional   *bool  `json:"optional"`
}

type cloudInit struct {
	SecretRef            *corev1.LocalObjectReference `json:"secretRef"`
	NetworkDataSecretRef *corev1.LocalObjectReference `json:"networkDataSecretRef"`
}

type imageSource struct {
	Image           string            `json:"image"`
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy"`
}

// domainFields are fields of spec.domain that add containers, devices or memory.
type domainFields struct {
	Devices deviceFields `json:"devices"`
	Machine struct {
		Type string `json:"type"`
	} `json:"machine"`
	Resources corev1.ResourceRequirements `json:"resources"`
	Memory    struct {
		ReservedOverhead struct {
			AddedOverhead *resource.Quantity `json:"addedOverhead"`
		} `json:"reservedOverhead"`
	} `json:"memory"`
	Firmware struct {
		KernelBoot struct {
			Container *imageSource `json:"container"`
		} `json:"kernelBoot"`
	} `json:"firmware"`
}

// deviceFields are fields of spec.domain.devices.
type deviceFields struct {
	AutoattachGraphicsDevice *bool         `json:"autoattachGraphicsDevice"`
	AutoattachSerialConsole  *bool         `json:"autoattachSerialConsole"`
	AutoattachPodInterface   *bool         `json:"autoattachPodInterface"`
	AutoattachVSOCK          *bool         `json:"autoattachVSOCK"`
	LogSerialConsole         *bool         `json:"logSerialConsole"`
	DisableHotplug           bool          `json:"disableHotplug"`
	Interfaces               []netCard     `json:"interfaces"`
	GPUs                     []passthrough `json:"gpus"`
	HostDevices              []passthrough `json:"hostDevices"`
	TPM                      *struct {
		Enabled *bool `json:"enabled"`
	} `json:"tpm"`
	Disks []struct {
		Name string `json:"name"`
	} `json:"disks"`
	Filesystems []struct {
		Name string `json:"name"`
	} `json:"filesystems"`
}

// netCard is an entry of interfaces.
type netCard struct {
	Model      string    `json:"model"`
	State      string    `json:"state"`
	Masquerade *struct{} `json:"masquerade"`
	SRIOV      *struct{} `json:"sriov"`
	Ports      []struct {
		Name     string          `json:"name"`
		Protocol corev1.Protocol `json:"protocol"`
		Port     int32           `json:"port"`
	} `json:"ports"`
}

// passthrough is a device of the host, which a device plugin hands out under its name. One of a resource claim has none.
type passthrough struct {
	DeviceName string `json:"deviceName"`
}

// hookSidecar is an entry of the annotation hooks.kubevirt.io/hookSidecars.
type hookSidecar struct {
	imageSource
	Command []string `json:"command"`
	Args    []string `json:"args"`
}

// read decodes what else shapes the pod, and fills in KubeVirt's defaults.
func read(object *unstructured.Unstructured, request *vmi.VMI) (*machine, error) {
	if request.Spec.Architecture == "" {
		request.Spec.Architecture = runtime.GOARCH // KubeVirt takes that of the cluster
	}
	request.Default()
	m := &machine{VMI: request}
	data, err := json.Marshal(object.Object["spec"])
	if err != nil {
		return nil, fmt.Errorf("encoding spec: %w", err)
	}
	if err := json.Unmarshal(data, &m.pod); err != nil {
		return nil, fmt.Errorf("reading spec: %w", err)
	}
	m.domain = m.pod.Domain
	m.machine, _, err = unstructured.NestedString(object.Object, "status", "machine", "type")
	if err != nil {
		return nil, fmt.Errorf("reading status: %w", err)
	}
	m.defaultInterface()
	vcpus := m.VCPUs()
	threads := m.ioThreads()
	if vcpus > maxVCPUs || threads > maxVCPUs {
		return nil, fmt.Errorf("reading spec.domain: %d vCPUs and %d IO threads; %d of either is the most", vcpus, threads, maxVCPUs)
	}
	return m, nil
}

// defaultInterface is what KubeVirt's mutating webhook adds to a VMI without any network
// (pkg/network/vmispec/defaults.go SetDefaultNetworkInterface).
func (m *machine) defaultInterface() {
	devices := &m.domain.Devices
	if len(m.pod.Networks) == 0 && len(devices.Interfaces) == 0 && !off(devices.AutoattachPodInterface) {
		devices.Interfaces = []netCard{{}}
	}
}

// off reports whether a setting that is on unless said otherwise is off.
func off(setting *bool) bool { return setting != nil && !*setting }

// hookSidecars reads the annotation; none is an empty list.
func (m *machine) hookSidecars() ([]hookSidecar, error) {
	text := m.Annotations[vmi.HookSidecarsAnnotation]
	if text == "" {
		return nil, nil
	}
	var sidecars []hookSidecar
	if err := json.Unmarshal([]byte(text), &sidecars); err != nil {
		return nil, fmt.Errorf("reading annotation %s: want a JSON list of objects with an image: %w", vmi.HookSidecarsAnnotation, err)
	}
	return sidecars, nil
}

// ioThreads is the number of CPUs for IO threads. The count is taken whatever the policy is
// (KubeVirt renderresources.go:319).
func (m *machine) ioThreads() int64 {
	threads := m.Spec.Domain.IOThreads
	if threads == nil || threads.SupplementalPoolThreadCount == nil {
		return 0
	}
	return int64(*threads.SupplementalPoolThreadCount)
}

func (m *machine) supplementalPool() bool {
	policy := m.Spec.Domain.IOThreadsPolicy
	return policy != nil && *policy == vmi.SupplementalPool
}

// guaranteed is KubeVirt's WantsToHaveQOSGuaranteed (types.go:567-612): memory and CPU are requested
// as much as they are limited.
func (m *machine) guaranteed() bool {
	requests := m.Spec.Domain.Resources.Requests
	limits := m.Spec.Domain.Resources.Limits
	same := func(request, limit *vmi.Quantity) bool {
		return limit != nil && !limit.IsZero() && (request == nil || request.IsZero() || request.Cmp(limit.Quantity) == 0)
	}
	return same(requests.Memory, limits.Memory) && same(requests.CPU, limits.CPU)
}

// fixed reports whether every container gets its limits as its requests too.
func (m *machine) fixed() bool { return m.Dedicated() || m.guaranteed() }

// logsConsole reports whether the serial console is logged, by a container of its own.
func (m *machine) logsConsole() bool {
	return !off(m.domain.Devices.AutoattachSerialConsole) && !off(m.domain.Devices.LogSerialConsole)
}

// hostname is the guest's: the VMI's name up to its first dot, if it states none.
func (m *machine) hostname() string {
	if m.pod.Hostname != "" {
		return m.pod.Hostname
	}
	host, _, _ := strings.Cut(m.Name, ".")
	return strings.TrimRight(host[:min(len(host), 63)], "-")
}

// grace is how long the guest gets to shut down, in seconds.
func (m *machine) grace() int64 {
	if m.pod.TerminationGracePeriodSeconds != nil {
		return *m.pod.TerminationGracePeriodSeconds
	}
	return defaultGrace
}
