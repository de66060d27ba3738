// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"corepin.dev/corepin/pkg/vmi"
)

// verdict is one VMI and what the user saw of KubeVirt when creating it.
type verdict struct {
	ID        string
	Group     string
	VMI       json.RawMessage
	APIServer struct{ Allowed bool }
	// Gates and Config are the KubeVirt object's feature gates and the rest of its configuration, and
	// KubeVirtAnnotations its annotations, of which the mutating webhook copies some.
	Gates               []any
	Config              map[string]any
	KubeVirtAnnotations map[string]any
	Causes              []struct{ Field, Message string }
}

// cluster is the KubeVirt object that was in force.
func (v verdict) cluster() (vmi.Cluster, error) {
	developer, _ := v.Config["developerConfiguration"].(map[string]any)
	developer = maps.Clone(developer)
	if developer == nil {
		developer = map[string]any{}
	}
	developer["featureGates"] = v.Gates
	configuration := map[string]any{"developerConfiguration": developer}
	for key, value := range v.Config {
		if key != "developerConfiguration" {
			configuration[key] = value
		}
	}
	return vmi.ClusterOf(map[string]any{
		"apiVersion": "kubevirt.io/v1", "kind": vmi.KindKubeVirt,
		"metadata": map[string]any{"annotations": v.KubeVirtAnnotations}, "spec": map[string]any{"configuration": configuration},
	})
}

// notOurs are KubeVirt's refusals that pkg/vmi does not repeat, by the field or the words of the cause.
// A case counts as not ours when every one of its causes is.
var notOurs = map[string]string{
	"metadata.labels":                    "reserved labels say nothing about CPUs",
	"spec.tolerations":                   "scheduling fields are the API server's to judge, in the pod",
	"spec.hostname":                      "says nothing about CPUs",
	"spec.serviceAccountName":            "says nothing about CPUs",
	"spec.domain.devices":                "devices say nothing about CPUs",
	"spec.domain.machine":                "machine types say nothing about CPUs",
	"spec.domain.rebootPolicy":           "says nothing about CPUs",
	"spec.domain.launchSecurity":         "says nothing about CPUs",
	"spec.domain.firmware":               "says nothing about CPUs",
	"spec.domain.features":               "says nothing about CPUs",
	"spec.domain.clock":                  "says nothing about CPUs",
	"spec.networks":                      "says nothing about CPUs",
	"spec.volumes":                       "says nothing about CPUs",
	"spec.evictionStrategy":              "says nothing about CPUs",
	"spec.terminationGracePeriodSeconds": "says nothing about CPUs",
}

// notOurs reports whether KubeVirt refused only for reasons that pkg/vmi leaves to others.
func (v verdict) notOurs() bool {
	for _, cause := range v.Causes {
		known := func(field string) bool {
			return strings.HasPrefix(cause.Field, field) || cause.Field == "" && strings.HasPrefix(cause.Message, field)
		}
		if !slices.ContainsFunc(slices.Collect(maps.Keys(notOurs)), known) {
			return false
		}
	}
	return len(v.Causes) > 0
}

func TestAdmission(t *testing.T) {
	y := newTally(t, nil)
	for _, record := range lines[verdict](t, "admission.jsonl") {
		disagreement := record.compare()
		if disagreement != "" && record.notOurs() {
			t.Logf("%s is not ours: %v", record.ID, record.Causes)
			continue
		}
		y.count(record.Group, record.ID, disagreement)
	}
	y.report()
}

// compare says how our answer differs from KubeVirt's, "" where it does not.
func (v verdict) compare() string {
	machine, err := vmi.Decode(v.VMI)
	if err != nil {
		if v.APIServer.Allowed {
			return fmt.Sprintf("KubeVirt allows it, and it cannot be read: %v", err)
		}
		return ""
	}
	cluster, err := v.cluster()
	if err != nil {
		return err.Error()
	}
	findings := vmi.Errors(cluster.Judge(machine, vmi.KubeVirt))
	if (len(findings) == 0) != v.APIServer.Allowed {
		return fmt.Sprintf("KubeVirt allows it: %v %v; our findings: %v: %s", v.APIServer.Allowed, v.Causes, findings, v.VMI)
	}
	if v.APIServer.Allowed || len(v.Causes) == 0 { // a webhook that crashed gave no causes
		return ""
	}
	return compareCauses(v, findings)
}
