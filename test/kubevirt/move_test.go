// SPDX-License-Identifier: Apache-2.0

//go:build system

package kubevirt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/launcherpod"
	"corepin.dev/corepin/test/harness/await"
)

const moves = "moves"

var _ = ginkgo.Describe("a running VM", ginkgo.Ordered, ginkgo.ContinueOnFailure, func() {
	var table string
	ginkgo.BeforeAll(func(ctx context.Context) { namespace(ctx, moves) })
	ginkgo.It("gets a target on another node when it is migrated", func(ctx context.Context) {
		began := time.Now()
		apply(ctx, "{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: moved, namespace: moves}, spec: "+dedicated+"}")
		awaitPhase(ctx, moves, "moved", "Running", "")
		vmi, source := awaitPod(ctx, moves, "moved", "")
		apply(ctx, "{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstanceMigration, metadata: {name: move, namespace: moves}, spec: {vmiName: moved}}")
		target := awaitTarget(ctx, vmi, source)
		expectLikeStandIn(ctx, "moved", source, target)
		cpus := expectGranted(ctx, target, 2)
		gomega.Expect(launcher.RoleOf(target)).To(gomega.Equal(launcher.MigrationTarget))
		table += fmt.Sprintf("migration: %s to %s, CPUs %s there, %s\n", source.Spec.NodeName, target.Spec.NodeName, cpus, seconds(began))
	})
	ginkgo.It("gets a larger target when CPUs are plugged in", func(ctx context.Context) {
		began := time.Now()
		apply(ctx, `{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: grows, namespace: moves}, spec: {runStrategy: Always,
 template: {spec: {schedulerName: corepin, terminationGracePeriodSeconds: 0,
  domain: {cpu: {sockets: 1, cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 128Mi}, devices: {}}}}}}`)
		awaitPhase(ctx, moves, "grows", "Running", "")
		vmi, source := awaitPod(ctx, moves, "grows", "")
		expectGranted(ctx, source, 2)
		patch := []byte(`{"spec": {"template": {"spec": {"domain": {"cpu": {"sockets": 2}}}}}}`)
		_, err := bed.Dynamic().Resource(virtualMachines).Namespace(moves).Patch(ctx, "grows", types.MergePatchType, patch, metav1.PatchOptions{})
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		target := awaitTarget(ctx, vmi, source)
		expectLikeStandIn(ctx, "grows", source, target)
		cpus := expectGranted(ctx, target, 4)
		plugged, ok := launcher.Plugged(source, target)
		gomega.Expect(ok).To(gomega.BeTrue())
		gomega.Expect(plugged).To(gomega.Equal(2))
		table += fmt.Sprintf("CPU hotplug: %s to %s, CPUs %s there, %s\n", source.Spec.NodeName, target.Spec.NodeName, cpus, seconds(began))
	})
	ginkgo.It("gets a pod for a volume that is plugged in, on its node", func(ctx context.Context) {
		apply(ctx, `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: disk, namespace: moves},
 spec: {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Gi}}, volumeName: disk}}`)
		apply(ctx, `{apiVersion: v1, kind: PersistentVolume, metadata: {name: disk}, spec: {accessModes: [ReadWriteOnce], storageClassName: none,
 capacity: {storage: 1Gi}, hostPath: {path: /nowhere}, claimRef: {name: disk, namespace: moves}}}`)
		ginkgo.DeferCleanup(func(ctx context.Context) {
			_, err := bed.Kubectl(ctx, "delete", "persistentvolume", "disk", "--wait=false")
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
		})
		apply(ctx, "{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: plugs, namespace: moves}, spec: {runStrategy: Always, template: {spec: "+dedicated+"}}}")
		awaitPhase(ctx, moves, "plugs", "Running", "")
		vmi, owner := awaitPod(ctx, moves, "plugs", "")
		virtctl(ctx, "addvolume", "plugs", "--volume-name=disk", "--namespace="+moves)
		pod := awaitAttachment(ctx, owner)
		gomega.Expect(launcher.RoleOf(pod)).To(gomega.Equal(launcher.Attachment))
		rendered := launcherpod.RenderAttachment(types.NamespacedName{Namespace: moves, Name: "plugs"}, vmi.GetUID(), owner, [2]string{"disk", "disk"})
		rendered.Spec.Containers[0].Image = pod.Spec.Containers[0].Image
		expectAlike("attachment pod", rendered, pod)
		table += fmt.Sprintf("volume hotplug: %s on %s\n", pod.Name, owner.Spec.NodeName)
	})
	ginkgo.AfterAll(func() { report("migration and hotplug", table) })
})

// awaitTarget waits for the bound target of a VMI's migration.
func awaitTarget(ctx context.Context, vmi *unstructured.Unstructured, source *corev1.Pod) *corev1.Pod {
	ginkgo.GinkgoHelper()
	var target *corev1.Pod
	err := await.For(ctx, "a bound target for "+vmi.GetName(), deadline, func(ctx context.Context) error {
		pods, err := podsOf(ctx, vmi)
		if err != nil {
			return err
		}
		for i := range pods {
			if pods[i].UID != source.UID && pods[i].Spec.NodeName != "" {
				target = &pods[i]
				return nil
			}
		}
		list, err := bed.Dynamic().Resource(migrations).Namespace(vmi.GetNamespace()).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		var states []string
		for _, m := range list.Items {
			states = append(states, fmt.Sprintf("%s %v", m.GetName(), m.Object["status"]))
		}
		return fmt.Errorf("%d pods; migrations: %s", len(pods), strings.Join(states, "; "))
	})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(target.Spec.NodeName).NotTo(gomega.Equal(source.Spec.NodeName))
	return target
}

// writtenSince are labels that virt-controller writes on a VMI once the target of its migration is there, which then has none.
var writtenSince = []string{"kubevirt.io/migrationTargetNodeName", "kubevirt.io/vmi-pod-cpu-resource-limits"}

// expectLikeStandIn compares a migration's target with what the stand-in makes of the VMI as it is now: KubeVirt has changed it for the
// migration.
func expectLikeStandIn(ctx context.Context, name string, source, target *corev1.Pod) {
	ginkgo.GinkgoHelper()
	vmi, err := vmiOf(ctx, moves, name)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	labels := vmi.GetLabels()
	for _, label := range writtenSince {
		if _, ok := target.Labels[label]; !ok {
			delete(labels, label)
		}
	}
	vmi.SetLabels(labels)
	node, err := bed.Client().CoreV1().Nodes().Get(ctx, source.Spec.NodeName, metav1.GetOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	migration := launcherpod.Migration{Name: target.Annotations["kubevirt.io/migrationJobName"], UID: types.UID(target.Labels["kubevirt.io/migrationJobUID"])}
	rendered, err := launcherpod.RenderTarget(vmi, migration, node.Labels, source)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	expectAlike("target of "+name, rendered, target)
}

func awaitAttachment(ctx context.Context, owner *corev1.Pod) *corev1.Pod {
	ginkgo.GinkgoHelper()
	var pod *corev1.Pod
	err := await.For(ctx, "an attachment pod for "+owner.Name, deadline, func(ctx context.Context) error {
		list, err := bed.Client().CoreV1().Pods(owner.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "kubevirt.io=hotplug-disk"})
		if err != nil {
			return err
		}
		for i := range list.Items {
			if metav1.IsControlledBy(&list.Items[i], owner) {
				pod = &list.Items[i]
				return nil
			}
		}
		return errors.New("there is none")
	})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return pod
}
