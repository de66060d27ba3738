// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"

	kubeletconfig "k8s.io/kubelet/config/v1beta1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/test/harness/machine"
)

// checkpoint is the kubelet's cpu_manager_state as it is in the machine.
type checkpoint struct {
	PolicyName    string                       `json:"policyName"`
	DefaultCPUSet string                       `json:"defaultCpuSet"`
	Entries       map[string]map[string]string `json:"entries"`
}

func readCheckpoint(ctx context.Context, m *machine.Machine) (checkpoint, error) {
	var state checkpoint
	data, err := m.ReadFile(ctx, machine.CPUStateFile)
	if err != nil {
		return state, err
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return state, fmt.Errorf("reading the checkpoint of %s: %w: %q", m.Name(), err, data)
	}
	return state, nil
}

// granted are the CPUs of each container of a pod, by its UID.
func (c checkpoint) granted(pod string) (map[string]cpuset.Set, error) {
	granted := map[string]cpuset.Set{}
	for container, text := range c.Entries[pod] {
		cpus, err := cpuset.Parse(text)
		if err != nil {
			return nil, err
		}
		granted[container] = cpus
	}
	return granted, nil
}

// askKubelet reads a path of the kubelet's own port, as the admin.
func (w *world) askKubelet(ctx context.Context, m *machine.Machine, path string) ([]byte, error) {
	admin := w.AdminConfig()
	pair, err := tls.LoadX509KeyPair(admin.CertFile, admin.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the admin's key: %w", err)
	}
	// The kubelet's certificate is its own; this connection does not leave the host.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true}}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+m.KubeletAddress()+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("the kubelet of %s answers %s to %s: %s", m.Name(), response.Status, path, answer)
	}
	return answer, err
}

// configz is what the kubelet runs with, in its own words.
func (w *world) configz(ctx context.Context, m *machine.Machine) (kubeletconfig.KubeletConfiguration, error) {
	var answer struct {
		KubeletConfig kubeletconfig.KubeletConfiguration `json:"kubeletconfig"`
	}
	data, err := w.askKubelet(ctx, m, "/configz")
	if err != nil {
		return answer.KubeletConfig, err
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return answer.KubeletConfig, fmt.Errorf("reading /configz of %s: %w", m.Name(), err)
	}
	return answer.KubeletConfig, nil
}

// sameOptions compares options, where none and no map are the same.
func sameOptions(a, b map[string]string) error {
	if len(a) == 0 && len(b) == 0 || maps.Equal(a, b) {
		return nil
	}
	return fmt.Errorf("options %v and %v", a, b)
}
