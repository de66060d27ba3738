// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
)

// checkpointFile is the name of the CPU manager's state file in the kubelet's root directory
// (cpuManagerStateFileName, pkg/kubelet/cm/cpumanager/cpu_manager.go, v1.36.3).
const checkpointFile = "cpu_manager_state"

// errUnknownCheckpoint is wrapped by the errors of a state file that is whole, but not one this agent
// knows.
var errUnknownCheckpoint = errors.New("the state is of a version this agent does not know; update the agent")

// checkpointState is what every version of the state file says (V2 to V4, pkg/kubelet/cm/cpumanager/
// state/checkpoint.go, v1.36.3, v1.37.2 and v1.38.0-beta.0): V2 has policy, default set and entries; V3 adds podEntries.
type checkpointState struct {
	PolicyName    *string                        `json:"policyName"`
	DefaultCPUSet *string                        `json:"defaultCpuSet"`
	Entries       map[types.UID]json.RawMessage  `json:"entries"`
	PodEntries    map[types.UID]checkpointPodSet `json:"podEntries"`
	// Baselines are V4's: what containers had before they were resized in place.
	Baselines json.RawMessage `json:"baselines"`
}

type checkpointPodSet struct {
	CPUSet string `json:"cpuSet"`
}

// checkpointDocument is the file. V4, written by kubelets from 1.37 on, repeats V2's fields for the sake
// of older kubelets and puts the whole state, as text, into data.
type checkpointDocument struct {
	checkpointState
	Checksum     json.RawMessage `json:"checksum"`
	Data         *string         `json:"data"`
	DataChecksum json.RawMessage `json:"dataChecksum"`
}

// ParseCheckpoint reads a cpu_manager_state file of versions V2 to V4. It is strict: a field that it does
// not know means a newer version, whose other fields may mean something else by now.
//
// Checksums are not verified. They are made from the Go representation of the kubelet's own types and
// change with them. The kubelet replaces the file by rename, so a file truncated by a crash does not parse.
func ParseCheckpoint(data []byte) (Checkpoint, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return Checkpoint{}, errors.New("the file is empty; " + removeFile)
	}
	var document checkpointDocument
	if err := decodeStrictly(data, &document, removeFile); err != nil {
		return Checkpoint{}, err
	}
	state := document.checkpointState
	if document.Data != nil {
		state = checkpointState{}
		if err := decodeStrictly([]byte(*document.Data), &state, removeFile); err != nil {
			return Checkpoint{}, fmt.Errorf("field data: %w", err)
		}
	}
	return state.parse()
}

// removeFile is what to do about a cpu_manager_state that stays damaged.
const removeFile = "stop the kubelet, remove the file and start the kubelet again"

// decodeStrictly decodes a file that has to be all there, and has to have no field that is not known. advice is what to do
// where it stays damaged.
func decodeStrictly(data []byte, into any, advice string) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		// An unknown field is the only error of a file that is JSON and has the right types so far.
		lenient := json.Unmarshal(data, into)
		if lenient == nil {
			return fmt.Errorf("%w (%w)", errUnknownCheckpoint, err)
		}
		return fmt.Errorf("the file is damaged or half written (%w); if this stays, %s", err, advice)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the file goes on after its end; " + advice)
	}
	return nil
}

func (s checkpointState) parse() (Checkpoint, error) {
	if s.PolicyName == nil || s.DefaultCPUSet == nil {
		return Checkpoint{}, fmt.Errorf("policyName or defaultCpuSet is missing: %w", errUnknownCheckpoint)
	}
	if *s.PolicyName != cpumanager.PolicyStatic && *s.PolicyName != cpumanager.PolicyNone {
		return Checkpoint{}, fmt.Errorf("policy %.40q: %w", *s.PolicyName, errUnknownCheckpoint)
	}
	shared, err := cpuset.Parse(*s.DefaultCPUSet)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("defaultCpuSet: %w", err)
	}
	c := Checkpoint{
		Policy: *s.PolicyName, Shared: shared,
		Granted: make(map[types.UID]map[string]cpuset.Set, len(s.Entries)),
		Pods:    make(map[types.UID]cpuset.Set, len(s.PodEntries)),
	}
	for uid, entry := range s.Entries {
		if c.Granted[uid], err = parseEntry(entry); err != nil {
			return Checkpoint{}, fmt.Errorf("entry of pod %.40q: %w", uid, err)
		}
	}
	for uid, pod := range s.PodEntries {
		if c.Pods[uid], err = cpuset.Parse(pod.CPUSet); err != nil {
			return Checkpoint{}, fmt.Errorf("entry of pod %.40q: %w", uid, err)
		}
	}
	return c, c.validate()
}

// validate refuses a state that contradicts itself, and the one the kubelet writes first of all, before
// its policy has filled the shared pool (NewCheckpointState, then policy.Start). Containers of one pod may
// hold the same CPUs: an app container takes over those of init containers.
func (c Checkpoint) validate() error {
	if c.Policy == cpumanager.PolicyStatic && c.Shared.IsEmpty() && len(c.Granted) == 0 {
		return errors.New("the kubelet has not filled the shared pool yet; if this stays, look into the kubelet's log")
	}
	taken := c.Shared
	for uid, containers := range c.Granted {
		var cpus cpuset.Set
		for _, granted := range containers {
			cpus = cpus.Union(granted)
		}
		both := taken.Intersect(cpus)
		if !both.IsEmpty() {
			return fmt.Errorf("CPUs %s of pod %.40q are also in the shared pool or held by another pod; drain the node, stop the kubelet, remove the file and start the kubelet again", both, uid)
		}
		taken = taken.Union(cpus)
	}
	return nil
}

// parseEntry reads the CPUs of a pod's containers. Version V1, of kubelets before 1.16, kept a CPU list
// for each container id instead.
func parseEntry(entry json.RawMessage) (map[string]cpuset.Set, error) {
	var lists map[string]string
	if err := json.Unmarshal(entry, &lists); err != nil {
		return nil, fmt.Errorf("%w: %w", errUnknownCheckpoint, err)
	}
	containers := make(map[string]cpuset.Set, len(lists))
	for name, list := range lists {
		cpus, err := cpuset.Parse(list)
		if err != nil {
			return nil, fmt.Errorf("container %.40q: %w", name, err)
		}
		containers[name] = cpus
	}
	return containers, nil
}
