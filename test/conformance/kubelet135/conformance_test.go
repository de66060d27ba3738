// SPDX-License-Identifier: Apache-2.0

package kubelet135

import (
	"testing"

	"corepin.dev/corepin/test/conformance/kubelet136/difftest"
	"corepin.dev/corepin/test/conformance/kubelet136/plugin"
)

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
