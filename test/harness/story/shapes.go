// SPDX-License-Identifier: Apache-2.0

package story

// OldShapes are ways to write a dedicated VM that KubeVirt accepts, by the part of spec that says so. Each is tried without a
// scheduler's name and with corepin's.
var OldShapes = map[string]string{
	"cores":             `{domain: {cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"limits":            `{domain: {cpu: {dedicatedCpuPlacement: true}, resources: {limits: {cpu: 2, memory: 64Mi}}}}`,
	"requests":          `{domain: {cpu: {dedicatedCpuPlacement: true}, resources: {requests: {cpu: 2, memory: 64Mi}}}}`,
	"both-amounts":      `{domain: {cpu: {dedicatedCpuPlacement: true}, resources: {requests: {cpu: 2, memory: 64Mi}, limits: {cpu: 2, memory: 64Mi}}}}`,
	"given-twice":       `{domain: {cpu: {cores: 2, dedicatedCpuPlacement: true}, resources: {limits: {cpu: 2, memory: 64Mi}}}}`,
	"all-given-twice":   `{domain: {cpu: {sockets: 1, cores: 2, threads: 1, maxSockets: 1, dedicatedCpuPlacement: true}, memory: {guest: 60Mi}, resources: {requests: {cpu: 2, memory: 64Mi}, limits: {cpu: 2, memory: 64Mi}}}}`,
	"two-threads":       `{domain: {cpu: {cores: 1, threads: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"no-number":         `{domain: {cpu: {dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"a-billionth-short": `{domain: {cpu: {dedicatedCpuPlacement: true}, resources: {limits: {cpu: 1999999999n, memory: 64Mi}}}}`,
	"less-requested":    `{domain: {cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 128Mi}, resources: {requests: {memory: 64Mi}}}}`,
	"less-allowed":      `{domain: {cpu: {cores: 2, dedicatedCpuPlacement: true}, memory: {guest: 128Mi}, resources: {limits: {memory: 64Mi}}}}`,
	"isolated":          `{domain: {cpu: {cores: 2, isolateEmulatorThread: true, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}`,
	"io-threads":        `{domain: {cpu: {cores: 2, dedicatedCpuPlacement: true}, ioThreadsPolicy: supplementalPool, ioThreads: {supplementalPoolThreadCount: 1}, memory: {guest: 64Mi}}}`,
	"idle-io-threads":   `{domain: {cpu: {cores: 2, dedicatedCpuPlacement: true}, ioThreads: {supplementalPoolThreadCount: 1}, memory: {guest: 64Mi}}}`,
	"overcommitted":     `{domain: {cpu: {cores: 2, dedicatedCpuPlacement: true}, resources: {overcommitGuestOverhead: true, limits: {memory: 64Mi}}}}`,
}

// NeverExclusive are shapes whose pods no kubelet gives exclusive CPUs. corepin's scheduler does not bind them, and where a VM
// names it that is as it was before the policies.
var NeverExclusive = map[string]bool{"overcommitted": true}
