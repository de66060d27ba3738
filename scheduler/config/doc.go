// SPDX-License-Identifier: Apache-2.0

// Package config is the configuration of the scheduler plugin DedicatedCPU: the text under pluginConfig[].args of a
// KubeSchedulerConfiguration.
//
//	pluginConfig:
//	- name: DedicatedCPU
//	  args:
//	    apiVersion: scheduler.corepin.dev/v1alpha1
//	    kind: DedicatedCPUArgs
//	    scoringStrategy: LeastFragmentation
//	    scoreRange: 5
//	    nodesWithoutExactReport: Estimate
//	    cpuManagerNodes: Required
//	    strictness: Standard
//	    restartSafety: Ignore
//	    otherPods: Predict
//	    nodePoolLabel: ""
//
// Every field is optional, and so are the args; those above are the defaults. The args are read strictly. A field that
// is unknown, misspelled or given twice is an error, and so is another kind or version. An error stops the scheduler at
// its start. kube-scheduler itself would accept them all, since it passes the args of plugins it does not know on
// unread, and a misspelled field would silently have its default.
//
// There is one version. It is what users write and what the plugin reads, so there is nothing to convert.
package config
