// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/spf13/cobra"

	"corepin.dev/corepin/pkg/version"
)

func (c *call) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version of this program and of the Kubernetes code in it",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			asJSON, err := c.json()
			if err != nil {
				return err
			}
			if asJSON {
				c.out.encode(version.Get())
				return nil
			}
			c.out.printf("%s\n", version.Get())
			return nil
		},
	}
	c.outputFlag(cmd)
	return cmd
}
