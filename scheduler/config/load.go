// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Load reads the args that kube-scheduler passes to the plugin: nil, or the unread text of the configuration file. It
// fills the defaults and validates.
func Load(args runtime.Object) (*DedicatedCPUArgs, error) {
	switch args := args.(type) {
	case nil:
		return Decode(nil)
	case *runtime.Unknown:
		return Decode(args.Raw)
	default:
		return nil, fmt.Errorf("reading the args of plugin DedicatedCPU: kube-scheduler passed a %T, want the text of the configuration file", args)
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
			return nil, fmt.Errorf("reading the args of plugin DedicatedCPU: apiVersion %q, kind %q; this scheduler knows apiVersion %s, kind %s only",
				args.APIVersion, args.Kind, APIVersion, Kind)
		}
	}
	SetDefaults(args)
	if err := Validate(args).ToAggregate(); err != nil {
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
