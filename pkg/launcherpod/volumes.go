// SPDX-License-Identifier: Apache-2.0

package launcherpod

import (
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Volumes that several containers of a launcher pod share, and where they are in them.
const (
	launcherVolume = "launcher-volume"
	kernelVolume   = "kernel-boot-volume"
	hookVolume     = "hook-sidecar-sockets"
	hookDir        = "/var/run/kubevirt-hooks"
	shareVolume    = "virtiofs-containers"
	shareDir       = "/var/run/kubevirt/virtiofs-containers"
)

// disks are volumes of the pod and where the compute container has them (rendervolumes.go), in KubeVirt's order.
type disks struct {
	volumes []corev1.Volume
	mounts  []corev1.VolumeMount
}

// add appends a volume that compute mounts.
func (d *disks) add(volume corev1.Volume, mount corev1.VolumeMount) {
	mount.Name = volume.Name
	d.volumes = append(d.volumes, volume)
	d.mounts = append(d.mounts, mount)
}

// disksOf are the volumes that depend on the VMI. A claim is taken for a file system: what it really is only the cluster
// knows.
func disksOf(m *machine, hooks bool) disks {
	var d disks
	d.addConfiguration(m)
	for i := range m.pod.Volumes {
		d.addDisk(&m.pod.Volumes[i])
	}
	d.addImages(m)
	if hooks {
		d.add(scratchVolume(hookVolume), corev1.VolumeMount{MountPath: hookDir})
	}
	if m.Spec.Domain.Memory.Hugepages != nil {
		for _, huge := range []corev1.VolumeMount{{Name: "hugepages", MountPath: "/dev/hugepages"}, {Name: "hugetblfs-dir", MountPath: "/dev/hugepages/libvirt/qemu"}} {
			volume := scratchVolume(huge.Name)
			volume.EmptyDir.Medium = corev1.StorageMediumHugePages
			d.add(volume, huge)
		}
	}
	if !m.domain.Devices.DisableHotplug {
		fromHost := corev1.MountPropagationHostToContainer
		d.add(scratchVolume("hotplug-disks"), corev1.VolumeMount{MountPath: "/var/run/kubevirt/hotplug-disks", MountPropagation: &fromHost})
	}
	if len(m.domain.Devices.Filesystems) > 0 {
		d.add(scratchVolume(shareVolume), corev1.VolumeMount{MountPath: shareDir})
	}
	return d
}

// addConfiguration adds secrets, config maps and fields of the pod. Compute mounts those that are disks, in the order of
// the disks.
func (d *disks) addConfiguration(m *machine) {
	sources := map[string]*volume{}
	for i := range m.pod.Volumes {
		v := &m.pod.Volumes[i]
		source, ok := v.configuration()
		if ok {
			sources[v.Name] = v
			d.volumes = append(d.volumes, corev1.Volume{Name: v.Name, VolumeSource: source})
		}
	}
	for _, disk := range m.domain.Devices.Disks {
		v := sources[disk.Name]
		if v != nil {
			d.mounts = append(d.mounts, corev1.VolumeMount{Name: v.Name, MountPath: v.sharedDir(), ReadOnly: true})
		}
	}
}

func (v *volume) configuration() (source corev1.VolumeSource, ok bool) {
	switch {
	case v.Secret != nil:
		return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: v.Secret.SecretName, Optional: v.Secret.Optional}}, true
	case v.ConfigMap != nil:
		return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: v.ConfigMap.LocalObjectReference, Optional: v.ConfigMap.Optional}}, true
	case v.DownwardAPI != nil:
		return corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: v.DownwardAPI.Fields}}, true
	}
	return corev1.VolumeSource{}, false
}

// sharedDir is where containers have a volume that holds files for the guest.
func (v *volume) sharedDir() string {
	switch {
	case v.ConfigMap != nil:
		return path.Join(privateDir, "config-map", v.Name)
	case v.Secret != nil:
		return path.Join(privateDir, "secret", v.Name)
	case v.DownwardAPI != nil:
		return path.Join(privateDir, "downwardapi", v.Name)
	}
	return "/" + v.Name
}

// addDisk adds a disk in a claim, the metrics' disk, or the secrets of cloud-init.
func (d *disks) addDisk(v *volume) {
	claim := v.claim()
	if claim != nil {
		d.add(corev1.Volume{Name: v.Name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: claim}},
			corev1.VolumeMount{MountPath: path.Join(privateDir, "vmi-disks", v.Name)})
	}
	if v.DownwardMetrics != nil {
		limit := resource.MustParse("1Mi")
		metrics := scratchVolume(v.Name)
		metrics.EmptyDir.Medium = corev1.StorageMediumMemory
		metrics.EmptyDir.SizeLimit = &limit
		d.add(metrics, corev1.VolumeMount{MountPath: path.Join(privateDir, "downwardmetric-disk")})
	}
	for _, config := range []*cloudInit{v.CloudInitNoCloud, v.CloudInitConfigDrive} {
		if config != nil {
			d.addCloudInit(v.Name, "udata", config.SecretRef, "userdata", "userData")
			d.addCloudInit(v.Name, "ndata", config.NetworkDataSecretRef, "networkdata", "networkData")
		}
	}
}

// claim is the claim that holds a disk from the start; nil for other volumes.
func (v *volume) claim() *corev1.PersistentVolumeClaimVolumeSource {
	switch {
	case v.PersistentVolumeClaim != nil && !v.PersistentVolumeClaim.Hotpluggable:
		return &v.PersistentVolumeClaim.PersistentVolumeClaimVolumeSource
	case v.Ephemeral != nil:
		return v.Ephemeral.PersistentVolumeClaim
	case v.DataVolume != nil && !v.DataVolume.Hotpluggable:
		return &corev1.PersistentVolumeClaimVolumeSource{ClaimName: v.DataVolume.Name}
	}
	return nil
}

func (d *disks) addCloudInit(name, suffix string, secret *corev1.LocalObjectReference, keys ...string) {
	if secret == nil {
		return
	}
	volume := corev1.Volume{Name: name + "-" + suffix, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret.Name}}}
	d.volumes = append(d.volumes, volume)
	for _, key := range keys {
		d.mounts = append(d.mounts, corev1.VolumeMount{
			Name: volume.Name, MountPath: path.Join(privateDir, "secret", name, key), SubPath: key, ReadOnly: true,
		})
	}
}

// addImages adds the images of container disks, and the launcher's own, from which their init containers run.
func (d *disks) addImages(m *machine) {
	launcher := false
	for i, v := range m.pod.Volumes {
		if v.ContainerDisk != nil {
			launcher = true
			d.add(imageVolume(v.Name, v.ContainerDisk), corev1.VolumeMount{MountPath: fmt.Sprintf("/var/run/kubevirt-image-volume/disk_%d", i), ReadOnly: true})
		}
	}
	kernel := m.domain.Firmware.KernelBoot.Container
	if kernel != nil {
		launcher = true
		d.add(imageVolume(kernelVolume, kernel), corev1.VolumeMount{MountPath: "/var/run/kubevirt-kernel-boot", ReadOnly: true})
	}
	if launcher {
		d.volumes = append(d.volumes, imageVolume(launcherVolume, &imageSource{Image: LauncherImage, ImagePullPolicy: corev1.PullIfNotPresent}))
	}
}

func imageVolume(name string, image *imageSource) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		Image: &corev1.ImageVolumeSource{Reference: image.Image, PullPolicy: image.ImagePullPolicy},
	}}
}

func scratchVolume(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}
