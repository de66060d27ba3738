// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"
)

// claims are the cluster's volumes, as the stock plugins read them.
type claims struct {
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	drivers storagelisters.CSINodeLister
}

func claimsOf(informers informers.SharedInformerFactory) *claims {
	core := informers.Core().V1()
	return &claims{
		claims:  core.PersistentVolumeClaims().Lister(),
		volumes: core.PersistentVolumes().Lister(),
		drivers: informers.Storage().V1().CSINodes().Lister(),
	}
}

// volumes are the bound volumes of a pod.
type volumes struct {
	*claims
	bound []*corev1.PersistentVolume
}

// volumesOf returns a pod's volumes. It is nil if one is not bound yet, or is of a kind that the stock plugins treat otherwise.
func (c *claims) volumesOf(pod *corev1.Pod) *volumes {
	v := &volumes{claims: c}
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if volume.PersistentVolumeClaim == nil {
			if !onEveryNode(&volume.VolumeSource) {
				return nil
			}
			continue
		}
		bound := c.bound(pod.Namespace, volume.PersistentVolumeClaim.ClaimName)
		if bound == nil {
			return nil
		}
		v.bound = append(v.bound, bound)
	}
	return v
}

// onEveryNode reports whether a volume is made where the pod is.
func onEveryNode(v *corev1.VolumeSource) bool {
	return v.EmptyDir != nil || v.HostPath != nil || v.Secret != nil || v.ConfigMap != nil || v.DownwardAPI != nil || v.Projected != nil ||
		v.Image != nil
}

// bound is the volume of a claim; nil if there is none, or plugin VolumeZone reads its labels, or plugin NodeVolumeLimits may
// count it by another driver's name.
func (c *claims) bound(namespace, name string) *corev1.PersistentVolume {
	claim, err := c.claims.PersistentVolumeClaims(namespace).Get(name)
	if err != nil || claim.Spec.VolumeName == "" || claim.Status.Phase != corev1.ClaimBound {
		return nil
	}
	volume, err := c.volumes.Get(claim.Spec.VolumeName)
	if err != nil || slices.ContainsFunc(zoneLabels, func(label string) bool { return volume.Labels[label] != "" }) {
		return nil
	}
	source := &volume.Spec.PersistentVolumeSource
	if source.CSI == nil && source.NFS == nil && source.Local == nil && source.HostPath == nil && source.ISCSI == nil && source.FC == nil {
		return nil
	}
	return volume
}

var zoneLabels = []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion}

// reach reports whether the volumes can be had on a node. A node whose driver attaches a limited number of volumes is left to
// kube-scheduler.
func (v *volumes) reach(node *corev1.Node) bool {
	return !slices.ContainsFunc(v.bound, func(volume *corev1.PersistentVolume) bool {
		return volumehelpers.CheckNodeAffinity(volume, node.Labels) != nil || v.limited(volume, node.Name)
	})
}

// limited reports whether the driver of a volume says how many it attaches to a node.
func (v *volumes) limited(volume *corev1.PersistentVolume, nodeName string) bool {
	if volume.Spec.CSI == nil {
		return false
	}
	on, err := v.drivers.Get(nodeName)
	if err != nil {
		return false
	}
	for i := range on.Spec.Drivers {
		driver := &on.Spec.Drivers[i]
		if driver.Name == volume.Spec.CSI.Driver {
			return driver.Allocatable != nil && driver.Allocatable.Count != nil
		}
	}
	return false
}
