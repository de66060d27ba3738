// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cpuset"
)

// siblings says how many granted CPUs are hardware threads of a core that somebody else runs on too, and who that is; "" where
// none is. The threads of a core take turns, whoever they are granted to.
func (m *machine) siblings() string {
	owners := map[int]types.UID{}
	for uid, grants := range m.report.Granted {
		for _, grant := range grants {
			for id := range grant.CPUs.All() {
				owners[id] = uid
			}
		}
	}
	var withPool, withPods cpuset.Set
	for id, owner := range owners {
		core, _ := m.report.Node.Topology.CoreOf(id)
		for sibling := range core.CPUs.All() {
			other, granted := owners[sibling]
			switch {
			case !granted:
				withPool = withPool.Union(cpuset.Of(id))
			case other != owner:
				withPods = withPods.Union(cpuset.Of(id))
			}
		}
	}
	var parts []string
	if !withPool.IsEmpty() {
		parts = append(parts, withPool.String()+" with the shared pool or reserved CPUs")
	}
	if !withPods.IsEmpty() {
		parts = append(parts, withPods.String()+" with another pod")
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d granted CPUs share a core: %s", withPool.Union(withPods).Len(), len(owners), strings.Join(parts, "; "))
}
