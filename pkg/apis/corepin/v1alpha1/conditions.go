// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// ReasonNotModelled of condition Exact: everything was read, and the kubelet has a rule, or a memory manager whose state is not
// known, that is not computed. What was read is up to date.
const ReasonNotModelled = "NotModelled"

// ReasonContainers is the reason of condition Exclusive where other containers may run on the CPUs of dedicated VMs; field
// sharedWith of each VM's grant says which.
const ReasonContainers = "Containers"

// Condition types of a NodeCPU.
const (
	// ConditionCPUManagerRunning is True where the kubelet's CPU manager runs with policy static, False
	// where it certainly does not, Unknown before the agent knows. Read errors keep the status
	// and are reported in the message.
	ConditionCPUManagerRunning = "CPUManagerRunning"
	// ConditionExact is True where corepin predicts this kubelet's decisions exactly; otherwise its
	// message says why not.
	ConditionExact = "Exact"
	// ConditionSourcesComplete is True where the agent can ask everything that knows about the node's
	// CPUs; otherwise its message says what is missing, and what stands in its place.
	ConditionSourcesComplete = "SourcesComplete"
	// ConditionDevicesKnown is True where devices has every resource of a device plugin that has a device with a NUMA node.
	// Its observedGeneration is the report's generation: an agent of an earlier version, which does not know this
	// condition, leaves it as it was when it writes. It is missing under topology manager policy none.
	ConditionDevicesKnown = "DevicesKnown"
	// ConditionRestartSafe is False where the kubelet, started again as it is configured now, would not
	// start, would fail pods that run, or would take their CPUs from them. It is Unknown where that is not certain.
	ConditionRestartSafe = "RestartSafe"
	// ConditionLabelled is True where the Node has both CPU manager labels with value true; its message
	// says why, or why not, and whose word that is.
	ConditionLabelled = "Labelled"
	// ConditionDrifted is True while threads of a dedicated VM's guest are not on the CPUs that they were
	// pinned to, or two VMs are on one CPU; its message names them.
	ConditionDrifted = "Drifted"
	// ConditionExclusive is True where nobody else may run on the CPUs of dedicated VMs, kernel threads aside. It is
	// missing where the agent does not see the host's cgroups.
	ConditionExclusive = "Exclusive"
	// ConditionSeen is True while the node is heard from, and False once its agent has not been ready for some
	// time. Then everything else in the report is of the time when this condition became False. It is the only
	// condition that corepin-scheduler writes, and the only one that the agent does not.
	ConditionSeen = "Seen"
)
