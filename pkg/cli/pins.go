// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/objects"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/vmi"
)

func (c *call) pinsCommand() *cobra.Command {
	var granted string
	everywhere := false
	cmd := &cobra.Command{
		Use:   "pins [-f FILE... --cpus LIST]",
		Short: "Show where the threads of virtual machines are pinned, or would be",
		Long: `pins shows which CPU each vCPU, the emulator and each IO thread of a dedicated VM runs on.

Without -f, or with a dump, it shows where the agents last found the threads of the dedicated VMs in the cluster, or in the
namespace of -n. With --selector it shows the VMs with these labels, which their launcher pods have too. With -f and other
files, it computes where the threads would go, for each VirtualMachineInstance or VirtualMachine of the input, on the machine
of the one NodeCPU in it, if the kubelet grants the CPUs of --cpus.

With -o json each VM is a line: {"vmi","vcpus":[{"vcpu","cpus"}],"emulator","ioThreads":[{"id","cpus"}],
"error","waits":[{"vcpu","percent"}],"exclusive"}. An emulator without CPUs of its own ("") runs on any of the granted CPUs.
waits are the vCPUs that were ready to run and waited for a CPU for more of the last minute than their agent's configuration
allows. exclusive says who else may run on the granted CPUs.

Exit code: 0 all are pinned, 1 some are not or cannot be, 2 the command line or the input is wrong.`,
		Example: `  kubectl corepin pins
  kubectl corepin pins -f nodecpu.yaml -f vmi.yaml --cpus 2-5`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if everywhere {
				c.namespace = ""
			}
			if len(c.files.names)+len(args) == 0 && !cmd.Flags().Changed("cpus") {
				return c.pinsOfCluster(cmd.Context())
			}
			if !cmd.Flags().Changed("cpus") {
				if err := c.dumpOnly(); err == nil {
					return c.pinsOfCluster(cmd.Context())
				}
				return errors.New("--cpus is missing: which CPUs does the kubelet grant to the VM's pod? (see fit)")
			}
			return c.pinsOfInput(args, granted)
		},
	}
	c.inputFlags(cmd)
	c.nameFlag(cmd, "the virtual machines")
	cmd.Flags().StringVarP(&c.selector, "selector", "l", "", "Only virtual machines with these labels, such as app=db; not with --cpus.")
	cmd.Flags().BoolVarP(&everywhere, "all-namespaces", "A", false, "The VMs of all namespaces, also if -n names one. That is so without -n too.")
	cmd.Flags().StringVar(&granted, "cpus", "", "The CPUs that the kubelet grants to each VM, for example 2-5,8; only with -f.")
	return cmd
}

// pinning is where a VM's threads are or would be.
type pinning struct {
	vm, namespace, node string
	// kind and name are the object's.
	kind, name string
	labels     map[string]string // of the launcher pod; nil where it is that of the input
	machine    *vmi.VMI          // where it is that of the input
	granted    cpuset.Set
	host       *cputopology.Topology // nil where it is not known
	reserved   cpuset.Set
	vcpus      []int // numbers, in the order of pins.VCPUs
	pins       placement.Pins
	waits      nodereport.Waits
	exclusive  string // who else may run on the granted CPUs; "" where that is not known
	err        error
	// silence says that the node is not heard from; "" where it is.
	silence string
}

// pinsLine is a line of pins -o json.
type pinsLine struct {
	VMI       string         `json:"vmi"`
	VCPUs     []vcpuPin      `json:"vcpus"`
	Emulator  string         `json:"emulator"`
	IOThreads []ioThreadLine `json:"ioThreads"`
	Error     string         `json:"error"`
	// Waits are the vCPUs that waited for a CPU for more of the last minute than their agent's configuration allows.
	Waits []vcpuWait `json:"waits,omitempty"`
	// Exclusive says who else may run on the granted CPUs by condition Exclusive of the node.
	Exclusive string `json:"exclusive,omitempty"`
	// Silent says since when the node is not heard from. All else is as of then.
	Silent string `json:"silent,omitempty"`
}

type vcpuPin struct {
	VCPU int    `json:"vcpu"`
	CPUs string `json:"cpus"`
}

type vcpuWait struct {
	VCPU    int     `json:"vcpu"`
	Percent float64 `json:"percent"`
}

type ioThreadLine struct {
	ID   int    `json:"id"`
	CPUs string `json:"cpus"`
}

func (p *pinning) line() pinsLine {
	line := pinsLine{VMI: p.vm, VCPUs: []vcpuPin{}, IOThreads: []ioThreadLine{}, Emulator: p.pins.Emulator.String(), Silent: p.silence, Exclusive: p.exclusive}
	for i, cpus := range p.pins.VCPUs {
		line.VCPUs = append(line.VCPUs, vcpuPin{p.vcpus[i], cpus.String()})
	}
	for _, thread := range slices.Sorted(maps.Keys(p.pins.IOThreads)) {
		line.IOThreads = append(line.IOThreads, ioThreadLine{thread, p.pins.IOThreads[thread].String()})
	}
	for _, id := range p.waits.Longest(len(p.waits)) {
		line.Waits = append(line.Waits, vcpuWait{id, math.Round(1000*p.waits[id]) / 10})
	}
	if p.err != nil {
		line.Error = p.err.Error()
	}
	return line
}

// pinsOfInput computes where the threads of the VMs in the input would go.
func (c *call) pinsOfInput(args []string, granted string) error {
	cpus, err := cpuset.Parse(granted)
	if err != nil {
		return fmt.Errorf("--cpus is %q: %w", granted, err)
	}
	if c.selector != "" {
		return errors.New("--selector chooses among the VMs of the cluster or of a dump, and --cpus is for those of other files; leave one out")
	}
	all, err := c.objects(args)
	if err != nil {
		return err
	}
	report, vms, err := readPinsInput(all)
	if err != nil {
		return fmt.Errorf("reading input: %w", err)
	}
	host, hostErr := nodereport.Topology(&report.Status)
	reserved, err := cpuset.Parse(report.Status.ReservedCPUs)
	if err != nil {
		return fmt.Errorf("reading input: NodeCPU %s: reservedCPUs: %w", report.Name, err)
	}
	var inputError error
	for _, p := range vms {
		p.node = report.Name
		p.granted = cpus
		p.host = host
		p.reserved = reserved
		switch {
		case p.err != nil:
			inputError = cmp.Or(inputError, fmt.Errorf("reading input: %w", p.err))
		case hostErr != nil:
			p.err = hostErr
		default:
			p.place()
		}
	}
	return cmp.Or(c.printPins(vms), inputError)
}

// place computes the pins of a VM's guest.
func (p *pinning) place() {
	machine := p.machine
	if !machine.Dedicated() {
		p.err = errors.New("the VM asks no dedicated CPUs (spec.domain.cpu.dedicatedCpuPlacement), so nothing is pinned")
		return
	}
	if machine.Instancetype != nil {
		p.err = errors.New("the sizes are in the instancetype; give the VirtualMachineInstance made from both")
		return
	}
	var guest placement.Guest
	if guest, p.err = placement.GuestOf(machine); p.err != nil {
		return
	}
	p.pins, p.err = placement.Place(guest, p.granted, p.host)
	if p.err != nil {
		return
	}
	for id := range p.pins.VCPUs {
		p.vcpus = append(p.vcpus, id)
	}
}

// readPinsInput finds the one NodeCPU and the VMs; what cannot be used is a VM with an error.
func readPinsInput(input []objects.Object) (*v1alpha1.NodeCPU, []*pinning, error) {
	var report *v1alpha1.NodeCPU
	var all []*pinning
	for i := range input {
		o := &input[i]
		p := &pinning{vm: qualified(o.Namespace, o.Name), kind: o.Kind, name: o.Name}
		switch kind := (metav1.TypeMeta{APIVersion: o.APIVersion, Kind: o.Kind}); {
		case o.Err != nil:
			p.err = o.Err
		case kind == reportKind && report != nil:
			return nil, nil, fmt.Errorf("%s: a second NodeCPU; the CPUs of --cpus are those of one machine", o.Where())
		case kind == reportKind:
			report = &v1alpha1.NodeCPU{}
			if _, err := o.Decode(report); err != nil {
				return nil, nil, o.Wrap(fmt.Errorf("%s: %w", called(o), err))
			}
			continue
		case foreign(o):
			p.err = fmt.Errorf("%s: this is %s %q, and only NodeCPU (%s) and virtual machines (kubevirt.io) can be used here",
				o.Where(), o.APIVersion, o.Kind, reportKind.APIVersion)
		default:
			p.machine, p.err = readMachine(o)
			if p.err != nil {
				p.err = o.Wrap(p.err)
			}
		}
		all = append(all, p)
	}
	sound := slices.ContainsFunc(all, func(p *pinning) bool { return p.err == nil })
	bad := slices.IndexFunc(all, func(p *pinning) bool { return p.err != nil })
	switch {
	case bad >= 0 && (report == nil || !sound):
		return nil, nil, all[bad].err
	case report == nil:
		return nil, nil, errors.New("there is no NodeCPU in it, so the machine is not known (kubectl get nodecpu NAME -o yaml)")
	case !sound:
		return nil, nil, errors.New("there is no virtual machine in it")
	}
	return report, all, nil
}

// pinsOfCluster writes what the agents of the cluster report.
func (c *call) pinsOfCluster(ctx context.Context) error {
	cluster, err := c.host.Cluster(ctx)
	if err != nil {
		return err
	}
	if len(cluster.Reports) == 0 {
		return errors.New("the cluster has no NodeCPU objects; is corepin-agent running on its nodes?")
	}
	selects, err := c.selecting()
	if err != nil {
		return err
	}
	return c.printPins(slices.DeleteFunc(pinsReported(cluster, c.host.Now()), func(p *pinning) bool {
		return c.namespace != "" && p.namespace != c.namespace || !selects(p.labels)
	}))
}

// printPins writes the pins of VMs.
func (c *call) printPins(all []*pinning) error {
	asJSON, err := c.jsonOrName()
	if err != nil {
		return err
	}
	for i, p := range all {
		if p.err != nil {
			c.refuse()
		}
		if asJSON {
			c.out.encode(p.line())
			continue
		}
		if c.names() {
			c.out.named(p.kind, p.name)
			continue
		}
		if i > 0 {
			c.out.print("\n")
		}
		p.print(&c.out)
	}
	if len(all) == 0 && !asJSON && !c.names() {
		where := "the cluster"
		if c.namespace != "" {
			where = "namespace " + c.namespace + " of the cluster"
		}
		if c.selector != "" {
			where += " with the labels " + c.selector
		}
		c.out.printf("no dedicated VM runs in %s\n", where)
	}
	return nil
}
