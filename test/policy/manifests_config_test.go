// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/manifests"
	schedulerconfig "corepin.dev/corepin/scheduler/config"
)

// agentConfig is the configuration that the agent of a kustomization gets.
func agentConfig(t *testing.T, objects []runtime.Object) *config.AgentConfiguration {
	t.Helper()
	for _, object := range objects {
		if m, ok := object.(*corev1.ConfigMap); ok && strings.HasPrefix(m.Name, "corepin-agent-") {
			c, err := config.Decode([]byte(m.Data["config.yaml"]))
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
	}
	t.Fatal("there is no ConfigMap corepin-agent with a hash in its name")
	return nil
}

func TestManifestsSpellOutTheAgentsDefaults(t *testing.T) {
	file, err := fs.ReadFile(manifests.FS, "base/agent/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := config.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	want := &config.AgentConfiguration{TypeMeta: got.TypeMeta}
	config.SetDefaults(want)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("manifests/base/agent/config.yaml gives\n%+v\nbut it says that it is the defaults, which are\n%+v", got, want)
	}
}

// A user of the chart can give every argument of the plugin.
func TestTheChartTakesEveryArgument(t *testing.T) {
	text, err := os.ReadFile("../../manifests/chart/values.schema.json")
	var schema map[string]any
	if err := errors.Join(err, json.Unmarshal(text, &schema)); err != nil {
		t.Fatal(err)
	}
	known, _, _ := unstructured.NestedMap(schema, "properties", "scheduler", "properties", "args", "properties")
	fields := reflect.TypeFor[schedulerconfig.DedicatedCPUArgs]()
	for i := range fields.NumField() {
		name, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
		if _, has := known[name]; name != "" && !has {
			t.Errorf("manifests/chart/values.schema.json refuses scheduler.args.%s, which is an argument of the plugin", name)
		}
	}
}

func TestManifestsGiveTheAgentWhatItsConfigurationNames(t *testing.T) {
	for _, dir := range []string{"base", "overlays/example"} {
		objects := build(t, dir)
		c, pod := agentConfig(t, objects), podTemplates(objects)["corepin-agent"]
		for _, violation := range agentPaths(c, pod) {
			t.Errorf("manifests/%s: %s", dir, violation)
		}
	}
}

// agentPaths tells what the configuration names and the pod does not have.
func agentPaths(c *config.AgentConfiguration, pod corev1.PodSpec) []string {
	var violations []string
	container := pod.Containers[0]
	for _, m := range container.VolumeMounts {
		if m.Name == "kubelet" && m.MountPath != c.KubeletRootDir {
			violations = append(violations, fmt.Sprintf("the kubelet's directory is mounted at %s, and kubeletRootDir is %s", m.MountPath, c.KubeletRootDir))
		}
	}
	for _, v := range pod.Volumes {
		if v.Name == "kubelet" && v.HostPath.Path != c.KubeletRootDir {
			violations = append(violations, fmt.Sprintf("the host's %s is mounted, and kubeletRootDir is %s; the agent names host paths to people", v.HostPath.Path, c.KubeletRootDir))
		}
	}
	if !strings.HasPrefix(c.KubeletConfigFile, c.KubeletRootDir+"/") {
		violations = append(violations, fmt.Sprintf("kubeletConfigFile %s is in no volume", c.KubeletConfigFile))
	}
	if port := fmt.Sprintf(":%d", container.Ports[0].ContainerPort); *c.Serving.Address != port {
		violations = append(violations, fmt.Sprintf("serving.address is %s, and the probes ask %s", *c.Serving.Address, port))
	}
	return violations
}

func TestAgentPathsCanFail(t *testing.T) {
	pod := corev1.PodSpec{
		Containers: []corev1.Container{{
			VolumeMounts: []corev1.VolumeMount{{Name: "kubelet", MountPath: "/elsewhere"}},
			Ports:        []corev1.ContainerPort{{ContainerPort: 1}},
		}},
		Volumes: []corev1.Volume{{Name: "kubelet", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/elsewhere"}}}},
	}
	c := &config.AgentConfiguration{KubeletConfigFile: "/etc/kubelet.yaml"}
	config.SetDefaults(c)
	if got := agentPaths(c, pod); len(got) != 4 {
		t.Errorf("got %q, want four violations", got)
	}
}
