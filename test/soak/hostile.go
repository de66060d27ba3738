// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/test/harness/guest"
	"corepin.dev/corepin/test/harness/testbed"
)

const (
	// hostileNode is the node whose agent's token is in wrong hands.
	hostileNode = "hostile"
	// hostileShare is that one guest in so many is hostile.
	hostileShare = 20
)

// sometimesHostile runs guests; one in hostileShare of them is garbage at its socket.
type sometimesHostile struct {
	guest.Runner
	on     bool
	number atomic.Int64
	names  sync.Map // of the domains that are hostile
}

var hostileGuests []*sometimesHostile

func newSometimesHostile(runner guest.Runner, on bool) *sometimesHostile {
	s := &sometimesHostile{Runner: runner, on: on}
	hostileGuests = append(hostileGuests, s)
	return s
}

// Start starts a guest, or what only listens where a guest's libvirt would.
func (s *sometimesHostile) Start(ctx context.Context, spec guest.Spec) (guest.Guest, error) {
	if !s.on || spec.SocketDir == "" || s.number.Add(1)%hostileShare != 0 {
		return s.Runner.Start(ctx, spec)
	}
	s.names.Store(spec.Name, true)
	return listenGarbage(spec.SocketDir)
}

// isHostile reports whether a pod's guest is one of the hostile ones.
func (w *world) isHostile(pod *corev1.Pod) bool {
	name := pod.Namespace + "_" + pod.Annotations["kubevirt.io/domain"]
	for _, runner := range hostileGuests {
		if _, hostile := runner.names.Load(name); hostile {
			return true
		}
	}
	return false
}

// garbage is a guest that answers every byte with frames whose length is a lie.
type garbage struct {
	listener net.Listener
	done     chan struct{}
	once     sync.Once
}

func listenGarbage(dir string) (guest.Guest, error) {
	// The address of a socket has room for 107 bytes; through the directory's descriptor, any path fits.
	listener, err := listenIn(dir, "libvirt-sock")
	if err != nil {
		return nil, fmt.Errorf("listening as a hostile guest in %s: %w", filepath.Base(dir), err)
	}
	g := &garbage{listener: listener, done: make(chan struct{})}
	go g.serve()
	return g, nil
}

func (g *garbage) serve() {
	// A frame's length, then program, version, procedure and more, as libvirt's protocol has them, and then lengths to believe.
	answer := []byte{0, 0, 0, 64, 0x20, 0, 0x80, 0x86, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff}
	for {
		connection, err := g.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			buffer := make([]byte, 4096)
			for {
				if _, err := connection.Read(buffer); err != nil {
					return
				}
				if _, err := connection.Write(answer); err != nil {
					return
				}
			}
		}()
	}
}

// PID is 0: there is no process.
func (g *garbage) PID() int { return 0 }

// Done is closed by Stop.
func (g *garbage) Done() <-chan struct{} { return g.done }

// Stop ends it.
func (g *garbage) Stop(context.Context) error {
	g.once.Do(func() {
		_ = g.listener.Close()
		close(g.done)
	})
	return nil
}

// addHostileNode makes a Node and uses the token of its agent for the worst that it is good for, until ctx ends.
func (w *world) addHostileNode(ctx, inner context.Context) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: hostileNode}}
	if _, err := w.bed.Client().CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("making the hostile node: %w", err)
	}
	pod, err := w.bed.AgentPod(ctx, hostileNode)
	if err != nil {
		return err
	}
	path, err := w.bed.PodKubeconfig(ctx, pod)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return fmt.Errorf("reading the hostile agent's kubeconfig: %w", err)
	}
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	untyped, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	w.working.Go(func() { w.attack(inner, typed, untyped) })
	return nil
}

// attack writes reports that are absurd in turns, labels the node, and tells events.
func (w *world) attack(ctx context.Context, typed kubernetes.Interface, untyped dynamic.Interface) {
	reports := untyped.Resource(v1alpha1.Resource)
	options := metav1.PatchOptions{FieldManager: "hostile"}
	for n := 0; ctx.Err() == nil; n++ {
		head := fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":%q}`, v1alpha1.GroupVersion.String(), v1alpha1.Kind, hostileNode)
		_, first := reports.Patch(ctx, hostileNode, types.ApplyYAMLPatchType, []byte(head+"}"), options)
		_, second := reports.Patch(ctx, hostileNode, types.ApplyYAMLPatchType, []byte(head+absurd(n)+"}"), options, "status")
		_, third := typed.CoreV1().Nodes().Patch(ctx, hostileNode, types.ApplyYAMLPatchType,
			fmt.Appendf(nil, "apiVersion: v1\nkind: Node\nmetadata: {name: %s, labels: {cpumanager: \"true\"}}\n", hostileNode), options)
		for _, err := range []error{first, second, third} {
			result := "hostile writes taken"
			if err != nil {
				result = "hostile writes refused, or the API server away"
			}
			w.watch.count(result, nil)
		}
		w.tellLies(ctx, typed, n)
		pause(ctx, 300*time.Millisecond)
	}
}

// tellLies tells events about a pod of somebody else, and some that the policy refuses: about another Node, and in the
// name of another node's agent.
func (w *world) tellLies(ctx context.Context, typed kubernetes.Interface, n int) {
	pods, err := typed.CoreV1().Pods(testbed.VMNamespace).List(ctx, metav1.ListOptions{})
	if err != nil || len(pods.Items) == 0 {
		return
	}
	victim := &pods.Items[n%len(pods.Items)]
	aboutPod := corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: victim.Namespace, Name: victim.Name, UID: victim.UID}
	aboutNode := corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Namespace: metav1.NamespaceDefault, Name: w.names[n%len(w.names)]}
	for _, lie := range []struct {
		about   corev1.ObjectReference
		teller  string
		allowed bool
	}{{aboutPod, hostileNode, true}, {aboutPod, w.names[0], false}, {aboutNode, hostileNode, false}} {
		_, err := typed.CoreV1().Events(lie.about.Namespace).Create(ctx, lieAbout(lie.about, lie.teller), metav1.CreateOptions{})
		switch {
		case err == nil && lie.allowed:
			w.watch.count("hostile events taken", nil)
		case err == nil:
			w.watch.violated("a node's token tells no events of others", "told about %s %s as %s", lie.about.Kind, lie.about.Name, lie.teller)
		default:
			w.watch.count("hostile events refused, or the API server away", nil)
		}
	}
}

// lieAbout is an event with the reason by which the soak itself, and users, know how a pod was judged.
func lieAbout(about corev1.ObjectReference, teller string) *corev1.Event {
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "lie-", Namespace: about.Namespace}, InvolvedObject: about,
		Reason: "CPUsEstimated", Message: strings.Repeat("lie ", 250), Type: corev1.EventTypeWarning, Count: 1,
		FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(),
		Source:              corev1.EventSource{Component: "corepin-agent", Host: teller},
		ReportingController: "corepin-agent", ReportingInstance: teller,
	}
}

// absurd is the status of a report that no machine has.
func absurd(n int) string {
	numa, cores := "", ""
	for i := range 48 {
		numa += fmt.Sprintf(`,{"id":%d}`, i)
		cores += fmt.Sprintf(`,{"id":%d,"socketID":%d,"numaNodeID":%d,"cpus":"%d"}`, i, i, i, i)
	}
	texts := []string{
		`,"status":{"format":1,"kubeletVersion":"v1.36.3","cpuManager":{"policy":"static"},"sharedCPUs":"0-1023","numaNodes":[` + numa[1:] + `]}`,
		`,"status":{"format":1,"kubeletVersion":"v1.36.3","cpuManager":{"policy":"static","options":{"distribute-cpus-across-numa":"true"}},"sharedCPUs":"0-47","numaNodes":[` + numa[1:] + `],"cores":[` + cores[1:] + `],"conditions":[{"type":"Exact","status":"True","reason":"X","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}`,
		`,"status":{"format":2147483647,"kubeletVersion":"v9","sharedCPUs":"x"}`,
	}
	return texts[n%len(texts)]
}
