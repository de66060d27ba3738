// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"corepin.dev/corepin/test/perf/cycle"
)

// scenario is one case: the scheduler with the plugin or without, and what pods it gets.
type scenario struct {
	plugin bool
	pods   string
}

const (
	dedicated = "dedicated"
	furnished = "furnished"
	ordinary  = "ordinary"
)

func (c *scenario) scheduler() string {
	if c.plugin {
		return "corepin"
	}
	return "stock"
}

// podsPerNode is how many pods come for each node.
const podsPerNode = 2

const nodeTemplate = `
apiVersion: v1
kind: Node
metadata:
  generateName: node-
  labels: {cpumanager: "true"}
status:
  capacity: {cpu: "128", memory: 512Gi, pods: "250", hugepages-1Gi: 128Gi, intel.com/vf: "64"}
  allocatable: {cpu: "126", memory: 372Gi, pods: "250", hugepages-1Gi: 128Gi, intel.com/vf: "64"}
  conditions: [{type: Ready, status: "True"}]
`

var podTemplates = map[string]string{
	dedicated: `
apiVersion: v1
kind: Pod
metadata:
  generateName: virt-launcher-
  labels: {kubevirt.io: virt-launcher}
spec:
  nodeSelector: {cpumanager: "true"}
  containers:
  - name: compute
    image: launcher
    resources: {requests: {cpu: "4", memory: 4Gi}, limits: {cpu: "4", memory: 4Gi}}
  - name: hook-sidecar-0
    image: sidecar
    resources: {requests: {cpu: 200m, memory: 64Mi}, limits: {cpu: 200m, memory: 64Mi}}
`,
	furnished: `
apiVersion: v1
kind: Pod
metadata:
  generateName: virt-launcher-
  labels: {kubevirt.io: virt-launcher}
spec:
  nodeSelector: {cpumanager: "true"}
  containers:
  - name: compute
    image: launcher
    resources:
      requests: {cpu: "4", memory: 300Mi, hugepages-1Gi: 4Gi, intel.com/vf: "1"}
      limits: {cpu: "4", memory: 300Mi, hugepages-1Gi: 4Gi, intel.com/vf: "1"}
  - name: hook-sidecar-0
    image: sidecar
    resources: {requests: {cpu: 200m, memory: 64Mi}, limits: {cpu: 200m, memory: 64Mi}}
`,
	ordinary: `
apiVersion: v1
kind: Pod
metadata:
  generateName: pod-
spec:
  containers:
  - name: pause
    image: pause
    resources: {requests: {cpu: 100m, memory: 100Mi}}
`,
}

// caseTemplate is a case in scheduler_perf's language: nodes, then pods as fast as they can be made.
const caseTemplate = `
- name: %[1]s
  schedulerConfigPath: %[2]s
  metricsCollectorConfig:
    metrics:
      scheduler_scheduling_attempt_duration_seconds:
      - {label: result, values: [scheduled]}
      scheduler_framework_extension_point_duration_seconds:
      - {label: extension_point, values: [Filter, Score]}
      scheduler_plugin_execution_duration_seconds:
      - {label: plugin, values: [DedicatedCPU, NodeUnschedulable, NodeResourcesFit]}
      - {label: extension_point, values: [PreFilter, Filter, PreScore, Score, PostBind]}
  workloadTemplate:
  - opcode: createNodes
    countParam: $nodes
    nodeTemplatePath: %[3]s
  - opcode: createPods
    countParam: $pods
    podTemplatePath: %[4]s
    collectMetrics: true
  workloads:
  - name: %[5]dNodes
    params: {nodes: %[5]d, pods: %[6]d}
`

// write writes the case's files into dir and gives the one that names the others.
func (c *scenario) write(dir string, nodes int) (string, error) {
	configuration, err := c.configuration()
	if err != nil {
		return "", err
	}
	path := func(name string) string { return filepath.Join(dir, c.name()+"-"+name) }
	files := map[string]string{
		"config.yaml": configuration, "node.yaml": nodeTemplate, "pod.yaml": podTemplates[c.pods],
		"case.yaml": fmt.Sprintf(caseTemplate, c.name(), path("config.yaml"), path("node.yaml"), path("pod.yaml"), nodes, podsPerNode*nodes),
	}
	for name, content := range files {
		if err := os.WriteFile(path(name), []byte(content), 0o644); err != nil {
			return "", fmt.Errorf("writing the case: %w", err)
		}
	}
	return path("case.yaml"), nil
}

// configuration is the scheduler's: the shipped one, for the profile that scheduler_perf's pods ask for.
func (c *scenario) configuration() (string, error) {
	if !c.plugin {
		return cycle.StockConfig, nil
	}
	return cycle.ShippedConfig("schedulerName: corepin\n", "schedulerName: default-scheduler\n")
}
