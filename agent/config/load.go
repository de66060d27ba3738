// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"os"

	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Load reads the configuration file at path strictly, fills in the defaults and validates the result.
// An empty path gives the defaults. Errors name the file and everything that is wrong with it.
func Load(path string) (*AgentConfiguration, error) {
	if path == "" {
		c := &AgentConfiguration{}
		SetDefaults(c)
		return c, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	c, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("reading configuration %s: %w", path, err)
	}
	return c, nil
}

// Decode is Load for the contents of a file.
func Decode(data []byte) (*AgentConfiguration, error) {
	c := &AgentConfiguration{}
	// The kind first, leniently: in a file of another kind every field is unknown, and a list of those
	// would hide what is really wrong.
	if err := yaml.Unmarshal(data, &c.TypeMeta); err != nil {
		return nil, err
	}
	if c.APIVersion != APIVersion || c.Kind != Kind {
		return nil, fmt.Errorf("this is apiVersion %q, kind %q; want apiVersion %q, kind %q", c.APIVersion, c.Kind, APIVersion, Kind)
	}
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, err
	}
	problems, err := json.UnmarshalStrict(asJSON, c)
	if err != nil {
		return nil, err
	}
	SetDefaults(c)
	for _, problem := range Validate(c) {
		problems = append(problems, problem)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return c, nil
}
