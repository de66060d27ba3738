// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/test/harness/cluster"
	"corepin.dev/corepin/test/harness/process"
	"corepin.dev/corepin/test/harness/simnode"
)

func (t *Testbed) writeConfig(name string, config map[string]any) (string, error) {
	data, err := yaml.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("encoding the configuration of %s: %w", name, err)
	}
	path := filepath.Join(t.options.Dir, name+".yaml")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return "", fmt.Errorf("writing the configuration of %s: %w", name, err)
	}
	return path, nil
}

// startScheduler runs corepin-scheduler with the shipped configuration and waits until it leads.
func (t *Testbed) startScheduler(ctx context.Context) error {
	var err error
	if t.Scheduler, err = t.RunScheduler(ctx, t.process("corepin-scheduler"), nil); err != nil {
		return err
	}
	return t.Scheduler.Await(ctx, "corepin-scheduler to lead", startDeadline, func(ctx context.Context) error {
		lease, err := t.Client().CoordinationV1().Leases(SystemNamespace).Get(ctx, "corepin-scheduler", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
			return errors.New("nobody holds lease corepin-scheduler")
		}
		return nil
	})
}

// RunScheduler starts a corepin-scheduler process as its service account, with the shipped configuration;
// change, where it is not nil, changes it first. Several may run at once, as replicas or with other leases.
//
// A leader that was killed keeps its lease until it expires, as in every cluster; the times are made
// shorter here so that a test of that does not wait for 15 s. Options.ShippedLease leaves them: on a busy machine a leader
// with short ones loses its lease.
func (t *Testbed) RunScheduler(ctx context.Context, name string, change func(config map[string]any)) (*process.Process, error) {
	kubeconfig, err := t.ServiceAccountKubeconfig(ctx, SystemNamespace, "corepin-scheduler")
	if err != nil {
		return nil, err
	}
	pod, err := t.deployed(ctx)
	if err != nil {
		return nil, err
	}
	config, err := t.mountedConfig(ctx, pod)
	if err != nil {
		return nil, err
	}
	config["clientConnection"] = map[string]any{"kubeconfig": kubeconfig}
	election, _ := config["leaderElection"].(map[string]any)
	if election == nil || election["leaderElect"] != true {
		return nil, fmt.Errorf("the shipped scheduler configuration has no leader election: %v", config["leaderElection"])
	}
	if !t.options.ShippedLease {
		election["leaseDuration"] = "4s"
		election["renewDeadline"] = "3s"
		election["retryPeriod"] = "500ms"
	}
	t.addArgs(config)
	if change != nil {
		change(config)
	}
	path, err := t.writeConfig(name, config)
	if err != nil {
		return nil, err
	}
	ports, err := cluster.FreeAddresses(1)
	if err != nil {
		return nil, err
	}
	again := func(err error) { t.noteRestart(name, err) }
	flags := append([]string{
		"--config=" + path, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port=" + strings.TrimPrefix(ports[0], "127.0.0.1:"), t.verbosity(),
	}, t.options.SchedulerFlags...)
	return t.StartSupervised(again, name, filepath.Join(t.release.Bin, "corepin-scheduler"), flags...)
}

func (t *Testbed) verbosity() string {
	return fmt.Sprintf("--v=%d", cmp.Or(t.options.Verbosity, 4))
}

// noteRestart says that a program has ended by itself and is started again, as its Deployment would do it: a scheduler that
// loses its Lease ends.
func (t *Testbed) noteRestart(name string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.restarts = append(t.restarts, fmt.Sprintf("%s ended by itself (%v)", name, err))
	fmt.Fprintf(t.options.Log, "%s ended by itself (%v) and is started again\n", name, err)
}

// Restarts are the ends of programs that nobody asked to end, in order.
func (t *Testbed) Restarts() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.restarts)
}

// addArgs adds Options.SchedulerArgs to the plugin's arguments in every profile that gives some.
func (t *Testbed) addArgs(config map[string]any) {
	profiles, _ := config["profiles"].([]any)
	for _, profile := range profiles {
		plugins, _ := profile.(map[string]any)["pluginConfig"].([]any)
		for _, plugin := range plugins {
			args, _ := plugin.(map[string]any)["args"].(map[string]any)
			maps.Copy(args, t.options.SchedulerArgs)
		}
	}
}

// startAgent runs corepin-agent for a node as the pod that the DaemonSet would have there: with the shipped
// configuration, that pod's token, and the capabilities of its container.
func (t *Testbed) startAgent(ctx context.Context, machine Machine, sim *simnode.Node) (*process.Process, error) {
	pod, err := t.AgentPod(ctx, machine.Name)
	if err != nil {
		return nil, err
	}
	config, err := t.mountedConfig(ctx, pod)
	if err != nil {
		return nil, err
	}
	ports, err := cluster.FreeAddresses(1)
	if err != nil {
		return nil, err
	}
	if err := setAgent(config, machine, sim, ports[0]); err != nil {
		return nil, err
	}
	name := t.process("corepin-agent-" + machine.Name)
	path, err := t.writeConfig(name, config)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := t.PodKubeconfig(ctx, pod)
	if err != nil {
		return nil, err
	}
	if t.options.AgentRoute != nil {
		if kubeconfig, err = t.options.AgentRoute(machine.Name, kubeconfig); err != nil {
			return nil, fmt.Errorf("routing the agent of node %s: %w", machine.Name, err)
		}
	}
	command := slices.Concat(privilegesOf(pod), []string{"env"}, environmentOf(pod), t.options.AgentEnv,
		[]string{filepath.Join(t.release.Bin, "corepin-agent"), "--config=" + path, "--kubeconfig=" + kubeconfig, "--node-name=" + machine.Name, t.verbosity()})
	agent, err := t.StartProcess(name, "setpriv", command...)
	if err != nil {
		return nil, err
	}
	t.group.Go(func() { t.probes.watch(t.inner, agent, pod, "http://"+ports[0]+"/readyz", t.options.ProbePeriod) })
	return agent, agent.Await(ctx, name+" to be healthy", startDeadline, func(ctx context.Context) error {
		return healthy(ctx, "http://"+ports[0]+"/healthz")
	})
}

// setAgent puts what is a simulated node's own into an agent's configuration: directories, address and libvirt.
func setAgent(config map[string]any, machine Machine, sim *simnode.Node, address string) error {
	config["kubeletRootDir"] = sim.KubeletRootDir()
	config["sysfsDir"] = sim.SysfsDir()
	config["serving"] = map[string]any{"address": address}
	pinning, _ := config["pinning"].(map[string]any)
	if pinning == nil {
		return fmt.Errorf("the shipped agent configuration has no pinning section: %v", config)
	}
	pinning["libvirtURI"] = machine.GuestURI
	if machine.PinningMode != "" {
		pinning["mode"] = machine.PinningMode
	}
	if machine.CgroupDir != "" {
		pinning["cgroupDir"] = machine.CgroupDir
	}
	return nil
}

// privilegesOf makes setpriv give a process what the pod's container has: its capabilities and no others, and
// no way to more. So whatever works here works with these.
func privilegesOf(pod *corev1.Pod) []string {
	capabilities := "-all"
	for _, capability := range pod.Spec.Containers[0].SecurityContext.Capabilities.Add {
		capabilities += ",+" + strings.ToLower(string(capability))
	}
	return []string{"--bounding-set=" + capabilities, "--no-new-privs", "--"}
}

// environmentOf are the variables of the pod's container that have a fixed value, NAME=value.
func environmentOf(pod *corev1.Pod) []string {
	var all []string
	for _, variable := range pod.Spec.Containers[0].Env {
		if variable.ValueFrom == nil {
			all = append(all, variable.Name+"="+variable.Value)
		}
	}
	return all
}

// AgentPod is the pod of the DaemonSet on a node, made if there is none: the DaemonSet controller's part. The
// agent needs it for what it is, a pod of its node; the process runs beside it.
func (t *Testbed) AgentPod(ctx context.Context, node string) (*corev1.Pod, error) {
	pods := t.Client().CoreV1().Pods(SystemNamespace)
	set, err := t.Client().AppsV1().DaemonSets(SystemNamespace).Get(ctx, "corepin-agent", metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the agents' DaemonSet: %w", err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: set.Name + "-" + node, Labels: set.Spec.Template.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("DaemonSet"))},
		},
		Spec: *set.Spec.Template.Spec.DeepCopy(),
	}
	pod.Spec.NodeName = node
	// The process runs beside the node, so the pod takes no room on it: nodes here are as large as the VMs
	// that are to fill them.
	for i := range pod.Spec.Containers {
		pod.Spec.Containers[i].Resources = corev1.ResourceRequirements{}
	}
	made, err := pods.Create(ctx, pod, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		made, err = pods.Get(ctx, pod.Name, metav1.GetOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("making the agent's pod of node %s: %w", node, err)
	}
	return made, nil
}

// prober does not look at certificates, as a kubelet's probes do not.
var prober = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec

func healthy(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := prober.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}

// PodOf is the launcher pod that the stand-in made for a VMI.
func (t *Testbed) PodOf(ctx context.Context, vmi string) (*corev1.Pod, error) {
	pods, err := t.Client().CoreV1().Pods(VMNamespace).List(ctx, metav1.ListOptions{LabelSelector: "kubevirt.io=virt-launcher"})
	if err != nil {
		return nil, err
	}
	for i, pod := range pods.Items {
		if owner := metav1.GetControllerOf(&pods.Items[i]); owner != nil && owner.Kind == "VirtualMachineInstance" && owner.Name == vmi {
			return &pod, nil
		}
	}
	return nil, fmt.Errorf("VMI %s has no launcher pod among %d", vmi, len(pods.Items))
}

// DeleteVMI removes a VMI and waits until its launcher pod is gone, and the VMI after it: KubeVirt's finalizer keeps it that long.
func (t *Testbed) DeleteVMI(ctx context.Context, name string) error {
	pod, err := t.PodOf(ctx, name)
	if err != nil {
		return err
	}
	if err := t.Dynamic().Resource(VMIs).Namespace(VMNamespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("deleting VMI %s: %w", name, err)
	}
	pods := corev1.SchemeGroupVersion.WithResource("pods")
	if err := t.WaitForGone(ctx, cluster.Ref{Resource: pods, Namespace: VMNamespace, Name: pod.Name}, startDeadline); err != nil {
		return err
	}
	return t.WaitForGone(ctx, cluster.Ref{Resource: VMIs, Namespace: VMNamespace, Name: name}, startDeadline)
}

// ClusterBinary is the path of clusterd, which is kubectl too.
func (t *Testbed) ClusterBinary() string { return filepath.Join(t.options.Bin, "clusterd") }
