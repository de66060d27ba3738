// SPDX-License-Identifier: Apache-2.0

//go:build system

package kubevirt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/testbed"
)

var (
	virtualMachines = schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachines"}
	migrations      = schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstancemigrations"}
	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
)

// namespace makes one for the specs of a container, and removes it after them.
func namespace(ctx context.Context, name string) {
	ginkgo.GinkgoHelper()
	apply(ctx, "{apiVersion: v1, kind: Namespace, metadata: {name: "+name+"}}")
	ginkgo.DeferCleanup(func(ctx context.Context) {
		gomega.Expect(bed.Dynamic().Resource(namespaces).Delete(ctx, name, metav1.DeleteOptions{})).To(gomega.Succeed())
	})
}

func apply(ctx context.Context, manifest string) {
	ginkgo.GinkgoHelper()
	gomega.Expect(bed.Apply(ctx, []byte(manifest))).To(gomega.Succeed())
}

// virtctl runs it as the admin.
func virtctl(ctx context.Context, args ...string) {
	ginkgo.GinkgoHelper()
	command := exec.CommandContext(ctx, programs.Virtctl(), args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+bed.AdminKubeconfig())
	var output bytes.Buffer
	command.Stdout = &output
	command.Stderr = &output
	err := command.Run()
	gomega.Expect(err).NotTo(gomega.HaveOccurred(), "virtctl %s: %s", strings.Join(args, " "), output.String())
	ginkgo.GinkgoWriter.Printf("virtctl %s: %s", strings.Join(args, " "), output.String())
}

func vmiOf(ctx context.Context, namespace, name string) (*unstructured.Unstructured, error) {
	return bed.Dynamic().Resource(testbed.VMIs).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
}

// podsOf are the launcher pods of a VMI.
func podsOf(ctx context.Context, vmi *unstructured.Unstructured) ([]corev1.Pod, error) {
	selector := metav1.ListOptions{LabelSelector: "kubevirt.io/created-by=" + string(vmi.GetUID())}
	list, err := bed.Client().CoreV1().Pods(vmi.GetNamespace()).List(ctx, selector)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// awaitPod waits for the launcher pod of a VMI other than one with the UID before.
func awaitPod(ctx context.Context, namespace, name string, before types.UID) (*unstructured.Unstructured, *corev1.Pod) {
	ginkgo.GinkgoHelper()
	var vmi *unstructured.Unstructured
	var pod *corev1.Pod
	err := await.For(ctx, "the launcher pod of "+name, deadline, func(ctx context.Context) (err error) {
		vmi, err = vmiOf(ctx, namespace, name)
		if err != nil {
			return err
		}
		if vmi.GetUID() == before {
			return errors.New("it is the VMI of before")
		}
		pods, err := podsOf(ctx, vmi)
		if err != nil {
			return err
		}
		if len(pods) != 1 {
			return fmt.Errorf("%d pods; the VMI's status is %v", len(pods), vmi.Object["status"])
		}
		pod = &pods[0]
		return nil
	})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return vmi, pod
}

// awaitPhase waits until a VMI other than one with the UID before is in a phase.
func awaitPhase(ctx context.Context, namespace, name, phase string, before types.UID) *unstructured.Unstructured {
	ginkgo.GinkgoHelper()
	var vmi *unstructured.Unstructured
	err := await.For(ctx, name+" to be "+phase, deadline, func(ctx context.Context) (err error) {
		vmi, err = vmiOf(ctx, namespace, name)
		if err != nil {
			return err
		}
		status, _ := vmi.Object["status"].(map[string]any)
		if status["phase"] != phase || vmi.GetUID() == before {
			return fmt.Errorf("it is %v: %v", status["phase"], status["conditions"])
		}
		return nil
	})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return vmi
}

// awaitGone waits until there is neither VMI nor launcher pod.
func awaitGone(ctx context.Context, vmi *unstructured.Unstructured) {
	ginkgo.GinkgoHelper()
	err := await.For(ctx, vmi.GetName()+" to be gone", deadline, func(ctx context.Context) error {
		current, err := vmiOf(ctx, vmi.GetNamespace(), vmi.GetName())
		if err == nil && current.GetUID() == vmi.GetUID() {
			return fmt.Errorf("the VMI is there: %v", current.Object["status"])
		}
		pods, err := podsOf(ctx, vmi)
		if err != nil {
			return err
		}
		if len(pods) > 0 {
			return fmt.Errorf("pod %s is there", pods[0].Name)
		}
		return nil
	})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
}

// granted are the CPUs that a node's kubelet has given to a container of a pod alone, by the agent's report.
func granted(ctx context.Context, pod *corev1.Pod, container string) (string, error) {
	report, err := bed.Report(ctx, pod.Spec.NodeName)
	if err != nil {
		return "", err
	}
	for _, grant := range report.Status.Granted {
		for _, c := range grant.Containers {
			if grant.PodUID == pod.UID && c.Name == container {
				return c.CPUs, nil
			}
		}
	}
	return "", fmt.Errorf("the report of %s has nothing of container %s in pod %s", pod.Spec.NodeName, container, pod.Name)
}

// expectGranted waits until a launcher pod has so many CPUs of its own, and returns them.
func expectGranted(ctx context.Context, pod *corev1.Pod, cpus int) string {
	ginkgo.GinkgoHelper()
	var list string
	err := await.For(ctx, fmt.Sprintf("%d CPUs for %s", cpus, pod.Name), deadline, func(ctx context.Context) error {
		current, err := bed.Client().CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if current.Spec.NodeName == "" {
			return fmt.Errorf("it has no node: %v", current.Status.Conditions)
		}
		list, err = granted(ctx, current, "compute")
		if err != nil {
			return err
		}
		set, err := cpuset.Parse(list)
		if err != nil {
			return err
		}
		if set.Len() != cpus {
			return fmt.Errorf("it has %s", list)
		}
		return nil
	})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return list
}

// seconds since a moment.
func seconds(began time.Time) string { return fmt.Sprintf("%.1f s", time.Since(began).Seconds()) }

// write keeps a manifest in a file of the specs.
func write(manifest string) string {
	ginkgo.GinkgoHelper()
	file, err := os.CreateTemp(ginkgo.GinkgoT().TempDir(), "*.yaml")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	defer file.Close()
	_, err = file.WriteString(manifest)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return file.Name()
}
