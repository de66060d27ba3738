// SPDX-License-Identifier: Apache-2.0

package story

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// managerGone restarts the kubelet of a node without VMs with policy none, and then as it was.
func (s *Story) managerGone(ctx context.Context) ([]string, error) {
	node := s.bed.Nodes[NUMA4]
	before := node.Kubelet
	without := before
	without.CPUManagerPolicy, without.CPUManagerPolicyOptions = "none", nil
	start := time.Now()
	if err := node.Sim.Reconfigure(without); err != nil {
		return nil, err
	}
	if err := s.awaitLabel(ctx, NUMA4, false); err != nil {
		return nil, err
	}
	facts := []string{fmt.Sprintf("kubelet of %s restarted with policy none: label gone %.1fs later", NUMA4, time.Since(start).Seconds())}
	start = time.Now()
	if err := node.Sim.Reconfigure(before); err != nil {
		return facts, err
	}
	if err := s.awaitLabel(ctx, NUMA4, true); err != nil {
		return facts, err
	}
	return append(facts, fmt.Sprintf("restarted with policy static: label back %.1fs later", time.Since(start).Seconds())), nil
}

// gate switches the feature gate off and on while one node is labelled by hand.
func (s *Story) gate(ctx context.Context) ([]string, error) {
	labelled := []string{Big, Small, Local}
	start := time.Now()
	if err := s.bed.SetGates(ctx, "DataVolumes"); err != nil {
		return nil, err
	}
	for _, name := range append(labelled, NUMA4) {
		if err := s.awaitLabel(ctx, name, false); err != nil {
			return nil, err
		}
	}
	facts := []string{fmt.Sprintf("off: labels gone from every node %.1fs later", time.Since(start).Seconds())}
	if _, err := s.bed.Kubectl(ctx, "label", "node", NUMA4, "cpumanager=true", "kubevirt.io/cpumanager=true"); err != nil {
		return facts, err
	}
	start = time.Now()
	if err := s.bed.SetGates(ctx, "DataVolumes,CPUManager"); err != nil {
		return facts, err
	}
	for _, name := range labelled {
		if err := s.awaitLabel(ctx, name, true); err != nil {
			return facts, err
		}
	}
	facts = append(facts, fmt.Sprintf("on: labels back %.1fs later", time.Since(start).Seconds()))
	// Off once more: what a person has set has to stay, and the others going shows that the agents have
	// seen the switch.
	if err := s.bed.SetGates(ctx, "DataVolumes"); err != nil {
		return facts, err
	}
	for _, name := range labelled {
		if err := s.awaitLabel(ctx, name, false); err != nil {
			return facts, err
		}
	}
	if err := s.awaitLabel(ctx, NUMA4, true); err != nil {
		return facts, err
	}
	facts = append(facts, "off again: the label set by hand on "+NUMA4+" stays")
	if err := s.bed.SetGates(ctx, "DataVolumes,CPUManager"); err != nil {
		return facts, err
	}
	for _, name := range labelled {
		if err := s.awaitLabel(ctx, name, true); err != nil {
			return facts, err
		}
	}
	return append(facts, "on again"), nil
}

func (s *Story) label(ctx context.Context, node string) (string, error) {
	object, err := s.bed.Client().CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	return object.Labels["cpumanager"], nil
}
