// SPDX-License-Identifier: Apache-2.0

// Package objects reads Kubernetes objects from YAML and JSON, each with its file and line.
//
// kubectl reads objects to send them to an API server, which then says what is wrong. corepin reads them to
// answer without a server, so this package has to say it: the file, the line, the field, and what to write.
//
//	for _, o := range objects.Read("vm.yaml", data) {
//		if o.Err != nil {
//			return o.Err // vm.yaml:7: reading YAML or JSON: did not find expected ',' or '}'
//		}
//		unknown, err := o.Decode(&pod)
//		...
//	}
//
// # What can be read
//
// A file is a stream of YAML documents, of JSON values, or of both. Lists (kind List, kind PodList, a bare list)
// are replaced by their items. The values are those that kubectl sees: YAML goes through sigs.k8s.io/yaml.
//
// # Promises
//
// Nothing in a file is lost: what cannot be read is an Object with Err, in its place among the others. One broken
// object does not affect the others, as far as YAML allows that.
//
// The cost is bounded. Time and memory grow with the size of the file. A single YAML object or an expansion of YAML
// aliases that is too large is an error, and so is a quantity with a huge exponent.
//
// The same file gives the same objects. All functions are pure.
package objects
