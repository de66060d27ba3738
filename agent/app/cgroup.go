package app

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/agent/cgroup"
	"corepin.dev/corepin/pkg/cpuset"
)

// cpusets reads containers' cpusets below dir. Where that mount has no cgroups of a kubelet, it logs so once.
func cpusets(ctx context.Context, dir string) func(pod *corev1.Pod, container string) (cpuset.Set, bool, error) {
	reader := cgroup.New(dir)
	var once sync.Once
	return func(pod *corev1.Pod, container string) (cpuset.Set, bool, error) {
		cpus, known, err := reader.CPUs(pod, container)
		if missing := reader.Missing(); missing != nil {
			once.Do(func() {
				klog.FromContext(ctx).Error(missing, "the kubelet's cgroups are not found", "cgroupDir", dir)
			})
		}
		return cpus, known, err
	}
}
