// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/kubernetes/cmd/kube-scheduler/app"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	"k8s.io/kubernetes/pkg/scheduler"
	schedulerconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"

	"corepin.dev/corepin/pkg/scoring"
	"corepin.dev/corepin/scheduler/dedicatedcpu"
)

const (
	manifests = "../manifests"
	shipped   = manifests + "/base/scheduler/config.yaml"
)

const kubeconfig = `
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: none, context: {cluster: none}}]
current-context: none
`

// setUp builds the scheduler as the binary does, from a configuration text, without starting it.
func setUp(t *testing.T, configuration string) (schedulerconfig.KubeSchedulerConfiguration, *scheduler.Scheduler, error) {
	t.Helper()
	dir := t.TempDir()
	kubeconfigFile, configFile := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "config.yaml")
	configuration += "\nclientConnection: {kubeconfig: " + kubeconfigFile + "}\n"
	for file, text := range map[string]string{kubeconfigFile: kubeconfig, configFile: configuration} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opts := options.NewOptions()
	opts.ConfigFile = configFile
	opts.SecureServing.BindPort = 0
	opts.Authentication.SkipInClusterLookup = true
	opts.SecureServing.ServerCert.CertDirectory = dir
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	completed, sched, err := app.Setup(ctx, opts, app.WithPlugin(dedicatedcpu.Name, dedicatedcpu.Factory(nil)))
	if err != nil {
		return schedulerconfig.KubeSchedulerConfiguration{}, nil, err
	}
	return completed.ComponentConfig, sched, nil
}

// Every KubeSchedulerConfiguration among the manifests starts a scheduler with the plugin in it.
func TestShippedConfigurations(t *testing.T) {
	found := 0
	err := filepath.WalkDir(manifests, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(text, []byte("\nkind: KubeSchedulerConfiguration")) {
			return err
		}
		found++
		t.Run(file, func(t *testing.T) {
			configuration, sched, err := setUp(t, string(text))
			if err != nil {
				t.Fatal(err)
			}
			for i := range configuration.Profiles {
				checkProfile(t, sched, &configuration.Profiles[i])
			}
		})
		return nil
	})
	if err != nil || found == 0 {
		t.Fatalf("%d configurations found, %v", found, err)
	}
}

func checkProfile(t *testing.T, sched *scheduler.Scheduler, profile *schedulerconfig.KubeSchedulerProfile) {
	t.Helper()
	plugins := sched.Profiles[profile.SchedulerName].ListPlugins()
	others, own := int32(0), int32(0)
	for _, plugin := range plugins.Score.Enabled {
		if plugin.Name == dedicatedcpu.Name {
			own = plugin.Weight
			continue
		}
		others += plugin.Weight
	}
	if own*scoring.Gap <= others*100 {
		t.Errorf("profile %s: weight %d of %s does not put nodes predicted exactly first: the others' sum to %d",
			profile.SchedulerName, own, dedicatedcpu.Name, others)
	}
	filters := plugins.Filter.Enabled
	if len(filters) == 0 || filters[len(filters)-1].Name != dedicatedcpu.Name {
		t.Errorf("profile %s: %s is not the last filter, so pods that others refuse would wait for reports: %v",
			profile.SchedulerName, dedicatedcpu.Name, filters)
	}
}

func TestWrongArgumentsStopTheScheduler(t *testing.T) {
	text, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	for right, wrong := range map[string]string{
		"scoringStrategy:":                  "scoringStrategie:",
		"nodesWithoutExactReport: Estimate": "nodesWithoutExactReport: Hope",
		"scheduler.corepin.dev/v1alpha1":    "scheduler.corepin.dev/v9",
	} {
		changed := strings.Replace(string(text), right, wrong, 1)
		if changed == string(text) {
			t.Fatalf("%s does not have %q", shipped, right)
		}
		_, value, found := strings.Cut(wrong, ": ")
		if !found {
			value = strings.TrimSuffix(wrong, ":")
		}
		if _, _, err := setUp(t, changed); err == nil || !strings.Contains(err.Error(), value) {
			t.Errorf("%q: error %v, want one with %q", wrong, err, value)
		}
	}
}
