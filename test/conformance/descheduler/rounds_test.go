// SPDX-License-Identifier: Apache-2.0

package descheduler

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	"sigs.k8s.io/descheduler/pkg/api"
	"sigs.k8s.io/descheduler/pkg/framework/plugins/defaultevictor"
	"sigs.k8s.io/descheduler/pkg/framework/plugins/nodeutilization"
	"sigs.k8s.io/descheduler/pkg/framework/plugins/removeduplicates"
	spread "sigs.k8s.io/descheduler/pkg/framework/plugins/removepodsviolatingtopologyspreadconstraint"

	"corepin.dev/corepin/scheduler/config"
)

// TestMain discards the logs: kube-scheduler and the descheduler log every step.
func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

var strategies = []config.ScoringStrategy{config.LeastFragmentation, config.MostAllocated, config.MostFree}

// evictVMs are the evictor's arguments with which it evicts VMs.
var evictVMs = defaultevictor.DefaultEvictorArgs{
	NodeFit:        true,
	PodProtections: defaultevictor.PodProtections{DefaultDisabled: []defaultevictor.PodProtection{defaultevictor.PodsWithLocalStorage}},
}

func thresholds(percent int) api.ResourceThresholds {
	p := api.Percentage(percent)
	return api.ResourceThresholds{corev1.ResourceCPU: p, corev1.ResourceMemory: p, corev1.ResourcePods: p}
}

// tenth is a threshold for CPUs alone: ten below the average of all nodes' pods or memory is less than none.
var tenth = api.ResourceThresholds{corev1.ResourceCPU: 10}

const appLabel = "app"

// apart puts a VM into one of four applications, whose VMs are spread over the nodes.
func apart(action corev1.UnsatisfiableConstraintAction) func(*unstructured.Unstructured) {
	return func(vm *unstructured.Unstructured) {
		name := vm.GetName()
		app := fmt.Sprint("app-", int(name[len(name)-1]-'0')%4)
		vm.SetLabels(map[string]string{appLabel: app})
		vm.Object["spec"].(map[string]any)["topologySpreadConstraints"] = []any{map[string]any{
			"maxSkew": int64(1), "topologyKey": corev1.LabelHostname, "whenUnsatisfiable": string(action),
			"labelSelector": map[string]any{"matchLabels": map[string]any{appLabel: app}},
		}}
	}
}

// tried is a plugin of the descheduler with arguments, and what VMs then wish.
type tried struct {
	plugin string
	args   runtime.Object
	wish   func(*unstructured.Unstructured)
}

// plugins are the rows of the README's table.
var plugins = map[string]tried{
	"`LowNodeUtilization`, 20 and 50": {plugin: nodeutilization.LowNodeUtilizationPluginName,
		args: &nodeutilization.LowNodeUtilizationArgs{Thresholds: thresholds(20), TargetThresholds: thresholds(50)}},
	"`LowNodeUtilization`, deviations of 10": {plugin: nodeutilization.LowNodeUtilizationPluginName,
		args: &nodeutilization.LowNodeUtilizationArgs{UseDeviationThresholds: true, Thresholds: tenth, TargetThresholds: tenth}},
	"`HighNodeUtilization`, 20": {plugin: nodeutilization.HighNodeUtilizationPluginName,
		args: &nodeutilization.HighNodeUtilizationArgs{Thresholds: thresholds(20)}},
	"`RemoveDuplicates`": {plugin: removeduplicates.PluginName, args: &removeduplicates.RemoveDuplicatesArgs{}},
	"`…TopologySpreadConstraint`, `DoNotSchedule`": {plugin: spread.PluginName,
		args: &spread.RemovePodsViolatingTopologySpreadConstraintArgs{}, wish: apart(corev1.DoNotSchedule)},
	"`…TopologySpreadConstraint`, `ScheduleAnyway`": {plugin: spread.PluginName, wish: apart(corev1.ScheduleAnyway),
		args: &spread.RemovePodsViolatingTopologySpreadConstraintArgs{Constraints: []corev1.UnsatisfiableConstraintAction{corev1.ScheduleAnyway}}},
}

// outcome is what came of a plugin and a scoring strategy in all clusters.
type outcome struct {
	vms   int // that run
	moved int // at the descheduler's first run
	again int // of these, at its second
	stay  int // evictions at both runs for which there was no place
}

// clusters is how many are tried. The counts of five differed by up to 19 % from run to run, those of fifteen by up to 6 %.
const clusters = 15

// rounds runs the descheduler twice over each cluster.
func rounds(t *testing.T, strategy config.ScoringStrategy, with tried) outcome {
	t.Helper()
	var sum outcome
	for seed := range uint64(clusters) {
		c := lived(t, strategy, seed, with.wish)
		sum.vms += len(c.vms)
		p := policy{plugin: with.plugin, args: with.args, evictor: evictVMs, background: true}
		first := map[string]bool{}
		for _, name := range c.deschedule(p) {
			first[name] = c.migrate(name)
			if first[name] {
				sum.moved++
			} else {
				sum.stay++
			}
		}
		for _, name := range c.deschedule(p) {
			switch {
			case !c.migrate(name):
				sum.stay++
			case first[name]:
				sum.again++
			}
		}
	}
	return sum
}

// The README's table has, for each plugin and strategy, the VMs that were moved, and those that were moved twice: for nothing.
// kube-scheduler chooses at random between equal nodes, so the counts differ a little from run to run: see clusters.
func TestTheTableInTheREADME(t *testing.T) {
	table := readTable(t)
	if len(table) != len(plugins) {
		t.Errorf("the table has %d rows, and %d plugins are tried", len(table), len(plugins))
	}
	for name, with := range plugins {
		for _, strategy := range strategies {
			t.Run(name+" "+string(strategy), func(t *testing.T) {
				t.Parallel()
				got := rounds(t, strategy, with)
				t.Logf("of %d VMs %d were moved, %d of them again, and for %d there was no place", got.vms, got.moved, got.again, got.stay)
				want, found := table[name][string(strategy)]
				if !found || !got.like(want) {
					t.Errorf("the README's table says %d moved, and %d again", want.moved, want.again)
				}
			})
		}
	}
}

// like reports whether about as many VMs were moved as in another outcome, and about the same part of them again.
func (o outcome) like(other outcome) bool {
	const most = 0.2
	moved := float64(o.moved-other.moved) / float64(max(1, other.moved))
	again := float64(o.again)/float64(max(1, o.moved)) - float64(other.again)/float64(max(1, other.moved))
	return math.Abs(moved) <= most && math.Abs(again) <= most
}

var tableCell = regexp.MustCompile(`^(\d+)(?:, \*\*(\d+) again\*\*)?$`)

// readTable reads what the README says, by row and column.
func readTable(t *testing.T) map[string]map[string]outcome {
	t.Helper()
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var columns []string
	table := map[string]map[string]outcome{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case cells[0] == "Descheduler's plugin":
			columns = cells[1:]
		case len(columns) == 0 || strings.HasPrefix(cells[0], "---"):
		case len(cells) != len(columns)+1:
			return table
		default:
			table[cells[0]] = map[string]outcome{}
			for i, column := range columns {
				table[cells[0]][strings.Trim(column, "`")] = readCell(t, cells[i+1])
			}
		}
	}
	return table
}

func readCell(t *testing.T, text string) outcome {
	t.Helper()
	match := tableCell.FindStringSubmatch(text)
	if match == nil {
		t.Fatalf("the README's table has a cell %q", text)
	}
	moved, err := strconv.Atoi(match[1])
	if err != nil {
		t.Fatal(err)
	}
	again, err := strconv.Atoi(cmp.Or(match[2], "0"))
	if err != nil {
		t.Fatal(err)
	}
	return outcome{moved: moved, again: again}
}
