// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// refusals places the first VMs of a trace and counts what the kubelets refuse.
func refusals(t *testing.T, who *contender, b bench, vms int) (refused, placed int) {
	t.Helper()
	err := during(klog.NewContext(t.Context(), logr.Discard()), who, b, func(ctx context.Context, f *fleet) error {
		var names []string
		var sizes []size
		for i, vm := range classes[0].fill(1, f.capacity.cpus, b.devices)[:vms] {
			name, err := f.place(ctx, vm.size, 0)
			if err != nil {
				return err
			}
			if name != "" {
				names, sizes = append(names, name), append(sizes, vm.size)
			}
			if i%7 == 6 && len(names) > 0 {
				if err := f.remove(ctx, names[0], sizes[0]); err != nil {
					return err
				}
				names, sizes = names[1:], sizes[1:]
			}
		}
		refused, placed = f.refused, f.vms
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return refused, placed
}

func TestKubeletsRefuseStockButNotCorepin(t *testing.T) {
	const vms = 150
	for what, b := range map[string]bench{"CPUs": {nodes: nodeCount}, "CPUs, memory and devices": {nodes: nodeCount, devices: true}} {
		stock, _ := refusals(t, &contenders[0], b, vms)
		if stock == 0 {
			t.Errorf("%s: the kubelets refused nothing of stock kube-scheduler's: the trace has lost its teeth", what)
		}
		for i := range contenders {
			who := &contenders[i]
			if who.strategy == "" || b.devices && who.name != byDefault {
				continue
			}
			refused, placed := refusals(t, who, b, vms)
			if want := vms - vms/7; refused != 0 || placed != want {
				t.Errorf("%s, %s: %d refused, %d running; want 0 and %d", what, who.name, refused, placed, want)
			}
		}
	}
}

func TestTracesAreTheSameEachTime(t *testing.T) {
	for _, c := range classes {
		a, b, other := c.churn(3, 1000, true), c.churn(3, 1000, true), c.churn(4, 1000, true)
		if len(a) == 0 || len(a) != len(b) || a[len(a)-1] != b[len(b)-1] {
			t.Errorf("%s: two traces of one seed differ", c.name)
		}
		if a[0] == other[0] {
			t.Errorf("%s: two seeds give one trace", c.name)
		}
		sum := 0.0
		for _, vm := range c.fill(1, 100_000, false) {
			sum += float64(vm.cpus)*1000 + sidecarMilli
		}
		if mean := sum / 1000 / float64(len(c.fill(1, 100_000, false))); mean < 0.95*c.mean() || mean > 1.05*c.mean() {
			t.Errorf("%s: a VM takes %.2f CPUs on average, and mean says %.2f", c.name, mean, c.mean())
		}
	}
}

func TestComparisonAndJudge(t *testing.T) {
	of := func(ours bool, name string, cpus float64, refused int) result {
		f := figures{cpus: cpus, binds: 10, n: 1}
		return result{class: classes[0].name, contender: name, ours: ours, capacity: size{cpus: 1000}, fill: f, everRefused: refused,
			churn: map[string]*figures{phases[1].name: {cpus: cpus}, phases[3].name: {cpus: cpus}}}
	}
	even := func(r result) result { r.class = classes[1].name; return r }
	results := []result{of(false, "stock", 100, 5), of(true, "default", 90, 0), of(true, "other", 80, 0),
		even(of(false, "stock", 100, 5)), even(of(true, "default", 120, 0))}
	text := comparison(results)
	if strings.Count(text, "fewer") != 3 || strings.Count(text, ": more") != 3 {
		t.Errorf("the comparison should be fewer on mixed, more on even, at each of three places:\n%s", text)
	}
	if err := judge(results); err != nil {
		t.Errorf("stock's refusals are not corepin's: %v", err)
	}
	if judge(append(results, of(true, "other", 1, 1))) == nil {
		t.Error("a refusal of corepin's goes unnoticed")
	}
	if svg := plot(results); strings.Count(svg, "<polyline") != len(results) || !strings.HasSuffix(svg, "</svg>\n") {
		t.Errorf("the plot lacks a line:\n%s", svg)
	}
}
