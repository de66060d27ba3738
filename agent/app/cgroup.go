// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/agent/cgroup"
	"corepin.dev/corepin/pkg/cpuset"
)

// cpusets reads containers' cpusets. Where the mount has no cgroups of a kubelet, it logs so once.
type cpusets struct {
	*cgroup.Reader
	dir    string
	logger klog.Logger
	once   sync.Once
}

// newCPUSets gives the cpusets of the cgroup file system that is mounted at dir.
func newCPUSets(ctx context.Context, dir string) *cpusets {
	return &cpusets{Reader: cgroup.New(dir), dir: dir, logger: klog.FromContext(ctx)}
}

// CPUs gives the CPUs that a container may use.
func (c *cpusets) CPUs(pod *corev1.Pod, container string) (cpuset.Set, bool, error) {
	cpus, known, err := c.Reader.CPUs(pod, container)
	missing := c.Missing()
	if missing != nil {
		c.once.Do(func() {
			c.logger.Error(missing, "the kubelet's cgroups are not found", "cgroupDir", c.dir)
		})
	}
	return cpus, known, err
}
