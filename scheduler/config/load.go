package config

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Load reads the args that kube-scheduler hands to the plugin: nil, or the text as it stands in the
// configuration file. It fills the defaults and validates.
func Load(args runtime.Object) (*DedicatedCPUArgs, error) {
	switch args := args.(type) {
	case nil:
		return Decode(nil)
	case *runtime.Unknown:
		return Decode(args.Raw)
	default:
		return nil, fmt.Errorf("reading the args of plugin DedicatedCPU: they come as %T, not as text", args)
	}
}

// Decode reads args from YAML or JSON, fills the defaults and validates. Empty text gives the defaults.
func Decode(data []byte) (*DedicatedCPUArgs, error) {
	args := &DedicatedCPUArgs{}
	if len(data) > 0 {
		if err := decodeStrict(data, args); err != nil {
			return nil, fmt.Errorf("reading the args of plugin DedicatedCPU: %w", err)
		}
		if args.APIVersion != APIVersion || args.Kind != Kind {
			return nil, fmt.Errorf("reading the args of plugin DedicatedCPU: apiVersion %q, kind %q: this scheduler knows apiVersion %s, kind %s only",
				args.APIVersion, args.Kind, APIVersion, Kind)
		}
	}
	args.Default()
	if err := args.Validate(nil).ToAggregate(); err != nil {
		return nil, fmt.Errorf("reading the args of plugin DedicatedCPU: %w", err)
	}
	return args, nil
}

func decodeStrict(data []byte, into *DedicatedCPUArgs) error {
	text, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return err
	}
	strictErrs, err := json.UnmarshalStrict(text, into)
	if err != nil {
		return err
	}
	return errors.Join(strictErrs...)
}

// Validate checks values, not shape; path is where the args stand.
func (a *DedicatedCPUArgs) Validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch a.ScoringStrategy {
	case LeastFragmentation, MostFree, MostAllocated:
	default:
		errs = append(errs, field.NotSupported(path.Child("scoringStrategy"), a.ScoringStrategy,
			[]ScoringStrategy{LeastFragmentation, MostFree, MostAllocated}))
	}
	switch a.NodesWithoutExactReport {
	case Refuse, Estimate:
	default:
		errs = append(errs, field.NotSupported(path.Child("nodesWithoutExactReport"), a.NodesWithoutExactReport,
			[]UnknownNodePolicy{Refuse, Estimate}))
	}
	switch a.CPUManagerNodes {
	case Required, Preferred:
	default:
		errs = append(errs, field.NotSupported(path.Child("cpuManagerNodes"), a.CPUManagerNodes, []LabelPolicy{Required, Preferred}))
	}
	switch a.OtherPods {
	case Predict, Ignore:
	default:
		errs = append(errs, field.NotSupported(path.Child("otherPods"), a.OtherPods, []OtherPodsPolicy{Predict, Ignore}))
	}
	return errs
}
