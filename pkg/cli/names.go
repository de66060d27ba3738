// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"corepin.dev/corepin/pkg/vmi"
)

// outputName is the form of an answer that only names objects, as kubectl does: KIND/NAME, without namespaces.
const outputName = "name"

// nameFlag is outputFlag for a command that can name objects. which says which ones.
func (c *call) nameFlag(cmd *cobra.Command, which string) {
	cmd.Flags().StringVarP(&c.output, "output", "o", "text",
		"The form of the answer: text for people, json for an object a line, yaml for a document each, or name for KIND/NAME of "+which+".")
}

// names reports whether only names are to be written.
func (c *call) names() bool { return c.output == outputName }

// jsonOrName is json for a command that can name objects.
func (c *call) jsonOrName() (asJSON bool, err error) {
	if c.names() {
		return false, nil
	}
	asJSON, err = c.json()
	if err != nil {
		return false, fmt.Errorf("--output is %q; want text, json, yaml or name", c.output)
	}
	return asJSON, nil
}

// kindNames are the kinds as kubectl names them.
var kindNames = map[string]string{
	podKind.Kind:  "pod",
	nodeKind.Kind: "node",
	vmi.KindVM:    "virtualmachine.kubevirt.io",
	vmi.KindVMI:   "virtualmachineinstance.kubevirt.io",
}

// named writes the name of an object.
func (p *printer) named(kind, name string) { p.printf("%s/%s\n", kindNames[kind], name) }
