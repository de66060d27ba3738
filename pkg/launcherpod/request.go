package launcherpod

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"

	corev1 "k8s.io/api/core/v1"
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
}

// podFields are fields of spec that are copied to the pod.
type podFields struct {
	Hostname                      string                            `json:"hostname"`
	TerminationGracePeriodSeconds *int64                            `json:"terminationGracePeriodSeconds"`
	Affinity                      *corev1.Affinity                  `json:"affinity"`
	Tolerations                   []corev1.Toleration               `json:"tolerations"`
	TopologySpreadConstraints     []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints"`
	PriorityClassName             string                            `json:"priorityClassName"`
	Volumes                       []volume                          `json:"volumes"`
	Domain                        domainFields                      `json:"domain"`
}

// volume is an entry of spec.volumes. Sources that need no container and no pod volume, such as cloud-init, are
// left out.
type volume struct {
	Name                  string                                    `json:"name"`
	ContainerDisk         *imageSource                              `json:"containerDisk"`
	PersistentVolumeClaim *corev1.PersistentVolumeClaimVolumeSource `json:"persistentVolumeClaim"`
	ConfigMap             *corev1.ConfigMapVolumeSource             `json:"configMap"`
	Secret                *corev1.SecretVolumeSource                `json:"secret"`
}

type imageSource struct {
	Image           string            `json:"image"`
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy"`
}

// domainFields are fields of spec.domain that add containers or memory.
type domainFields struct {
	Devices struct {
		AutoattachGraphicsDevice *bool `json:"autoattachGraphicsDevice"`
		AutoattachSerialConsole  *bool `json:"autoattachSerialConsole"`
		LogSerialConsole         *bool `json:"logSerialConsole"`
		Filesystems              []struct {
			Name string `json:"name"`
		} `json:"filesystems"`
	} `json:"devices"`
	Machine struct {
		Type string `json:"type"`
	} `json:"machine"`
	Firmware struct {
		KernelBoot struct {
			Container *imageSource `json:"container"`
		} `json:"kernelBoot"`
	} `json:"firmware"`
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
	vcpus := m.VCPUs()
	threads := m.ioThreads()
	if vcpus > maxVCPUs || threads > maxVCPUs {
		return nil, fmt.Errorf("reading spec.domain: %d vCPUs and %d IO threads; %d of either is the most", vcpus, threads, maxVCPUs)
	}
	return m, nil
}

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
	off := func(setting *bool) bool { return setting != nil && !*setting }
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
