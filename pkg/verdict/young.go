// SPDX-License-Identifier: Apache-2.0

package verdict

import "corepin.dev/corepin/pkg/nodereport"

// Await says that a report is expected soon that can be used. Until then nothing is estimated. It reports whether there
// is none now. A report of a newer corepin is not one to wait for: the next one will be newer too.
func (n *Node) Await(why string) bool {
	switch n.State {
	case nodereport.Missing:
		n.Why = why
	case nodereport.Replaced, nodereport.Contradicted, nodereport.Unreadable:
	default:
		return false
	}
	n.State = nodereport.Awaited
	return true
}

// Why a report is awaited where there is none.
const (
	NodeIsNew  = "the Node is new"
	ReportLost = "its report was deleted a moment ago"
)
