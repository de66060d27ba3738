// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"corepin.dev/corepin/pkg/vmi"
)

// Findings that are not in pkg/vmi's table of rules: there is no virtual machine that they could apply to.
const (
	ruleUnreadable = "unreadable" // an error: what cannot be read cannot be allowed
	ruleNotJudged  = "not-judged" // a warning: no rule of ours is about it
)

// checked is the answer about one object. Its JSON is a line of check -o json.
type checked struct {
	Kind      string    `json:"kind"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Allowed   bool      `json:"allowed"`
	Findings  []finding `json:"findings"`

	where string
}

type finding struct {
	Rule     string `json:"rule"`
	Severity string `json:"severity"`
	Field    string `json:"field"`
	Message  string `json:"message"`
}

func (c *call) checkCommand() *cobra.Command {
	strictness := strings.ToLower(vmi.Standard.String())
	cmd := &cobra.Command{
		Use:   "check -f FILE...",
		Short: "Check which virtual machines would be refused, and what to change",
		Long: `check applies corepin's rules about dedicated CPUs to VirtualMachineInstances, VirtualMachines, and replica sets
and pools of them.

With --strictness standard, objects are checked as they are written. What KubeVirt refuses is refused, and what can
never work. With strict, a number of CPUs that is given twice is refused too. With kubevirt, objects are checked as
KubeVirt's webhook does, which first fills in what is left out, and the rest only warns.

A VirtualMachine that refers to an instancetype or a preference is checked together with them where they are among the
files, or the ControllerRevisions that it names. A KubeVirt object there gives the settings on which KubeVirt's answers depend (vmRolloutStrategy, feature gates,
even parity), and NodeCPU objects say whether an odd number of CPUs can be had. Objects of other kinds pass with a
warning. An object that cannot be read is refused, and the ones after it are checked all the same.

Exit code: 0 all are allowed, 1 some are refused, 2 the command line is wrong or a file cannot be read.`,
		Example: `  kubectl corepin check -f vm.yaml
  kustomize build . | kubectl corepin check -f - -o json`,
		RunE: func(_ *cobra.Command, args []string) error { return c.check(args, strictness) },
	}
	c.inputFlags(cmd)
	c.outputFlag(cmd)
	cmd.Flags().StringVar(&strictness, "strictness", strictness, "Whose rules apply: standard, strict or kubevirt.")
	return cmd
}

func (c *call) check(args []string, strictness string) error {
	rules, err := vmi.ParseStrictness(strictness)
	if err != nil {
		return fmt.Errorf("--strictness is %q; want standard, strict or kubevirt", strictness)
	}
	asJSON, err := c.json()
	if err != nil {
		return err
	}
	all, err := c.objects(args)
	if err != nil {
		return err
	}
	validator := newValidator(rules, all)
	refused := 0
	for i := range all {
		v := validator.check(&all[i])
		if !v.Allowed {
			refused++
			c.refuse()
		}
		if asJSON {
			c.out.encode(&v)
		} else {
			v.print(&c.out)
		}
	}
	if !asJSON {
		c.out.printf("%d checked, %d refused\n", len(all), refused)
	}
	return nil
}

// print writes the answer for people.
func (v *checked) print(out *printer) {
	kind := v.Kind
	if kind == "" {
		kind = "object"
	}
	answer := "allowed"
	if !v.Allowed {
		answer = "refused"
	}
	out.printf("%s: %s: %s\n", v.where, strings.TrimSpace(kind+" "+qualified(v.Namespace, v.Name)), answer)
	for _, f := range v.Findings {
		text := f.Message
		if f.Field != "" {
			text = f.Field + ": " + text
		}
		out.printf("  %-7s  %s (%s)\n", f.Severity, text, f.Rule)
	}
}
