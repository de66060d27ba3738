// SPDX-License-Identifier: Apache-2.0

package story

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/test/harness/testbed"
)

// checkpoint is cpu_manager_state as far as every version of it agrees.
type checkpoint struct {
	PolicyName    string                       `json:"policyName"`
	DefaultCPUSet string                       `json:"defaultCpuSet"`
	Entries       map[string]map[string]string `json:"entries"`
}

func readCheckpoint(kubeletRoot string) (checkpoint, error) {
	var state checkpoint
	data, err := os.ReadFile(filepath.Join(kubeletRoot, "cpu_manager_state"))
	if err != nil {
		return state, fmt.Errorf("reading the kubelet's checkpoint: %w", err)
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return state, fmt.Errorf("reading the kubelet's checkpoint: %w", err)
	}
	return state, nil
}

var pinElement = regexp.MustCompile(`<vcpupin vcpu='(\d+)' cpuset='([^']+)'/>`)

// virshPins asks libvirt, with virsh, where a VM's vCPUs are pinned. virsh vcpupin would list those that can be plugged in too.
func virshPins(ctx context.Context, node *testbed.Node, pod *corev1.Pod) ([]Pin, error) {
	output, err := virsh(ctx, node, pod, "dumpxml")
	if err != nil {
		return nil, err
	}
	var pins []Pin
	for _, match := range pinElement.FindAllStringSubmatch(output, -1) {
		vcpu, err := strconv.Atoi(match[1])
		if err != nil {
			return nil, err
		}
		pins = append(pins, Pin{VCPU: vcpu, CPUs: match[2]})
	}
	if len(pins) == 0 {
		return nil, fmt.Errorf("libvirt has no vCPU of %s pinned: %q", pod.Name, output)
	}
	return pins, nil
}

// virsh runs a command on the domain of a launcher pod's libvirtd. A socket's address holds 107 bytes, and the
// path of an emptyDir is longer: virsh is given a link to it.
func virsh(ctx context.Context, node *testbed.Node, pod *corev1.Pod, command string, args ...string) (string, error) {
	short, err := os.MkdirTemp("", "virsh-")
	if err != nil {
		return "", fmt.Errorf("making a short path for virsh: %w", err)
	}
	defer os.RemoveAll(short)
	link := filepath.Join(short, "run")
	if err := os.Symlink(socketDir(node, pod), link); err != nil {
		return "", fmt.Errorf("making a short path for virsh: %w", err)
	}
	driver := "qemu+unix:///session"
	if node.GuestURI != "" {
		driver = "test+unix:///default"
	}
	l, _ := launcher.Of(pod)
	words := append([]string{"--connect", driver + "?socket=" + link + "/virtqemud-sock", command, launcher.DomainName(l.VMI)}, args...)
	output, err := exec.CommandContext(ctx, "virsh", words...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("running virsh %s for pod %s: %w: %s", command, pod.Name, err, output)
	}
	return string(output), nil
}

func socketDir(node *testbed.Node, pod *corev1.Pod) string {
	return filepath.Join(node.Sim.KubeletRootDir(), "pods", string(pod.UID), "volumes", "kubernetes.io~empty-dir", "libvirt-runtime")
}

// vcpuThreads reads from /proc the vCPU threads of a QEMU process, which must run that domain.
func vcpuThreads(pid int, domain string) ([]Thread, error) {
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(command), "guest="+domain+",") {
		return nil, fmt.Errorf("process %d does not run guest %s: %q (%v)", pid, domain, command, err)
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return nil, fmt.Errorf("listing the threads of QEMU: %w", err)
	}
	var threads []Thread
	for _, task := range tasks {
		name, err := os.ReadFile(filepath.Join(task, "comm"))
		if err != nil || !strings.HasPrefix(string(name), "CPU ") {
			continue // a thread may end while we look; a missing vCPU is the caller's to notice
		}
		status, err := os.ReadFile(filepath.Join(task, "status"))
		if err != nil {
			return nil, fmt.Errorf("reading a vCPU thread: %w", err)
		}
		tid, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			return nil, fmt.Errorf("reading a vCPU thread: %w", err)
		}
		threads = append(threads, Thread{TID: tid, Name: strings.TrimSpace(string(name)), CPUs: statusField(string(status), "Cpus_allowed_list:")})
	}
	slices.SortFunc(threads, func(a, b Thread) int { return strings.Compare(a.Name, b.Name) })
	if len(threads) == 0 {
		return nil, fmt.Errorf("QEMU process %d of %s has no vCPU thread", pid, domain)
	}
	return threads, nil
}

func statusField(status, key string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// topology is a node's machine: the one it was made with, or what its agent read of this machine.
func (s *Story) topology(node string) *cputopology.Topology {
	if machine := s.bed.Nodes[node].Topology; machine != nil {
		return machine
	}
	report, err := s.bed.Report(context.Background(), node)
	if err != nil {
		return &cputopology.Topology{}
	}
	machine, err := nodereport.Topology(&report.Status)
	if err != nil {
		return &cputopology.Topology{}
	}
	return machine
}

// checkPins tells what is wrong with a VM's pins: each vCPU on one CPU of its own, among those granted.
func checkPins(pins []Pin, granted cpuset.Set) error {
	var used cpuset.Set
	for _, pin := range pins {
		cpus, err := cpuset.Parse(pin.CPUs)
		if err != nil {
			return err
		}
		if cpus.Len() != 1 || !cpus.SubsetOf(granted) || cpus.Overlaps(used) {
			return fmt.Errorf("vCPU %d is on %s; granted %s, taken by other vCPUs %q", pin.VCPU, cpus, granted, used)
		}
		used = used.Union(cpus)
	}
	return nil
}
