// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"corepin.dev/corepin/test/harness/monitoring"
)

// The types of the Prometheus operator (monitoring.coreos.com/v1), as far as our manifests use them. A field that is not
// here is refused, as a field that the API does not have is.
var operatorVersion = schema.GroupVersion{Group: "monitoring.coreos.com", Version: "v1"}

func addOperatorTypes(s *runtime.Scheme) error {
	s.AddKnownTypeWithName(operatorVersion.WithKind("PodMonitor"), &PodMonitor{})
	s.AddKnownTypeWithName(operatorVersion.WithKind("ServiceMonitor"), &ServiceMonitor{})
	s.AddKnownTypeWithName(operatorVersion.WithKind("PrometheusRule"), &PrometheusRule{})
	return nil
}

// PodMonitor says which pods are scraped.
type PodMonitor struct {
	v1.TypeMeta   `json:",inline"`
	v1.ObjectMeta `json:"metadata"`
	Spec          struct {
		JobLabel            string           `json:"jobLabel"`
		Selector            v1.LabelSelector `json:"selector"`
		PodMetricsEndpoints []endpoint       `json:"podMetricsEndpoints"`
	} `json:"spec"`
}

// ServiceMonitor says which endpoints of Services are scraped.
type ServiceMonitor struct {
	v1.TypeMeta   `json:",inline"`
	v1.ObjectMeta `json:"metadata"`
	Spec          struct {
		JobLabel  string            `json:"jobLabel"`
		Selector  v1.LabelSelector  `json:"selector"`
		Endpoints []serviceEndpoint `json:"endpoints"`
	} `json:"spec"`
}

// PrometheusRule has alerts.
type PrometheusRule struct {
	v1.TypeMeta   `json:",inline"`
	v1.ObjectMeta `json:"metadata"`
	Spec          struct {
		Groups []monitoring.Group `json:"groups"`
	} `json:"spec"`
}

type endpoint struct {
	Port        string       `json:"port"`
	Path        string       `json:"path"`
	Scheme      string       `json:"scheme,omitempty"`
	Relabelings []relabeling `json:"relabelings,omitempty"`
}

// serviceEndpoint has what only the endpoint of a ServiceMonitor may have: a file of Prometheus' container.
type serviceEndpoint struct {
	endpoint        `json:",inline"`
	BearerTokenFile string `json:"bearerTokenFile,omitempty"`
	TLSConfig       struct {
		InsecureSkipVerify bool `json:"insecureSkipVerify"`
	} `json:"tlsConfig"`
}

type relabeling struct {
	SourceLabels []string `json:"sourceLabels"`
	TargetLabel  string   `json:"targetLabel,omitempty"`
	Regex        string   `json:"regex,omitempty"`
	Action       string   `json:"action,omitempty"`
}

// DeepCopyObject copies nothing: the tests only read.
func (m *PodMonitor) DeepCopyObject() runtime.Object { return m }

// DeepCopyObject copies nothing: the tests only read.
func (m *ServiceMonitor) DeepCopyObject() runtime.Object { return m }

// DeepCopyObject copies nothing: the tests only read.
func (m *PrometheusRule) DeepCopyObject() runtime.Object { return m }
