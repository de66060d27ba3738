// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/test/harness/crd"
	"corepin.dev/corepin/test/harness/testbed"
	"corepin.dev/corepin/test/harness/virtcontroller"
)

const (
	// sampled is the time between two lines about the scheduler.
	sampled = 5 * time.Second
	// quietFor is after how long without a change a storm is over, though VMs have neither a node nor a reason.
	quietFor = 90 * time.Second
)

// squall is what a storm is made of.
type squall struct {
	machines
	vms        int // 0: podsPerNode for each node
	withVMIs   bool
	schedulers string
}

// storm is a cluster into which many VMs come at once, and its scheduler, a process of its own.
type storm struct {
	*squall
	plugin bool
	nodes  int
	bed    *testbed.Testbed
	agents *agents
	audit  *audit
	fates  *fates
	// pids are the scheduler, the API server and etcd.
	pids    []pid
	metrics kubernetes.Interface
	refused atomic.Int64
	failure atomic.Pointer[error]

	b       strings.Builder
	started time.Time
	took    time.Duration // to create the VMs
}

// measureStorm measures how schedulers take many VMs at once.
func measureStorm(ctx context.Context, o *options) error {
	for _, nodes := range o.nodes {
		for scheduler := range strings.SplitSeq(o.squall.schedulers, ",") {
			s := &storm{squall: &o.squall, plugin: scheduler != "stock", nodes: nodes, fates: newFates()}
			if err := s.run(ctx, testbed.Options{Bin: o.bin}, s.alone, s.blow); err != nil {
				return fmt.Errorf("a storm on %d nodes with %s: %w", nodes, scheduler, err)
			}
			if err := o.write(fmt.Sprintf("storm-%s-%d.txt", scheduler, nodes), s.b.String()); err != nil {
				return err
			}
		}
	}
	return nil
}

// count is how many VMs come.
func (s *storm) count() int { return cmp.Or(s.vms, podsPerNode*s.nodes) }

// run starts the cluster and the nodes, and what surrounds the scheduler that start gives, and then does do.
func (s *storm) run(ctx context.Context, o testbed.Options, start func(context.Context) (pid, error), do func(context.Context) error) (err error) {
	if o.Dir, err = os.MkdirTemp("", "scale"); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer os.RemoveAll(o.Dir)
	var flags []string
	if s.audit, flags, err = newAudit(o.Dir); err != nil {
		return err
	}
	o = withoutKubelets(o)
	o.APIServerArgs = append(o.APIServerArgs, flags...)
	o.KubeVirt = definitions
	if s.bed, err = testbed.Start(ctx, o); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.bed.Stop()) }()
	scheduler, err := start(ctx)
	if err != nil {
		return err
	}
	if err := s.prepare(ctx, scheduler); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.agents.run(ctx, s.bed.Client(), s.fail); err != nil {
			s.fail(err)
		}
	}()
	defer func() {
		stop()
		<-done
	}()
	if err := s.fates.watch(ctx, s.bed.Client()); err != nil {
		return err
	}
	return do(ctx)
}

// definitions are those of KubeVirt, without what stands in for its programs: VMIs and launcher pods are made here.
func definitions(ctx context.Context, bed *testbed.Testbed) error {
	return errors.Join(bed.Apply(ctx, crd.KubeVirt), bed.Apply(ctx, virtcontroller.Manifest))
}

// alone starts a scheduler that needs no lease.
func (s *storm) alone(ctx context.Context) (pid, error) {
	return lone(ctx, s.bed, func(config map[string]any) {
		if !s.plugin {
			config["profiles"] = []any{map[string]any{"schedulerName": "corepin"}}
		}
	})
}

// prepare makes the nodes and waits until the scheduler knows them.
func (s *storm) prepare(ctx context.Context, scheduler pid) error {
	var err error
	if s.agents, err = populate(ctx, s.bed, s.nodes, s.equip); err != nil {
		return err
	}
	s.agents.refused = func(pod *corev1.Pod, decision admission.Decision) {
		s.refused.Add(1)
		if s.plugin {
			s.fail(fmt.Errorf("pod %s was bound to %s, and the kubelet would refuse it: %s", klog.KObj(pod), pod.Spec.NodeName, decision))
		}
	}
	s.pids = []pid{scheduler, pid(s.bed.Process("kube-apiserver").PID()), pid(s.bed.Process("etcd").PID())}
	if s.metrics, err = scheduler.clientOf(s.bed.AdminConfig()); err != nil {
		return err
	}
	if err := scheduler.awaitQuiet(ctx); err != nil {
		return err
	}
	return s.audit.begin()
}

// blow makes the VMs and follows them.
func (s *storm) blow(ctx context.Context) error {
	before, err := usages(s.pids)
	if err != nil {
		return err
	}
	s.head()
	s.started = time.Now()
	made := make(chan error, 1)
	go func() {
		err := eachOf(s.count(), func(i int) error { return s.make(ctx, i) })
		s.took = time.Since(s.started)
		made <- err
	}()
	if err := s.follow(ctx, before, made); err != nil {
		return err
	}
	after, err := usages(s.pids)
	if err != nil {
		return err
	}
	return s.sum(before, after)
}

// make is a user's part and virt-controller's: a VMI, and its launcher pod.
func (s *storm) make(ctx context.Context, number int) error {
	vmi, err := s.vmi(number)
	if err != nil {
		return err
	}
	if s.withVMIs {
		vmi, err = s.bed.Dynamic().Resource(testbed.VMIs).Namespace(testbed.VMNamespace).Create(ctx, vmi, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("creating a VMI: %w", err)
		}
	}
	pod, err := launch(vmi)
	if err != nil {
		return err
	}
	if _, err := s.bed.Client().CoreV1().Pods(testbed.VMNamespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating a launcher pod: %w", err)
	}
	return nil
}

// follow writes a line every few seconds, until all VMs that fit are bound and the others have been told why not, or nothing
// changes any more.
func (s *storm) follow(ctx context.Context, before []usage, made <-chan error) error {
	fit := s.count() - s.unfitOf(s.count())
	if !s.plugin {
		fit = s.count() // it counts CPUs, and no NUMA nodes
	}
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	var line, changed time.Time
	seen := -1
	for all := false; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-made:
			if err != nil {
				return err
			}
			all = true
		case <-look.C:
		}
		if err := s.failure.Load(); err != nil {
			return *err
		}
		created, bound, told := s.fates.count()
		if n := created + bound + told; n != seen {
			seen = n
			changed = time.Now()
		}
		over := all && created == s.count() && (bound >= fit && bound+told == created || time.Since(changed) > quietFor)
		if !over && time.Since(line) < sampled {
			continue
		}
		line = time.Now()
		if err := s.sample(ctx, before[0]); err != nil {
			return err
		}
		if over {
			return nil
		}
	}
}

func (s *storm) fail(err error) { s.failure.CompareAndSwap(nil, &err) }
