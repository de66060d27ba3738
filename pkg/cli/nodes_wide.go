// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// wide is the form of an answer with all that is known.
const wide = "wide"

func (c *call) wideFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&c.output, "output", "o", "text", "The form of the answer: text, wide for the machine's settings too, or name for node/NAME of each.")
}

func (c *call) checkWide() error {
	if c.output != "text" && c.output != wide && !c.names() {
		return fmt.Errorf("--output is %q; want text, wide or name", c.output)
	}
	return nil
}

// othersIn is who else may run on the CPUs of dedicated VMs by a report; "" for nobody, or where that is not known.
func othersIn(report *v1alpha1.NodeCPU) string {
	c := meta.FindStatusCondition(report.Status.Conditions, v1alpha1.ConditionExclusive)
	if c == nil || c.Status == metav1.ConditionTrue {
		return ""
	}
	return c.Message
}

// settings are the machine's settings, a line each.
func (m *machine) settings() string {
	if len(m.tuning) == 0 {
		return "host      its settings are not in the report\n"
	}
	var b strings.Builder
	what := "host"
	for _, name := range slices.Sorted(maps.Keys(m.tuning)) {
		fmt.Fprintf(&b, "%-9s %s=%s\n", what, name, m.tuning[name])
		what = ""
	}
	return b.String()
}
