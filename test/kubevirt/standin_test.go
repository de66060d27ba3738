// SPDX-License-Identifier: Apache-2.0

//go:build system

package kubevirt

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"corepin.dev/corepin/pkg/launcherpod"
	"corepin.dev/corepin/test/harness/poddiff"
	"corepin.dev/corepin/test/harness/testbed"
)

// guests are ways to write a VMI, by the part of spec in question. The CPUs are dedicated in those that begin with "d-".
var guests = map[string]string{
	"nothing":             `{domain: {devices: {}, memory: {guest: 64Mi}}}`,
	"requests":            `{domain: {devices: {}, resources: {requests: {cpu: 500m, memory: 64Mi}}}}`,
	"guaranteed":          `{domain: {devices: {}, resources: {requests: {cpu: 1, memory: 64Mi}, limits: {cpu: 1, memory: 64Mi}}}}`,
	"shared-io-threads":   `{domain: {devices: {}, ioThreadsPolicy: supplementalPool, ioThreads: {supplementalPoolThreadCount: 2}, cpu: {cores: 3}, memory: {guest: 64Mi}}}`,
	"d-cores":             `{domain: {devices: {}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-no-number":         `{domain: {devices: {}, cpu: {dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-topology":          `{domain: {devices: {}, cpu: {sockets: 2, cores: 2, threads: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-limits":            `{domain: {devices: {}, cpu: {dedicatedCpuPlacement: true}, resources: {limits: {cpu: 2, memory: 64Mi}}}}`,
	"d-requests":          `{domain: {devices: {}, cpu: {dedicatedCpuPlacement: true}, resources: {requests: {cpu: "2000m", memory: 64Mi}}}}`,
	"d-storage":           `{domain: {devices: {}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}, resources: {requests: {ephemeral-storage: 1Gi}, limits: {ephemeral-storage: 2Gi}}}}`,
	"overcommitted":       `{domain: {devices: {}, cpu: {cores: 2}, resources: {overcommitGuestOverhead: true, requests: {memory: 64Mi}}}}`,
	"d-huge-pages":        `{domain: {devices: {}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi, hugepages: {pageSize: 2Mi}}}}`,
	"d-huge-and-more":     `{domain: {devices: {}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 1Gi, hugepages: {pageSize: 1Gi}}, resources: {requests: {memory: 2Gi}, limits: {memory: 2Gi}}}}`,
	"huge-shared":         `{domain: {devices: {}, cpu: {cores: 2}, memory: {guest: 1Gi, hugepages: {pageSize: 1Gi}}, resources: {requests: {memory: 1Gi}, limits: {memory: 3Gi}}}}`,
	"d-numa":              `{domain: {devices: {}, cpu: {cores: 2, dedicatedCpuPlacement: true, numa: {guestMappingPassthrough: {}}}, memory: {guest: 64Mi, hugepages: {pageSize: 2Mi}}}}`,
	"d-realtime":          `{domain: {devices: {}, cpu: {cores: 2, dedicatedCpuPlacement: true, isolateEmulatorThread: true, numa: {guestMappingPassthrough: {}}, realtime: {}}, memory: {guest: 64Mi, hugepages: {pageSize: 2Mi}}}}`,
	"d-isolated":          `{domain: {devices: {}, cpu: {cores: 2, dedicatedCpuPlacement: true, isolateEmulatorThread: true}, memory: {guest: 64Mi}}}`,
	"d-pool":              `{domain: {devices: {}, ioThreadsPolicy: supplementalPool, ioThreads: {supplementalPoolThreadCount: 2}, cpu: {cores: 2, dedicatedCpuPlacement: true, isolateEmulatorThread: true}, memory: {guest: 64Mi}}}`,
	"d-io-auto":           `{domain: {devices: {}, ioThreadsPolicy: auto, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-passthrough":       `{domain: {devices: {}, cpu: {cores: 2, model: host-passthrough, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-model":             `{domain: {devices: {}, cpu: {cores: 2, model: Nehalem, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-features":          `{domain: {devices: {}, cpu: {cores: 2, features: [{name: apic}, {name: vmx, policy: forbid}, {name: avx, policy: require}, {name: pae, policy: optional}], dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-tpm":               `{domain: {devices: {tpm: {}}, firmware: {bootloader: {efi: {secureBoot: false}}}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-tpm-off":           `{domain: {devices: {tpm: {enabled: false}}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-no-graphics":       `{domain: {devices: {autoattachGraphicsDevice: false}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-no-serial":         `{domain: {devices: {autoattachSerialConsole: false}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-no-serial-log":     `{domain: {devices: {logSerialConsole: false}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-no-network":        `{domain: {devices: {autoattachPodInterface: false}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-masquerade":        `{networks: [{name: default, pod: {}}], domain: {devices: {interfaces: [{name: default, masquerade: {}, ports: [{name: web, port: 80}]}]}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-e1000":             `{networks: [{name: default, pod: {}}], domain: {devices: {interfaces: [{name: default, model: e1000, bridge: {}}]}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-no-hotplug":        `{domain: {devices: {disableHotplug: true}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-container-disk":    `{volumes: [{name: scratch, emptyDisk: {capacity: 1Gi}}, {name: root, containerDisk: {image: "registry.example/disk:1"}}], domain: {devices: {disks: [{name: scratch, disk: {}}, {name: root, disk: {}}]}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"shared-disk":         `{volumes: [{name: root, containerDisk: {image: registry.example/disk}}], domain: {devices: {disks: [{name: root, disk: {}}]}, memory: {guest: 64Mi}}}`,
	"d-kernel":            `{domain: {firmware: {kernelBoot: {container: {image: "registry.example/kernel:1", kernelPath: /vmlinuz}}}, devices: {}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-config-disks":      `{volumes: [{name: settings, configMap: {name: settings}}, {name: keys, secret: {secretName: keys}}], domain: {devices: {disks: [{name: keys, disk: {}}, {name: settings, disk: {}}]}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-share":             `{volumes: [{name: settings, configMap: {name: settings}}], domain: {devices: {filesystems: [{name: settings, virtiofs: {}}]}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"shared-share":        `{volumes: [{name: settings, configMap: {name: settings}}], domain: {devices: {filesystems: [{name: settings, virtiofs: {}}]}, memory: {guest: 64Mi}}}`,
	"d-claim":             `{volumes: [{name: data, persistentVolumeClaim: {claimName: data}}], domain: {devices: {disks: [{name: data, disk: {}}]}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-cloud-init":        `{volumes: [{name: init, cloudInitNoCloud: {userData: "#cloud-config"}}], domain: {devices: {disks: [{name: init, disk: {}}]}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-cloud-init-secret": `{volumes: [{name: init, cloudInitNoCloud: {secretRef: {name: keys}, networkDataSecretRef: {name: keys}}}], domain: {devices: {disks: [{name: init, disk: {}}]}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-placed":            `{priorityClassName: system-cluster-critical, nodeSelector: {kubernetes.io/hostname: roomy}, tolerations: [{key: special, operator: Exists}], affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {labelSelector: {matchLabels: {a: b}}, topologyKey: kubernetes.io/hostname}}]}}, topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {a: b}}}], domain: {devices: {}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-named":             `{hostname: host, subdomain: sub, dnsPolicy: None, dnsConfig: {nameservers: [10.0.0.1]}, terminationGracePeriodSeconds: 7, domain: {devices: {}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-default-scheduler": `{schedulerName: default-scheduler, domain: {devices: {}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"d-exec-probe":        `{readinessProbe: {exec: {command: ["true"]}}, domain: {devices: {}, cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
}

// known are fields in which a pod of the stand-in differs, with the reason. Each must be seen.
var known = map[string]string{
	`^spec\.containers\[compute\]\.readinessProbe`: "probes are not rendered",
}

var _ = ginkgo.Describe("the stand-in for virt-controller", ginkgo.Ordered, func() {
	const shapes = "shapes"
	ginkgo.BeforeAll(func(ctx context.Context) {
		namespace(ctx, shapes)
		apply(ctx, "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: shapes}, data: {a: b}}")
		apply(ctx, "{apiVersion: v1, kind: Secret, metadata: {name: keys, namespace: shapes}, stringData: {userdata: '#cloud-config', networkdata: 'version: 2'}}")
		apply(ctx, `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data, namespace: shapes},
 spec: {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Gi}}}}`)
	})
	ginkgo.It("makes the pods that KubeVirt makes", func(ctx context.Context) {
		began := time.Now()
		var refused, differ []string
		reasons := map[string]int{}
		compared := 0
		for _, name := range slices.Sorted(maps.Keys(guests)) {
			spec := guests[name]
			if !strings.Contains(spec, "schedulerName") {
				spec = strings.Replace(spec, "{", "{schedulerName: corepin, ", 1)
			}
			_, err := bed.Kubectl(ctx, "create", "--filename="+write(fmt.Sprintf(
				"{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: %s, namespace: %s}, spec: %s}", name, shapes, spec)))
			if err != nil {
				refused = append(refused, name+": "+err.Error())
				continue
			}
			vmi, pod := awaitPod(ctx, shapes, name, "")
			compared++
			rendered, err := launcherpod.Render(asStored(vmi))
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			differences := unexplained(rendered, pod, reasons)
			for _, difference := range differences {
				differ = append(differ, name+": "+difference.String())
			}
			gomega.Expect(bed.Dynamic().Resource(testbed.VMIs).Namespace(shapes).Delete(ctx, name, metav1.DeleteOptions{})).To(gomega.Succeed())
		}
		table := fmt.Sprintf("%d pods compared, %d fields differ without a reason; %s\n", compared, len(differ), seconds(began))
		for _, reason := range slices.Sorted(maps.Keys(reasons)) {
			table += fmt.Sprintf("%4d fields differ: %s\n", reasons[reason], reason)
		}
		report("the same VMI in, the same pod out", table+strings.Join(append(differ, refused...), "\n")+"\n")
		gomega.Expect(refused).To(gomega.BeEmpty())
		gomega.Expect(differ).To(gomega.BeEmpty())
		for _, reason := range known {
			gomega.Expect(reasons).To(gomega.HaveKey(reason), "nothing differs for this reason any more: take it off the list")
		}
	}, ginkgo.NodeTimeout(10*time.Minute))
})

// asStored is a VMI as it was when its pod was made: the machine type that virt-handler found is not known then.
func asStored(vmi *unstructured.Unstructured) *unstructured.Unstructured {
	vmi = vmi.DeepCopy()
	unstructured.RemoveNestedField(vmi.Object, "status", "machine")
	return vmi
}

// overheads are the fields with the memory of the launcher's programs.
var overheads = regexp.MustCompile(`^metadata\.annotations\.kubevirt\.io/memory-overhead-bytes$|^spec\.containers\[compute\]\.resources\.(limits|requests)\.memory$`)

// unexplained are the differences that are on no list. Those that are, are counted by their reasons.
func unexplained(got, want *corev1.Pod, reasons map[string]int) []poddiff.Difference {
	ginkgo.GinkgoHelper()
	want = want.DeepCopy()
	compute := &want.Spec.Containers[0]
	for _, list := range []*[]string{&compute.Command, &compute.Args} {
		*list = slices.DeleteFunc(*list, func(word string) bool {
			if word != hookServer {
				return false
			}
			reasons["this version has libvirt call a server for hooks"]++
			return true
		})
	}
	differences, err := poddiff.Between(got, want)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return slices.DeleteFunc(differences, func(d poddiff.Difference) bool {
		for pattern, reason := range known {
			if regexp.MustCompile(pattern).MatchString(d.Field) {
				reasons[reason]++
				return true
			}
		}
		// Versions differ in what they count for QEMU itself: 30Mi in v1.9.0, 50Mi since.
		if overheads.MatchString(d.Field) && number(d.Got)-number(d.Want) == 20<<20 {
			reasons["this version counts 20Mi less for QEMU"]++
			return true
		}
		if d.Field == "spec.volumes[hugetblfs-dir].emptyDir.medium" && d.Want == "" {
			reasons["this version keeps a directory of huge pages on the node's disk"]++
			return true
		}
		if strings.HasPrefix(d.Field, "metadata.annotations.kubevirt.io/owner-vmi-") && d.Want == "" {
			reasons["this version does not name the VMI on an attachment pod"]++
			return true
		}
		return false
	})
}

// hookServer is an option of the launcher up to v1.9.0.
const hookServer = "--libvirt-hook-server-and-client"

func number(text string) int64 {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return value
}

// expectAlike compares one pod of the stand-in with KubeVirt's.
func expectAlike(what string, got, want *corev1.Pod) {
	ginkgo.GinkgoHelper()
	var differ []string
	for _, difference := range unexplained(got, want, map[string]int{}) {
		differ = append(differ, difference.String())
	}
	gomega.Expect(differ).To(gomega.BeEmpty(), what)
}
