// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubecpuset "k8s.io/utils/cpuset"

	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/guest"
	"corepin.dev/corepin/test/harness/testbed"
)

// guests is how many of the exclusive pods are launcher pods whose guests run.
const guests = 50

// launchers are the guests of the node. One libvirtd with libvirt's test driver serves all of them, each at a socket in its own pod:
// what the agent does is the same, and the machine need not have the CPUs. It is a libvirtd of its own for each in a cluster.
type launchers struct {
	server *guest.Server
	pods   []*corev1.Pod
	// uri is the driver with its domains in a file, of which each connection has a copy.
	uri     string
	cgroups string
}

// newLaunchers makes the VMs and binds the pods that the stand-in for virt-controller makes of them.
func newLaunchers(ctx context.Context, bed *testbed.Testbed, dir string) (*launchers, error) {
	l := &launchers{cgroups: filepath.Join(dir, "cgroup")}
	var all strings.Builder
	for i := range guests {
		fmt.Fprintf(&all, "{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: vm-%d, namespace: %s}, spec: {schedulerName: nobody, tolerations: [{operator: Exists}], "+
			"domain: {devices: {}, cpu: {cores: 1, threads: 2, dedicatedCpuPlacement: true}, memory: {guest: 64Mi}}}}\n---\n", i, testbed.VMNamespace)
	}
	if err := bed.Apply(ctx, []byte(all.String())); err != nil {
		return nil, err
	}
	var made *corev1.PodList
	err := await.For(ctx, "the launcher pods", settle, func(ctx context.Context) (err error) {
		made, err = bed.Client().CoreV1().Pods(testbed.VMNamespace).List(ctx, metav1.ListOptions{LabelSelector: "kubevirt.io=virt-launcher"})
		if err == nil && len(made.Items) != guests {
			err = fmt.Errorf("%d of %d", len(made.Items), guests)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range made.Items {
		pod := &made.Items[i]
		l.pods = append(l.pods, pod)
		binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: nodeName}}
		if err := bed.Client().CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
			return nil, fmt.Errorf("binding %s: %w", pod.Name, err)
		}
	}
	return l, nil
}

// start starts the libvirtd, and puts its socket and the containers' cgroups where the agent looks. The cores are those of the pods.
func (l *launchers) start(ctx context.Context, bed *testbed.Testbed, kubeletRoot string, cores []kubecpuset.CPUSet) error {
	if err := l.serve(); err != nil {
		return err
	}
	for i, pod := range l.pods {
		id := fmt.Sprintf("%064x", i)
		status := fmt.Sprintf(`{"status":{"phase":"Running","startTime":%q,"containerStatuses":[{"name":"compute","ready":true,"started":true,"image":"i","imageID":"i","containerID":"containerd://%s","state":{"running":{"startedAt":%[1]q}}}]}}`,
			time.Now().UTC().Format(time.RFC3339), id)
		_, err := bed.Client().CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, []byte(status), metav1.PatchOptions{}, "status")
		if err != nil {
			return fmt.Errorf("starting %s: %w", pod.Name, err)
		}
		if err := l.cgroup(pod.UID, id, cores[i].String()); err != nil {
			return err
		}
		volume := filepath.Join(kubeletRoot, "pods", string(pod.UID), "volumes/kubernetes.io~empty-dir/libvirt-runtime")
		if err := errors.Join(os.MkdirAll(volume, 0o755), os.Link(l.server.Socket(), filepath.Join(volume, guest.SocketName))); err != nil {
			return err
		}
	}
	return nil
}

// cgroup makes what a kubelet with the driver systemd and containerd make of a pod, for which the kernel has three files.
func (l *launchers) cgroup(pod types.UID, container, cpus string) error {
	dir := filepath.Join(l.cgroups, "kubepods.slice", "kubepods-pod"+strings.ReplaceAll(string(pod), "-", "_")+".slice", "cri-containerd-"+container+".scope")
	err := os.MkdirAll(dir, 0o755)
	for file, text := range map[string]string{"cpuset.cpus.effective": cpus, "cgroup.procs": "1", "cgroup.type": "domain"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, file), []byte(text+"\n"), 0o644))
	}
	return err
}

// serve starts the libvirtd.
func (l *launchers) serve() error {
	sockets, err := os.MkdirTemp(filepath.Dir(l.cgroups), "s")
	if err != nil {
		return err
	}
	l.server, err = guest.NewServer(guest.ServerOptions{SocketDir: sockets})
	if err != nil {
		return err
	}
	domains := "<node><cpu><active>256</active><nodes>2</nodes><sockets>1</sockets><cores>64</cores><threads>2</threads></cpu><memory>33554432</memory>\n"
	for i := range guests {
		domains += fmt.Sprintf("<domain type='test'><name>%s_vm-%d</name><description>%s</description><memory>65536</memory><vcpu>2</vcpu><os><type>hvm</type></os>"+
			"<cpu><topology sockets='1' cores='1' threads='2'/></cpu></domain>\n", testbed.VMNamespace, i, strings.Repeat("x", guestXMLBytes))
	}
	path := filepath.Join(l.server.Private(), "domains.xml")
	l.uri = "test://" + path
	if err := os.WriteFile(path, []byte(domains+"</node>\n"), 0o644); err != nil {
		return err
	}
	return l.server.Start()
}

// guestXMLBytes is how long the XML of a KubeVirt VM is.
const guestXMLBytes = 10 << 10

// awaitPinned waits until the agent has pinned every guest.
func (l *launchers) awaitPinned(ctx context.Context, bed *testbed.Testbed) error {
	return await.For(ctx, "every guest to be pinned", settle, func(ctx context.Context) error {
		events, err := bed.Client().CoreV1().Events(testbed.VMNamespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		pinned := map[string]bool{}
		last := ""
		for i := range events.Items {
			e := &events.Items[i]
			if e.Reason == "Pinned" && e.InvolvedObject.Kind == "Pod" {
				pinned[e.InvolvedObject.Name] = true
			} else {
				last = e.Reason + ": " + e.Message
			}
		}
		if len(pinned) != guests {
			return fmt.Errorf("%d of %d are; another event is %s", len(pinned), guests, last)
		}
		return nil
	})
}
