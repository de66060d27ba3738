// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/cluster"
	"corepin.dev/corepin/test/harness/guest"
	"corepin.dev/corepin/test/harness/process"
	"corepin.dev/corepin/test/harness/simnode"
)

// A bare testbed has a cluster, nodes and the stand-ins for KubeVirt, and nothing of corepin. The test installs that as a
// user does. The controllers of workloads make its pods, and a stock scheduler binds them. Each node runs their
// containers: the binaries as processes, with the container's arguments, the token of the pod, and the file of its
// ConfigMap. Only what two containers on one machine cannot share is replaced: directories and ports.

// workloadControllers make pods of what is installed.
var workloadControllers = []string{"deployment-controller", "replicaset-controller", "daemonset-controller", "job-controller"}

// startStockScheduler runs a scheduler for pods that name none, as every cluster has it.
func (t *Testbed) startStockScheduler(ctx context.Context) error {
	path, err := t.writeConfig("kube-scheduler", map[string]any{
		"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
		"clientConnection": map[string]any{"kubeconfig": t.AdminKubeconfig()},
		"leaderElection":   map[string]any{"leaderElect": false},
	})
	if err != nil {
		return err
	}
	addresses, err := cluster.FreeAddresses(1)
	if err != nil {
		return err
	}
	scheduler, err := t.StartProcess("kube-scheduler", filepath.Join(t.options.Bin, "corepin-scheduler"),
		"--config="+path, "--authentication-kubeconfig="+t.AdminKubeconfig(), "--authorization-kubeconfig="+t.AdminKubeconfig(), listen(addresses[0])[0], listen(addresses[0])[1])
	if err != nil {
		return err
	}
	return scheduler.Await(ctx, "the stock scheduler to be healthy", startDeadline, func(ctx context.Context) error {
		return healthy(ctx, "https://"+addresses[0]+"/healthz")
	})
}

// listen are a scheduler's flags to listen at an address.
func listen(address string) []string {
	return []string{"--bind-address=127.0.0.1", "--secure-port=" + strings.TrimPrefix(address, "127.0.0.1:")}
}

// awaitReady waits until a node is ready.
func (t *Testbed) awaitReady(ctx context.Context, name string) error {
	return await.For(ctx, "node "+name+" to be ready", startDeadline, func(ctx context.Context) error {
		node, err := t.Client().CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		return ready(node)
	})
}

// container is a process in place of a container.
type container struct {
	*process.Process
	done   <-chan struct{}
	cancel context.CancelFunc
}

// Done is closed when the container has ended for good.
func (c *container) Done() <-chan struct{} { return c.done }

// Stop ends the process and its probe.
func (c *container) Stop(context.Context) error {
	c.cancel()
	return c.Process.Stop()
}

// runContainer runs the first container of a pod of corepin's; nil where the pod has another image.
func (t *Testbed) runContainer(ctx context.Context, machine Machine, sim *simnode.Node, pod *corev1.Pod) (guest.Guest, error) {
	image, _, _ := strings.Cut(path.Base(pod.Spec.Containers[0].Image), ":")
	if image != "corepin-scheduler" && image != "corepin-agent" {
		return nil, nil
	}
	addresses, err := cluster.FreeAddresses(1)
	if err != nil {
		return nil, err
	}
	flags, err := t.flagsOf(ctx, machine, sim, pod, addresses[0])
	if err != nil {
		return nil, fmt.Errorf("running pod %s: %w", pod.Name, err)
	}
	inner, cancel := context.WithCancel(t.inner)
	c := &container{done: inner.Done(), cancel: cancel}
	command := process.Command{Name: pod.Name, Path: "setpriv", Logs: filepath.Dir(t.LogFile("")),
		Args: slices.Concat(privilegesOf(pod), []string{"env"}, environmentOf(pod), []string{filepath.Join(t.options.Bin, image)}, flags)}
	once := pod.Spec.RestartPolicy == corev1.RestartPolicyNever
	if !once {
		command.Again = func(err error) { t.noteRestart(pod.Name, err) }
	}
	if c.Process, err = process.Start(command); err != nil {
		cancel()
		return nil, err
	}
	if once {
		c.done = c.Exited()
	}
	if probe := pod.Spec.Containers[0].ReadinessProbe; probe != nil {
		scheme := strings.ToLower(string(probe.HTTPGet.Scheme))
		t.group.Go(func() {
			t.probes.watch(inner, c.Process, pod, scheme+"://"+addresses[0]+probe.HTTPGet.Path, t.options.ProbePeriod)
		})
	}
	return c, nil
}

// LogFile is the log of the container of a pod.
func (t *Testbed) LogFile(pod string) string {
	return filepath.Join(t.options.Dir, "cluster", "logs", pod+".log")
}

// flagsOf are the arguments of a container, with the files and the address that stand for its own.
func (t *Testbed) flagsOf(ctx context.Context, machine Machine, sim *simnode.Node, pod *corev1.Pod, address string) ([]string, error) {
	kubeconfig, err := t.PodKubeconfig(ctx, pod)
	if err != nil {
		return nil, err
	}
	config, err := t.mountedConfig(ctx, pod)
	if err != nil {
		return nil, err
	}
	own := []string{"--kubeconfig=" + kubeconfig}
	switch {
	case config == nil:
	case config["kind"] == "KubeSchedulerConfiguration":
		config["clientConnection"] = map[string]any{"kubeconfig": kubeconfig}
		own = append(listen(address), "--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig)
	default:
		if err := setAgent(config, machine, sim, address); err != nil {
			return nil, err
		}
	}
	file, err := t.writeConfig(pod.Name, config)
	if err != nil {
		return nil, err
	}
	var flags []string
	for _, flag := range pod.Spec.Containers[0].Args {
		switch {
		case strings.HasPrefix(flag, "--config="):
			flag = "--config=" + file
		case strings.HasPrefix(flag, "--secure-port="):
			continue
		}
		flags = append(flags, strings.ReplaceAll(flag, "$(NODE_NAME)", pod.Spec.NodeName))
	}
	return append(flags, own...), nil
}

// mountedConfig is the configuration file in the ConfigMap that a pod mounts; nil where it mounts none.
func (t *Testbed) mountedConfig(ctx context.Context, pod *corev1.Pod) (map[string]any, error) {
	for _, volume := range pod.Spec.Volumes {
		if volume.ConfigMap == nil {
			continue
		}
		configMap, err := t.Client().CoreV1().ConfigMaps(pod.Namespace).Get(ctx, volume.ConfigMap.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		config := map[string]any{}
		if err := yaml.UnmarshalStrict([]byte(configMap.Data["config.yaml"]), &config); err != nil {
			return nil, fmt.Errorf("reading config.yaml of ConfigMap %s: %w", configMap.Name, err)
		}
		return config, nil
	}
	return nil, nil
}
