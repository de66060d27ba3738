package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	k8sjson "sigs.k8s.io/json"

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
and the rest only warns. Objects of other kinds pass with a warning; an object that cannot be read is
refused, and the ones after it are judged all the same.

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
	judge, known := map[string]func(*vmi.VMI) []vmi.Finding{"strict": asWritten, "kubevirt": asKubeVirt}[strictness]
	if !known {
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
	checked, refused := 0, 0
	for _, document := range documents {
		for _, object := range document.objects() {
			v := object.verdict(judge)
			checked++
			if !v.Allowed {
				refused++
				c.refuse()
			}
			if err := tell(&v); err != nil {
				return fmt.Errorf("writing the answer: %w", err)
			}
		}
	}
	if !asJSON {
		fmt.Fprintf(c.out, "%d checked, %d refused\n", checked, refused)
	}
	return nil
}

// asWritten judges as the policy in manifests/admission does.
func asWritten(v *vmi.VMI) []vmi.Finding { return vmi.Check(v, vmi.Strict) }

// asKubeVirt judges as KubeVirt's webhook does.
func asKubeVirt(v *vmi.VMI) []vmi.Finding {
	v.Default()
	return vmi.Check(v, vmi.KubeVirt)
}

func (o *object) verdict(judge func(*vmi.VMI) []vmi.Finding) verdict {
	v := verdict{Kind: o.kind, Namespace: o.namespace, Name: o.name, where: o.where()}
	if o.fault != nil {
		v.Findings = []finding{unreadable(o.fault.Error())}
		return v
	}
	if o.foreign() {
		v.Allowed = true
		v.Findings = []finding{{Rule: ruleNotJudged, Severity: string(vmi.Warning), Field: "kind",
			Message: fmt.Sprintf("only VirtualMachineInstance and VirtualMachine are judged, and this is %s %s", o.apiVersion, o.kind)}}
		return v
	}
	machine, err := o.machine()
	if err != nil {
		v.Findings = []finding{unreadable(o.faulty(err).Error())}
		return v
	}
	if machine.Instancetype {
		v.Findings = []finding{{Rule: ruleNotJudged, Severity: string(vmi.Warning), Field: "spec.instancetype",
			Message: "the sizes stand in the instancetype, so the VirtualMachineInstance made from both is judged, not this"}}
	}
	broken := judge(machine)
	for _, f := range broken {
		v.Findings = append(v.Findings, finding{f.Rule, string(f.Severity), f.Field, f.Message})
	}
	v.Allowed = len(vmi.Errors(broken)) == 0
	if v.Findings == nil {
		v.Findings = []finding{} // [] and not null
	}
	return v
}

// foreign tells whether the object is of another API, and so for others to judge. An object that does not
// say what it is, is not foreign but faulty.
func (o *object) foreign() bool {
	group, _, _ := strings.Cut(o.apiVersion, "/")
	return o.apiVersion != "" && o.kind != "" && group != "kubevirt.io" &&
		!slices.Contains([]string{vmi.KindVMI, vmi.KindVM}, o.kind)
}

func (o *object) machine() (*vmi.VMI, error) {
	if o.apiVersion == "" || o.kind == "" {
		return nil, errors.New("apiVersion or kind is missing, so it is not known what this is")
	}
	var fields map[string]any
	faults, err := k8sjson.UnmarshalStrict(o.json, &fields)
	if err == nil && len(faults) > 0 {
		err = faults[0]
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", o.kind, err)
	}
	fields["apiVersion"], fields["kind"] = o.apiVersion, o.kind
	return vmi.FromUnstructured(fields)
}

func unreadable(message string) finding {
	return finding{Rule: ruleUnreadable, Severity: string(vmi.Error), Message: message}
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
