// SPDX-License-Identifier: Apache-2.0

package kubelet134

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"

	"corepin.dev/corepin/test/conformance/kubelet136/adapter"
	"corepin.dev/corepin/test/conformance/kubelet136/difftest"
	"corepin.dev/corepin/test/conformance/kubelet136/plugin"
)

var kubelet = adapter.Version{
	Minor: 34, Folder: "test/conformance/kubelet134",
	Admission: func(pod *corev1.Pod, others []*corev1.Pod) *lifecycle.PodAdmitAttributes {
		return &lifecycle.PodAdmitAttributes{Pod: pod, OtherPods: others}
	},
}.Kubelet()

func TestMain(m *testing.M) {
	plugin.OwnFolder()
	difftest.Main(m)
}

func TestRandomScenarios(t *testing.T) { kubelet.TestRandom(t) }
func TestScenarios(t *testing.T)       { kubelet.TestFiles(t) }
func TestQOS(t *testing.T)             { kubelet.TestQOS(t) }
func TestFit(t *testing.T)             { kubelet.TestFit(t) }
func TestMerge(t *testing.T)           { kubelet.TestMerge(t) }
func TestTraffic(t *testing.T)         { kubelet.TestTraffic(t) }
func TestMemory(t *testing.T)          { kubelet.TestMemory(t) }
func TestExclusive(t *testing.T)       { kubelet.TestExclusive(t) }
func TestReserved(t *testing.T)        { kubelet.TestReserved(t) }

func BenchmarkAdmit(b *testing.B) { kubelet.BenchmarkAdmit(b) }
