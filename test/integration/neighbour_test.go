// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/test/harness/testbed"
)

// slowClass is a StorageClass whose volumes take as long as a test wants: it is the provisioner.
const slowClass = "slow"

var _ = ginkgo.Describe("VMs whose volumes are being imported", ginkgo.Ordered, func() {
	var bed *testbed.Testbed
	var names []string
	ginkgo.BeforeAll(func(ctx context.Context) {
		// 14 CPUs for VMs on NUMA node 0 and 16 on NUMA node 1.
		bed = startTestbed(ctx, []testbed.Machine{alignedMachine("v1", "2 sockets x 1 numa x 8 cores x 2 threads", "0,16")})
		late := storagev1.VolumeBindingWaitForFirstConsumer
		_, err := bed.Client().StorageV1().StorageClasses().Create(ctx, &storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{Name: slowClass}, Provisioner: "test.corepin.dev/slow", VolumeBindingMode: &late,
		}, metav1.CreateOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		for i := range 12 {
			names = append(names, fmt.Sprint("disk-", i))
		}
	})

	ginkgo.It("all get a place on one node before any volume is there", func(ctx context.Context) {
		for _, name := range names {
			create(ctx, bed, withVolume(ctx, bed, launcherPod(name, 2, alone)))
		}
		gomega.Eventually(ctx, func(g gomega.Gomega) {
			for _, name := range names {
				claim, err := claimOf(ctx, bed, name)
				g.Expect(err).NotTo(gomega.HaveOccurred())
				g.Expect(claim.Annotations).To(gomega.HaveKeyWithValue("volume.kubernetes.io/selected-node", "v1"), name)
			}
		}).WithTimeout(deadline).Should(gomega.Succeed())
		pods, err := podsOf(ctx, bed)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		for i := range pods {
			gomega.Expect(pods[i].Spec.NodeName).To(gomega.BeEmpty(), "%s is bound without its volume", pods[i].Name)
		}
	})
	ginkgo.It("do not keep out a VM that has room beside them", func(ctx context.Context) {
		create(ctx, bed, launcherPod("quick", 2, alone))
		eventuallyRunning(ctx, bed, []string{"quick"}, "v1")
	})
	ginkgo.It("close nothing when one of them is given up", func(ctx context.Context) {
		remove(ctx, bed, names[0])
		create(ctx, bed, launcherPod("instead", 2, alone))
		eventuallyRunning(ctx, bed, []string{"instead"}, "v1")
	})
	ginkgo.It("close nothing when the binding of one fails", func(ctx context.Context) {
		lost := names[1]
		forgetClaim(ctx, bed, lost)
		described(ctx, bed, lost, "FailedScheduling")
		create(ctx, bed, launcherPod("next", 4, alone))
		eventuallyRunning(ctx, bed, []string{"next"}, "v1")
		remove(ctx, bed, "next", lost)
	})
	ginkgo.It("can be preempted", func(ctx context.Context) {
		gomega.Expect(bed.Apply(ctx, []byte(priorities))).To(gomega.Succeed())
		// 26 CPUs of 30 are taken, and 4 are left on some NUMA node. Six are there if VMs go that wait for their volumes.
		create(ctx, bed, launcherPod("urgent", 10, alone, priority("high")))
		eventuallyRunning(ctx, bed, []string{"urgent"}, "v1")
		gomega.Expect(runningOf(ctx, bed)).To(gomega.ContainElements("quick", "instead"), "who ran was to be spared")
		remove(ctx, bed, "urgent")
		// A pod that is preempted while it is being bound goes back to the queue. kube-scheduler before 1.36 deletes it, and its
		// owner makes another (pkg/scheduler/framework/preemption/executor.go, GetPodInPreBind).
		for _, name := range names[2:] {
			_, err := bed.Client().CoreV1().Pods(testbed.VMNamespace).Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				create(ctx, bed, mounting(launcherPod(name, 2, alone)))
				continue
			}
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
		}
	})
	ginkgo.It("run when their volumes are there, each on CPUs of its own", func(ctx context.Context) {
		for _, name := range names[2:] {
			provision(ctx, bed, name)
		}
		eventuallyRunning(ctx, bed, names[2:], "v1")
		witness{bed}.noCPUTwice()
		neverMispredicted(ctx, bed, bed.Scheduler)
	})
})

// withVolume gives a pod a claim of its name.
func withVolume(ctx context.Context, bed *testbed.Testbed, pod *corev1.Pod) *corev1.Pod {
	ginkgo.GinkgoHelper()
	class := slowClass
	_, err := bed.Client().CoreV1().PersistentVolumeClaims(testbed.VMNamespace).Create(ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: &class,
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}, metav1.CreateOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return mounting(pod)
}

// mounting gives a pod the volume of the claim of its name.
func mounting(pod *corev1.Pod) *corev1.Pod {
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "disk", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: pod.Name}}})
	return pod
}

// forgetClaim deletes a claim at once, as an administrator might.
func forgetClaim(ctx context.Context, bed *testbed.Testbed, name string) {
	ginkgo.GinkgoHelper()
	claim, err := claimOf(ctx, bed, name)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	claim.Finalizers = nil
	claims := bed.Client().CoreV1().PersistentVolumeClaims(testbed.VMNamespace)
	_, err = claims.Update(ctx, claim, metav1.UpdateOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(claims.Delete(ctx, name, metav1.DeleteOptions{})).To(gomega.Succeed())
}

// runningOf names the VMs that run.
func runningOf(ctx context.Context, bed *testbed.Testbed) (names []string) {
	ginkgo.GinkgoHelper()
	pods, err := podsOf(ctx, bed)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	for i := range pods {
		if pods[i].Status.Phase == corev1.PodRunning {
			names = append(names, pods[i].Name)
		}
	}
	return names
}

func claimOf(ctx context.Context, bed *testbed.Testbed, name string) (*corev1.PersistentVolumeClaim, error) {
	return bed.Client().CoreV1().PersistentVolumeClaims(testbed.VMNamespace).Get(ctx, name, metav1.GetOptions{})
}

// provision makes the volume of a claim and binds it, as a provisioner and the volume controller do.
func provision(ctx context.Context, bed *testbed.Testbed, name string) {
	ginkgo.GinkgoHelper()
	claims := bed.Client().CoreV1().PersistentVolumeClaims(testbed.VMNamespace)
	claim, err := claimOf(ctx, bed, name)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "volume-of-" + name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: claim.Spec.Resources.Requests, AccessModes: claim.Spec.AccessModes, StorageClassName: slowClass,
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/nonexistent"}},
			ClaimRef:               &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
		},
	}
	volume, err = bed.Client().CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	volume.Status.Phase = corev1.VolumeBound
	_, err = bed.Client().CoreV1().PersistentVolumes().UpdateStatus(ctx, volume, metav1.UpdateOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	claim.Spec.VolumeName = volume.Name
	claim.Annotations["pv.kubernetes.io/bind-completed"] = "yes"
	claim, err = claims.Update(ctx, claim, metav1.UpdateOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	claim.Status.Phase = corev1.ClaimBound
	claim.Status.Capacity = claim.Spec.Resources.Requests
	_, err = claims.UpdateStatus(ctx, claim, metav1.UpdateOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
}

var _ = ginkgo.Describe("A new node", ginkgo.Ordered, func() {
	ginkgo.It("is waited for until its first report, and then takes what fits", func(ctx context.Context) {
		bed := startTestbed(ctx, []testbed.Machine{alignedMachine("y1", "2 sockets x 1 numa x 4 cores x 2 threads", "0,8")})
		agent := bed.Nodes["y1"].Agent
		gomega.Expect(agent.Stop()).To(gomega.Succeed())
		_, err := bed.Kubectl(ctx, "delete", "nodecpu", "y1")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		create(ctx, bed, launcherPod("odd", 3, alone), launcherPod("even", 4, alone))
		described(ctx, bed, "odd", "1 node(s) were starting, their first CPU report is awaited")
		described(ctx, bed, "even", "1 node(s) were starting, their first CPU report is awaited")
		gomega.Expect(agent.Restart()).To(gomega.Succeed())
		eventuallyRunning(ctx, bed, []string{"even"}, "y1")
		described(ctx, bed, "odd", "gives whole cores of 2 only")
		gomega.Consistently(ctx, func(g gomega.Gomega) {
			pods, err := podsOf(ctx, bed)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			for i := range pods {
				g.Expect(pods[i].Status.Phase).NotTo(gomega.Equal(corev1.PodFailed), pods[i].Name)
			}
		}).WithTimeout(time.Second).Should(gomega.Succeed())
	})
})
