package launcherpod

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// LauncherImage stands in for KubeVirt's. It is never pulled: simulated nodes run no containers.
const LauncherImage = "virt-launcher.invalid/virt-launcher:v1.9.0"

// support are the amounts of one kind of container beside compute: limits, and requests where the
// VM is neither dedicated nor Guaranteed. Empty requests mean that KubeVirt then sets nothing.
type support struct {
	limitCPU, limitMemory     string
	requestCPU, requestMemory string
}

// What KubeVirt gives unless its CR says otherwise; the place of each is in the render code there.
var (
	hookSupport          = support{"200m", "64M", "", ""}      // renderresources.go:545
	containerDiskSupport = support{"10m", "40M", "1m", "1M"}   // container-disk.go:447
	consoleLogSupport    = support{"15m", "60M", "5m", "35M"}  // serialconsolelog.go:16
	virtiofsSupport      = support{"100m", "80M", "10m", "1M"} // pkg/virtiofs/resources.go:46
	diskScratch          = resource.MustParse("50M")           // ephemeral storage of a container disk
	scratch              = corev1.ResourceName("ephemeral-storage")
)

func (s support) resources(m *machine) corev1.ResourceRequirements {
	limits := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(s.limitCPU), corev1.ResourceMemory: resource.MustParse(s.limitMemory)}
	switch {
	case m.fixed():
		return corev1.ResourceRequirements{Limits: limits, Requests: limits.DeepCopy()}
	case s.requestCPU == "":
		return corev1.ResourceRequirements{}
	}
	requests := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(s.requestCPU), corev1.ResourceMemory: resource.MustParse(s.requestMemory)}
	return corev1.ResourceRequirements{Limits: limits, Requests: requests}
}

// addConsoleLog adds the container that writes the guest's serial console to the pod's log: a
// sidecar that starts before compute and stays.
func addConsoleLog(m *machine, spec *corev1.PodSpec) {
	if !m.logsConsole() {
		return
	}
	always := corev1.ContainerRestartPolicyAlways
	spec.InitContainers = append(spec.InitContainers, corev1.Container{
		Name:            "guest-console-log",
		Image:           LauncherImage,
		Command:         []string{"/usr/bin/virt-tail"},
		Args:            []string{"--logfile", fmt.Sprintf("/var/run/kubevirt-private/%s/virt-serial0-log", m.UID)},
		RestartPolicy:   &always,
		Resources:       consoleLogSupport.resources(m),
		SecurityContext: unprivileged(),
		VolumeMounts:    []corev1.VolumeMount{{Name: "private", MountPath: "/var/run/kubevirt-private", ReadOnly: true}},
	})
}

// addVolumes adds the VMI's volumes. A container disk is an image volume, held by an init container
// that does nothing (gate ImageVolume, on by default since v1.9).
func addVolumes(m *machine, spec *corev1.PodSpec) {
	images := map[string]*imageSource{}
	var order []string
	for _, v := range m.pod.Volumes {
		source := corev1.VolumeSource{PersistentVolumeClaim: v.PersistentVolumeClaim, ConfigMap: v.ConfigMap, Secret: v.Secret}
		switch {
		case v.ContainerDisk != nil:
			images[v.Name] = v.ContainerDisk
			order = append(order, v.Name)
		case source != (corev1.VolumeSource{}):
			spec.Volumes = append(spec.Volumes, corev1.Volume{Name: v.Name, VolumeSource: source})
		}
	}
	kernel := m.domain.Firmware.KernelBoot.Container
	if kernel != nil {
		images["kernel-boot-volume"] = kernel
		order = append(order, "kernel-boot-volume")
	}
	for _, name := range order {
		addContainerDisk(m, spec, name, images[name])
	}
	if len(order) > 0 {
		spec.Volumes = append(spec.Volumes, imageVolume("launcher-volume", &imageSource{Image: LauncherImage}))
	}
}

func addContainerDisk(m *machine, spec *corev1.PodSpec, name string, image *imageSource) {
	resources := containerDiskSupport.resources(m)
	resources.Requests[scratch] = diskScratch
	spec.InitContainers = append(spec.InitContainers, corev1.Container{
		Name:            "volume" + name,
		Image:           image.Image,
		ImagePullPolicy: image.ImagePullPolicy,
		Command:         []string{"/usr/bin/container-disk"},
		Args:            []string{"--no-op"},
		Resources:       resources,
		SecurityContext: unprivileged(),
	})
	spec.Volumes = append(spec.Volumes, imageVolume(name, image))
}

func imageVolume(name string, image *imageSource) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		Image: &corev1.ImageVolumeSource{Reference: image.Image, PullPolicy: image.ImagePullPolicy},
	}}
}

// addHookSidecars adds the containers of the annotation, numbered from 0.
func addHookSidecars(m *machine, spec *corev1.PodSpec, sidecars []hookSidecar) {
	for i, sidecar := range sidecars {
		name := "hook-sidecar-" + strconv.Itoa(i)
		spec.Containers = append(spec.Containers, corev1.Container{
			Name:            name,
			Image:           sidecar.Image,
			ImagePullPolicy: sidecar.ImagePullPolicy,
			Command:         sidecar.Command,
			Args:            sidecar.Args,
			Resources:       hookSupport.resources(m),
			SecurityContext: unprivileged(),
			VolumeMounts:    []corev1.VolumeMount{{Name: "hook-sidecar-sockets", MountPath: "/var/run/kubevirt-hooks", SubPath: name}},
		})
	}
	if len(sidecars) > 0 {
		spec.Volumes = append(spec.Volumes, scratchVolume("hook-sidecar-sockets"))
	}
}

// addFilesystems adds a container for each virtiofs share.
func addFilesystems(m *machine, spec *corev1.PodSpec) {
	for _, filesystem := range m.domain.Devices.Filesystems {
		spec.Containers = append(spec.Containers, corev1.Container{
			Name:            "virtiofs-" + filesystem.Name,
			Image:           LauncherImage,
			Command:         []string{"/usr/libexec/virtiofsd"},
			Args:            []string{"--socket-path=/var/run/kubevirt/virtiofs-containers/" + filesystem.Name + ".sock"},
			Resources:       virtiofsSupport.resources(m),
			SecurityContext: unprivileged(),
			VolumeMounts:    []corev1.VolumeMount{{Name: "virtiofs-containers", MountPath: "/var/run/kubevirt/virtiofs-containers"}},
		})
	}
	if len(m.domain.Devices.Filesystems) > 0 {
		spec.Volumes = append(spec.Volumes, scratchVolume("virtiofs-containers"))
	}
}

func scratchVolume(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}
