// SPDX-License-Identifier: Apache-2.0

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
		ImagePullPolicy: corev1.PullIfNotPresent,
		Command:         []string{"/usr/bin/virt-tail"},
		Args:            []string{"--logfile", fmt.Sprintf("%s/%s/virt-serial0-log", privateDir, m.UID)},
		Env:             []corev1.EnvVar{{Name: "VIRT_LAUNCHER_LOG_VERBOSITY", Value: "2"}},
		RestartPolicy:   &always,
		Resources:       consoleLogSupport.resources(m),
		SecurityContext: unprivileged(),
		VolumeMounts:    []corev1.VolumeMount{{Name: "private", MountPath: privateDir, ReadOnly: true}},
	})
}

// addContainerDisks adds an init container for each container disk. It does nothing: it makes the runtime tell which image
// it is that the image volume has (gate ImageVolume, on by default since v1.9).
func addContainerDisks(m *machine, spec *corev1.PodSpec) {
	add := func(name string, image *imageSource) {
		resources := containerDiskSupport.resources(m)
		resources.Requests[scratch] = diskScratch
		spec.InitContainers = append(spec.InitContainers, corev1.Container{
			Name:            "volume" + name,
			Image:           image.Image,
			ImagePullPolicy: image.ImagePullPolicy,
			Command:         []string{"/container-disk-binary/usr/bin/container-disk"},
			Args:            []string{"--no-op"},
			Resources:       resources,
			SecurityContext: unprivileged(),
			VolumeMounts:    []corev1.VolumeMount{{Name: launcherVolume, MountPath: "/container-disk-binary", ReadOnly: true}},
		})
	}
	for _, v := range m.pod.Volumes {
		if v.ContainerDisk != nil {
			add(v.Name, v.ContainerDisk)
		}
	}
	kernel := m.domain.Firmware.KernelBoot.Container
	if kernel != nil {
		add(kernelVolume, kernel)
	}
}

// addHookSidecars adds the containers of the annotation, numbered from 0.
func addHookSidecars(m *machine, spec *corev1.PodSpec, sidecars []hookSidecar) {
	for i, sidecar := range sidecars {
		name := "hook-sidecar-" + strconv.Itoa(i)
		context := unprivileged()
		context.RunAsGroup = context.RunAsUser
		spec.Containers = append(spec.Containers, corev1.Container{
			Name:            name,
			Image:           sidecar.Image,
			ImagePullPolicy: sidecar.ImagePullPolicy,
			Command:         sidecar.Command,
			Args:            sidecar.Args,
			Env:             append(userDirectories(), corev1.EnvVar{Name: "CONTAINER_NAME", Value: name}),
			Resources:       hookSupport.resources(m),
			SecurityContext: context,
			VolumeMounts:    []corev1.VolumeMount{{Name: hookVolume, MountPath: hookDir, SubPath: name}},

			TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		})
	}
}

// addFilesystems adds a container for each volume that is a virtiofs share, in the order of the volumes.
func addFilesystems(m *machine, spec *corev1.PodSpec) {
	for _, v := range m.pod.Volumes {
		if !m.shares(v.Name) {
			continue
		}
		context := unprivileged()
		context.RunAsGroup = context.RunAsUser
		spec.Containers = append(spec.Containers, corev1.Container{
			Name:            "virtiofs-" + v.Name,
			Image:           LauncherImage,
			ImagePullPolicy: corev1.PullIfNotPresent,
			Command:         []string{"/usr/libexec/virtiofsd"},
			Args: []string{
				"--socket-path=" + shareDir + "/" + v.Name + ".sock", "--shared-dir=" + v.sharedDir(), "--sandbox=none", "--cache=auto",
				"--migration-on-error=guest-error", "--migration-mode=find-paths",
			},
			Resources:       virtiofsSupport.resources(m),
			SecurityContext: context,
			VolumeMounts:    []corev1.VolumeMount{{Name: shareVolume, MountPath: shareDir}, {Name: v.Name, MountPath: v.sharedDir()}},
		})
	}
}

// shares reports whether the guest mounts a volume as a file system.
func (m *machine) shares(volume string) bool {
	for _, filesystem := range m.domain.Devices.Filesystems {
		if filesystem.Name == volume {
			return true
		}
	}
	return false
}
