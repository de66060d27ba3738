// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/cpuset"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/process"
	"corepin.dev/corepin/test/harness/testbed"
)

// restLimit is how long it may take after the last fault until everything is as it should be.
const restLimit = 3 * time.Minute

// finish waits until everything that runs is right, with the VMs that there are.
func (w *watch) finish(ctx context.Context, world *world) {
	began := time.Now()
	err := await.Every(ctx, time.Second, "everything to be pinned and reported", restLimit, func(ctx context.Context) error {
		return world.settled(ctx)
	})
	if err != nil {
		w.violated("at rest everything is pinned and reported", "%v", err)
		return
	}
	fmt.Printf("%6.0fs  everything is pinned and reported, %.1fs after the last fault\n", time.Since(w.began).Seconds(), time.Since(began).Seconds())
}

// settled is what keeps the world from rest.
func (w *world) settled(ctx context.Context) error {
	pods, err := w.bed.Client().CoreV1().Pods(testbed.VMNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	running := 0
	for i := range pods.Items {
		pod := &pods.Items[i]
		switch {
		case pod.Spec.NodeName == hostileNode || w.isHostile(pod):
			continue
		case pod.DeletionTimestamp != nil:
			return fmt.Errorf("pod %s is being deleted", pod.Name)
		case pod.Status.Phase == corev1.PodFailed || pod.Spec.NodeName == "":
			continue
		case pod.Status.Phase != corev1.PodRunning:
			return fmt.Errorf("pod %s is bound to %s and %s", pod.Name, pod.Spec.NodeName, pod.Status.Phase)
		}
		running++
		if err := w.pinned(ctx, pod); err != nil {
			return err
		}
	}
	for _, node := range w.names {
		if err := w.reported(ctx, node); err != nil {
			return err
		}
	}
	w.watch.count("VMs that ran at the end", nil)
	w.watch.mu.Lock()
	w.watch.counts["VMs that ran at the end"] = running
	w.watch.mu.Unlock()
	return nil
}

// pinned asks libvirt, where there is one: every vCPU on one CPU of those that the kubelet granted, none on two.
func (w *world) pinned(ctx context.Context, pod *corev1.Pod) error {
	node := w.bed.Nodes[pod.Spec.NodeName]
	if node == nil || node.GuestURI == "" {
		return nil
	}
	c, err := readCheckpoint(w, node.Name)
	if err != nil {
		return err
	}
	granted, err := cpuset.Parse(c.Entries[string(pod.UID)]["compute"])
	if err != nil {
		return err
	}
	// A socket's address has room for 107 bytes.
	link := filepath.Join(os.TempDir(), "corepin-soak-"+string(pod.UID)[:8])
	if err := os.Symlink(filepath.Join(node.Sim.KubeletRootDir(), "pods", string(pod.UID), "volumes", "kubernetes.io~empty-dir", "libvirt-runtime"), link); err != nil {
		return err
	}
	defer os.Remove(link)
	output, err := exec.CommandContext(ctx, "virsh", "--connect", "test+unix:///default?socket="+link+"/virtqemud-sock", "dumpxml", "vms_"+pod.Annotations["kubevirt.io/domain"]).CombinedOutput()
	if err != nil {
		return fmt.Errorf("asking the libvirt of %s: %w: %s", pod.Name, err, output)
	}
	used := cpuset.New()
	matches := regexp.MustCompile(`<vcpupin vcpu='(\d+)' cpuset='([^']+)'/>`).FindAllStringSubmatch(string(output), -1)
	if int64(len(matches)) != computeCPUs(pod) {
		return fmt.Errorf("%d of %d vCPUs of %s are pinned", len(matches), computeCPUs(pod), pod.Name)
	}
	for _, match := range matches {
		cpus, err := cpuset.Parse(match[2])
		if err != nil || cpus.Size() != 1 || !cpus.IsSubsetOf(granted) || !cpus.Intersection(used).IsEmpty() {
			return fmt.Errorf("vCPU %s of %s is on %s, granted are %s (%v)", match[1], pod.Name, match[2], granted, err)
		}
		used = used.Union(cpus)
	}
	return nil
}

// reported: the node's report is exact, and says of grants what the kubelet's checkpoint says.
func (w *world) reported(ctx context.Context, node string) error {
	report, err := w.bed.Report(ctx, node)
	if err != nil {
		return err
	}
	if !meta.IsStatusConditionTrue(report.Status.Conditions, v1alpha1.ConditionExact) {
		return fmt.Errorf("the report of %s is not exact: %+v", node, report.Status.Conditions)
	}
	c, err := readCheckpoint(w, node)
	if err != nil {
		return err
	}
	says := map[string]string{}
	for _, pod := range report.Status.Granted {
		for _, container := range pod.Containers {
			says[string(pod.PodUID)+"/"+container.Name] = container.CPUs
		}
	}
	is := map[string]string{}
	for uid, containers := range c.Entries {
		for name, cpus := range containers {
			is[uid+"/"+name] = cpus
		}
	}
	if !maps.Equal(says, is) || report.Status.SharedCPUs != c.Shared {
		return fmt.Errorf("the report of %s says %v, shared %s; its kubelet's checkpoint says %v, shared %s", node, says, report.Status.SharedCPUs, is, c.Shared)
	}
	return nil
}

// figures are the counts of a process at rest, by its name.
type figures map[string]figure

type figure struct{ goroutines, descriptors, rss int }

// String is for the table.
func (f figure) String() string {
	return fmt.Sprintf("%d goroutines %d fds %d MiB", f.goroutines, f.descriptors, f.rss>>20)
}

// atRest deletes all VMs, waits until nothing is left of them, and measures.
func (w *world) atRest(ctx context.Context) (figures, error) {
	vmis := w.bed.Dynamic().Resource(testbed.VMIs).Namespace(testbed.VMNamespace)
	err := await.Every(ctx, time.Second, "every VM to be gone and every process to be calm", restLimit, func(ctx context.Context) error {
		if err := vmis.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			return err
		}
		pods, err := w.bed.Client().CoreV1().Pods(testbed.VMNamespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(pods.Items) > 0 {
			return fmt.Errorf("%d pods are left, one of them %s on %q", len(pods.Items), pods.Items[0].Name, pods.Items[0].Spec.NodeName)
		}
		for _, node := range w.names {
			report, err := w.bed.Report(ctx, node)
			if err != nil {
				return err
			}
			if len(report.Status.Granted) > 0 {
				return fmt.Errorf("the report of %s has %d grants", node, len(report.Status.Granted))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	pause(ctx, 10*time.Second) // connections to guests that are gone end
	all := figures{}
	for _, name := range slices.Concat(schedulerNames, w.agentNames()) {
		f, err := w.measure(ctx, w.bed.Process(name))
		if err != nil {
			return all, err
		}
		all[name] = f
	}
	return all, nil
}

func (w *world) measure(ctx context.Context, p *process.Process) (f figure, err error) {
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID()))
	if err != nil {
		return f, err
	}
	f.descriptors = len(descriptors)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return f, err
	}
	if match := regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`).FindSubmatch(status); match != nil {
		kib, _ := strconv.Atoi(string(match[1])) // digits
		f.rss = kib << 10
	}
	metrics, err := w.scrape(ctx, p)
	if err != nil {
		return f, err
	}
	match := regexp.MustCompile(`(?m)^go_goroutines (\d+)$`).FindStringSubmatch(metrics)
	if match == nil {
		return f, fmt.Errorf("%s has no go_goroutines among its metrics", p.Name())
	}
	f.goroutines, err = strconv.Atoi(match[1])
	return f, err
}

// scrape reads a process's metrics: a scheduler's with the admin's certificate, an agent's with nothing.
func (w *world) scrape(ctx context.Context, p *process.Process) (string, error) {
	arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID()))
	if err != nil {
		return "", fmt.Errorf("reading the arguments of %s: %w", p.Name(), err)
	}
	config := w.bed.AdminConfig()
	config.Insecure = true // its certificate is of its own making
	config.CAData = nil
	config.CAFile = ""
	if port := regexp.MustCompile(`--secure-port=(\d+)`).FindSubmatch(arguments); port != nil {
		config.Host = "https://127.0.0.1:" + string(port[1])
	} else {
		text, err := os.ReadFile(filepath.Join(w.options.dir, p.Name()+".yaml"))
		if err != nil {
			return "", err
		}
		address := regexp.MustCompile(`(?m)^\s+address: (127\.0\.0\.1:\d+)$`).FindSubmatch(text)
		if address == nil {
			return "", fmt.Errorf("the configuration of %s names no address to serve on", p.Name())
		}
		return get(ctx, "http://"+string(address[1])+"/metrics")
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", err
	}
	data, err := client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	return string(data), err
}

func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// The growth that is no leak: connections in a pool, and the goroutines that serve them.
const (
	moreGoroutines  = 20
	moreDescriptors = 10
	moreBytes       = 64 << 20
)

func compareFigures(w *watch, start, end figures) {
	for name, before := range start {
		after, measured := end[name]
		if !measured {
			continue // why was said before
		}
		if after.goroutines > before.goroutines+moreGoroutines || after.descriptors > before.descriptors+moreDescriptors || after.rss > before.rss+moreBytes {
			w.violated("nothing grows", "%s had %s at the start, and has %s", name, before, after)
		}
	}
}
