// SPDX-License-Identifier: Apache-2.0

package kubelet138

import (
	"testing"

	"corepin.dev/corepin/test/conformance/kubelet136/difftest"
	"corepin.dev/corepin/test/conformance/kubelet136/plugin"
	"corepin.dev/corepin/test/conformance/kubelet137/adapter"
)

var kubelet = adapter.Kubelet(38, "test/conformance/kubelet138")

func TestMain(m *testing.M) {
	plugin.OwnFolder()
	difftest.Main(m)
}

func TestRandomScenarios(t *testing.T) { kubelet.TestRandom(t) }
func TestScenarios(t *testing.T)       { kubelet.TestFiles(t) }
func TestQOS(t *testing.T)             { kubelet.TestQOS(t) }
func TestShrink(t *testing.T)          { kubelet.TestShrink(t) }
func TestCommand(t *testing.T)         { kubelet.TestCommand(t) }
func TestFit(t *testing.T)             { kubelet.TestFit(t) }
func TestPodLevel(t *testing.T)        { kubelet.TestPodLevel(t) }
func TestMerge(t *testing.T)           { kubelet.TestMerge(t) }
func TestTraffic(t *testing.T)         { kubelet.TestTraffic(t) }
func TestMemory(t *testing.T)          { kubelet.TestMemory(t) }
func TestExclusive(t *testing.T)       { kubelet.TestExclusive(t) }
func TestReserved(t *testing.T)        { kubelet.TestReserved(t) }
func TestInterrupted(t *testing.T)     { kubelet.TestInterrupted(t) }

func BenchmarkAdmit(b *testing.B) { kubelet.BenchmarkAdmit(b) }
