package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"corepin.dev/corepin/pkg/vmi"
)

// Findings that are not of pkg/vmi's table of rules, since there is no virtual machine to apply it to.
const (
	ruleUnreadable = "unreadable" // an error: what cannot be read cannot be allowed
	ruleNotJudged  = "not-judged" // a warning: it is for others to judge
)

// verdict is the answer about one object. Its JSON is a line of check -o json.
type verdict struct {
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
	strictness := "strict"
	cmd := &cobra.Command{
		Use:   "check -f FILE...",
		Short: "Tell which virtual machines would be refused, and what is to be changed",
		Long: `check applies corepin's rules about dedicated CPUs to VirtualMachineInstances and VirtualMachines.

With --strictness strict, objects are judged as they are written, and what can never work is refused
too; with kubevirt, they are judged as KubeVirt's webhook does, which fills in what is left out before,
and the rest only warns. A VirtualMachine that refers to an instancetype is judged together with it where
that is among the files, and a KubeVirt object there gives the settings that KubeVirt's verdicts depend on
(vmRolloutStrategy, feature gates, even parity). Objects of other kinds pass with a warning; an object that cannot
be read is refused, and the ones after it are judged all the same.

Exit code: 0 all are allowed, 1 some are refused, 2 the command line is wrong or a file cannot be read.`,
		Example: `  kubectl corepin check -f vm.yaml
  kustomize build . | kubectl corepin check -f - -o json`,
		RunE: func(_ *cobra.Command, args []string) error { return c.check(args, strictness) },
	}
	c.inputFlags(cmd)
	c.outputFlag(cmd)
	cmd.Flags().StringVar(&strictness, "strictness", strictness, "Whose rules hold: strict or kubevirt.")
	return cmd
}

func (c *call) check(args []string, strictness string) error {
	rules, err := vmi.ParseStrictness(strictness)
	if err != nil {
		return fmt.Errorf("--strictness is %q; want strict or kubevirt", strictness)
	}
	asJSON, err := c.json()
	if err != nil {
		return err
	}
	c.files.names = append(c.files.names, args...)
	documents, err := c.files.documents(c.host)
	if err != nil {
		return err
	}
	tell := c.tellVerdict
	if asJSON {
		encoder := json.NewEncoder(c.out)
		encoder.SetEscapeHTML(false)
		tell = func(v *verdict) error { return encoder.Encode(v) }
	}
	objects := objectsOf(documents)
	court := newCourt(rules, objects)
	refused := 0
	for i := range objects {
		v := court.verdict(&objects[i])
		if !v.Allowed {
			refused++
			c.refuse()
		}
		if err := tell(&v); err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
	}
	if !asJSON {
		fmt.Fprintf(c.out, "%d checked, %d refused\n", len(objects), refused)
	}
	return nil
}

// tellVerdict writes a verdict for people.
func (c *call) tellVerdict(v *verdict) error {
	kind := v.Kind
	if kind == "" {
		kind = "object"
	}
	answer := "allowed"
	if !v.Allowed {
		answer = "refused"
	}
	fmt.Fprintf(c.out, "%s: %s: %s\n", v.where, strings.TrimSpace(kind+" "+qualified(v.Namespace, v.Name)), answer)
	for _, f := range v.Findings {
		text := f.Message
		if f.Field != "" {
			text = f.Field + ": " + text
		}
		fmt.Fprintf(c.out, "  %-7s  %s (%s)\n", f.Severity, text, f.Rule)
	}
	return nil
}
