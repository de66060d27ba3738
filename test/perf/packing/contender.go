// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	schedulerconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"

	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/test/perf/cycle"
)

// contender is a scheduler with a way to score.
type contender struct {
	name       string
	strategy   config.ScoringStrategy              // of corepin; "" for stock kube-scheduler
	scoreRange int                                 // of corepin; 0 for the shipped one
	restart    config.RestartSafety                // of corepin; "" for the shipped one
	search     config.SearchPolicy                 // of corepin; "" for the shipped one
	scoring    schedulerconfig.ScoringStrategyType // of stock kube-scheduler's NodeResourcesFit
}

// byDefault is the contender with the shipped configuration.
const byDefault = "corepin LeastFragmentation"

var contenders = []contender{
	{name: "stock LeastAllocated", scoring: schedulerconfig.LeastAllocated},
	{name: "stock MostAllocated", scoring: schedulerconfig.MostAllocated},
	{name: byDefault, strategy: config.LeastFragmentation},
	{name: "corepin LeastFragm., range 40", strategy: config.LeastFragmentation, scoreRange: config.MaxScoreRange},
	{name: "corepin LeastFragm., sample", strategy: config.LeastFragmentation, search: config.Sample},
	{name: "corepin, restarts Prefer", strategy: config.LeastFragmentation, restart: config.RestartPrefer},
	{name: "corepin, restarts Require", strategy: config.LeastFragmentation, restart: config.RestartRequire},
	{name: "corepin MostAllocated", strategy: config.MostAllocated},
	{name: "corepin MostFree", strategy: config.MostFree},
}

// stockConfig is kube-scheduler's default configuration with one choice spelled out.
const stockConfig = `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: %s, resources: [{name: cpu, weight: 1}, {name: memory, weight: 1}]}}
`

// start starts the contender's scheduler.
func (c *contender) start(ctx context.Context) (*cycle.Scheduler, error) {
	if c.strategy == "" {
		return cycle.New(ctx, fmt.Sprintf(stockConfig, c.scoring))
	}
	const line = "scoringStrategy: "
	changes := []string{line + string(config.LeastFragmentation), line + string(c.strategy)}
	if c.scoreRange != 0 {
		changes = append(changes, "scoreRange: 5", fmt.Sprint("scoreRange: ", c.scoreRange))
	}
	if c.restart != "" {
		changes = append(changes, "restartSafety: Ignore", "restartSafety: "+string(c.restart))
	}
	if c.search != "" {
		changes = append(changes, "search: AllNodes", "search: "+string(c.search))
	}
	configuration, err := cycle.ShippedConfig(changes...)
	if err != nil {
		return nil, err
	}
	return cycle.New(ctx, configuration)
}
