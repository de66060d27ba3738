// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	_ "k8s.io/component-base/logs/json/register"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/scheduler"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	perf "k8s.io/kubernetes/test/integration/scheduler_perf"
	"k8s.io/kubernetes/test/utils/ktesting"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/scheduler/dedicatedcpu"
)

const crdFile = "base/crd/corepin.dev_nodecpus.yaml"

// measureOne runs a case at one size in this process and writes the result to a file.
func measureOne(o *options, c *scenario, file string) error {
	dir, err := os.MkdirTemp("", "scale")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := provideEtcd(dir); err != nil {
		return err
	}
	if err := prepare(dir, o.out); err != nil {
		return err
	}
	result, err := c.run(dir, o.out, o.nodes[0])
	if err != nil {
		return fmt.Errorf("measuring %s with %d nodes: %w", c.name(), o.nodes[0], err)
	}
	text, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return os.WriteFile(file, text, 0o644)
}

// prepare sets what scheduler_perf reads from its flags.
func prepare(dir, out string) error {
	testing.Init()
	os.Args = append(os.Args[:1], "-test.benchtime=1x", "-perf-scheduling-label-filter=", "-data-items-dir="+out, "-v=0")
	if err := perf.InitTests(); err != nil {
		return fmt.Errorf("preparing scheduler_perf: %w", err)
	}
	return os.Setenv("ARTIFACTS", dir) // for its log
}

// run measures one case at one size.
func (c *scenario) run(dir, out string, nodes int) (*result, error) {
	file, err := c.write(dir, nodes)
	if err != nil {
		return nil, err
	}
	topic := fmt.Sprintf("%s-%d", c.name(), nodes)
	w := &world{scenario: c}
	benchmark := testing.Benchmark(func(b *testing.B) {
		perf.RunBenchmarkPerfScheduling(b, file, topic, frameworkruntime.Registry{dedicatedcpu.Name: dedicatedcpu.Factory(nil)},
			perf.WithPrepareFn(w.prepare), perf.WithNodeUpdateFn(w.introduce))
	})
	if benchmark.N == 0 {
		return nil, errors.New("scheduler_perf failed; what it says is above")
	}
	if err := w.err(); err != nil {
		return nil, err
	}
	items, err := readItems(out, topic)
	if err != nil {
		return nil, err
	}
	return newResult(items, w), nil
}

// readItems reads the newest figures that scheduler_perf wrote for a topic.
func readItems(out, topic string) ([]perf.DataItem, error) {
	files, err := filepath.Glob(filepath.Join(out, "*_benchmark_"+topic+"_*.json"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("reading the figures: scheduler_perf wrote none for %s in %s", topic, out)
	}
	text, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		return nil, fmt.Errorf("reading the figures: %w", err)
	}
	var items perf.DataItems
	if err := json.Unmarshal(text, &items); err != nil {
		return nil, fmt.Errorf("reading the figures in %s: %w", files[len(files)-1], err)
	}
	return items.DataItems, nil
}

// world is what stands around the scheduler during one case.
type world struct {
	*scenario
	agents  *agents
	refused atomic.Int64
	failure atomic.Pointer[error]
}

func (w *world) fail(err error) { w.failure.CompareAndSwap(nil, &err) }

func (w *world) err() error {
	if err := w.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// prepare is called when the API server and the scheduler run: it installs the CRD and starts the agents.
func (w *world) prepare(tCtx ktesting.TContext) error {
	text, err := manifests.FS.ReadFile(crdFile)
	if err != nil {
		return fmt.Errorf("reading the CRD: %w", err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(text, &crd); err != nil {
		return fmt.Errorf("reading the CRD: %w", err)
	}
	client, err := apiextensions.NewForConfig(tCtx.RESTConfig())
	if err != nil {
		return fmt.Errorf("making a client for the CRD: %w", err)
	}
	if _, err := client.ApiextensionsV1().CustomResourceDefinitions().Create(tCtx, &crd, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the CRD: %w", err)
	}
	w.agents = newAgents(tCtx.Dynamic(), w.pods, func(pod *corev1.Pod, decision admission.Decision) {
		w.refused.Add(1)
		if w.plugin {
			w.fail(fmt.Errorf("pod %s was bound to %s, and the kubelet would refuse it: %s", klog.KObj(pod), pod.Spec.NodeName, decision))
		}
	})
	if err := w.served(tCtx); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(tCtx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.agents.run(ctx, tCtx.Client(), w.fail); err != nil {
			w.fail(err)
		}
	}()
	tCtx.TB().Cleanup(func() {
		stop()
		<-done
	})
	return nil
}

// served waits until the API server knows the reports.
func (w *world) served(tCtx ktesting.TContext) error {
	var last error
	err := wait.PollUntilContextTimeout(tCtx, 100*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		_, last = tCtx.Dynamic().Resource(reports).List(tCtx, metav1.ListOptions{})
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the CRD: %w", errors.Join(err, last))
	}
	return nil
}

// introduce is called when the nodes are there.
func (w *world) introduce(tCtx ktesting.TContext, _ *scheduler.Scheduler, _ *perf.Workload, nodes *corev1.NodeList) error {
	return w.agents.introduce(tCtx, nodes.Items)
}

// name gives the case in two words.
func (c *scenario) name() string { return strings.Join([]string{c.scheduler(), c.pods}, "-") }
