// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/objects"
)

// The exit codes.
const (
	exitOK      = 0
	exitRefused = 1 // a pod does not fit, a virtual machine is refused
	exitError   = 2 // the command line or the input is wrong
)

// Host is everything outside of the commands.
type Host struct {
	In       io.Reader
	Out, Err io.Writer
	// Now is the time.
	Now func() time.Time
	// Open opens a file or, as an fs.ReadDirFile, a folder.
	Open func(name string) (fs.File, error)
	// Connection has kubectl's flags about the cluster (--kubeconfig, --context, --as...), without --namespace. Cluster
	// and VMI follow them. It is nil where there is no cluster.
	Connection *pflag.FlagSet
	// Cluster asks the API server. It is called only by a command that has no nodes in its files, and more than once only by one
	// that waits.
	Cluster func(ctx context.Context) (Cluster, error)
	// VMI reads a VirtualMachineInstance from the API server, as decoded JSON; nil where there is none.
	VMI func(ctx context.Context, name types.NamespacedName) (map[string]any, error)
	// Lease reads the Lease of a scheduler from the API server; nil where there is none of that name. The function is nil
	// where there is no cluster.
	Lease func(ctx context.Context, namespace, name string) (*Lease, error)
	// ServerVersion asks the API server for its version of Kubernetes. The function is nil where there is no cluster.
	ServerVersion func() (string, error)
	// List lists a resource of KubeVirt, as decoded JSON; nothing where the cluster does not serve it. The function is nil
	// where there is no cluster.
	List func(ctx context.Context, resource string) ([]map[string]any, error)
	// Own lists corepin's workloads, pods and ConfigMaps in a namespace, Events the events that a source told, and Log opens a
	// container's log. What was read before an error is given too. All are nil where there is no cluster.
	Own    func(ctx context.Context, namespace string) ([]map[string]any, error)
	Events func(ctx context.Context, source string) ([]map[string]any, error)
	Log    func(ctx context.Context, of *LogOf) (io.ReadCloser, error)
	// CreateMigration creates a VirtualMachineInstanceMigration and gives it as the API server keeps it. Migration reads one, and
	// DeleteMigration deletes one. Errors are those of the API server, wrapped. All are nil where there is no cluster.
	CreateMigration func(ctx context.Context, object map[string]any) (map[string]any, error)
	Migration       func(ctx context.Context, name types.NamespacedName) (map[string]any, error)
	DeleteMigration func(ctx context.Context, name types.NamespacedName) error
	// Poll asks at once and after each interval, until the answer is true or an error, ctx ends, or the timeout has passed.
	Poll func(ctx context.Context, interval, timeout time.Duration, ask func(context.Context) (bool, error)) error
	// UntilInterrupted gives a context that ends when the user interrupts the program, which then goes on.
	UntilInterrupted func(ctx context.Context) (context.Context, context.CancelFunc)
	// Create makes a file that is not there yet.
	Create func(name string) (io.WriteCloser, error)
	// Pause waits, and gives an error if the program is to end.
	Pause func(ctx context.Context, length time.Duration) error
	// Watch calls changed at first, and again when a NodeCPU has changed since the call before. It ends without an error when the
	// user interrupts the program, and with that of changed. It is nil where there is no cluster.
	Watch func(ctx context.Context, changed func(ctx context.Context) error) error
	// Terminal is the terminal that Out is, as it is now; nil where Out is none.
	Terminal func() Terminal
	// NoColor reports that the user wants no colours.
	NoColor bool
}

// Terminal is a terminal that answers are written to. Its zero value is none.
type Terminal struct {
	// Width and Height are in characters, 0 where they are not known.
	Width, Height int
	// Escapes reports whether it understands escape sequences.
	Escapes bool
}

// Cluster is what an API server knows of nodes and of pods.
type Cluster struct {
	Reports []v1alpha1.NodeCPU
	Nodes   []corev1.Node
	Pods    []corev1.Pod
	// Namespace is the one that kubectl would use.
	Namespace string
}

// Run runs the command line args, the program's name not included, and gives the exit code.
func Run(ctx context.Context, host Host, args []string) int {
	buffer := bufio.NewWriter(host.Out)
	c := &call{host: host, out: printer{out: buffer}, flush: buffer.Flush}
	root := c.rootCommand()
	root.SetArgs(args)
	root.SetIn(host.In)
	root.SetOut(buffer)
	root.SetErr(host.Err)
	err := root.ExecuteContext(ctx)
	failed := c.out.err
	flushed := buffer.Flush()
	if failed == nil {
		failed = flushed
	}
	if failed != nil && err == nil {
		err = fmt.Errorf("writing the answer: %w", failed)
	}
	if err != nil {
		fmt.Fprintf(host.Err, "error: %s\n", harmless(err.Error()))
		return exitError
	}
	return c.code
}

// call is one run of the program.
type call struct {
	host Host
	out  printer
	// flush shows what has been written to out.
	flush  func() error
	code   int
	files  files
	output string
	// namespace is the one given with -n; "" for none.
	namespace string
	// selector is the value of --selector.
	selector string
	// schedulers are the values of --scheduler.
	schedulers []string
	leases     map[leaseName]leaseAnswer
	// read are the objects of the files beside a cluster's nodes, so that a command can look at the cluster again.
	read []objects.Object
}

func (c *call) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "kubectl-corepin",
		Short:         "Ask what kubelets and corepin will decide about dedicated CPUs",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl corepin"},
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	flags := root.PersistentFlags()
	flags.StringVarP(&c.namespace, "namespace", "n", "",
		"The namespace: of objects in the input that name none, and of the names on the command line. Without it that of the context, or default.")
	if c.host.Connection != nil {
		flags.AddFlagSet(c.host.Connection)
	}
	root.AddCommand(c.statusCommand(), c.checkCommand(), c.fitCommand(), c.explainCommand(), c.capacityCommand(), c.whatIfCommand(), c.rebalanceCommand(), c.nodesCommand(), c.reportCommand(),
		c.pinsCommand(), c.dumpCommand(), c.supportCommand(), c.versionCommand())
	return root
}

// asksForCluster reports whether the command line names a cluster.
func (c *call) asksForCluster() bool {
	named := false
	if c.host.Connection != nil {
		c.host.Connection.VisitAll(func(flag *pflag.Flag) {
			named = named || flag.Changed && (flag.Name == "kubeconfig" || flag.Name == "context" || flag.Name == "cluster" || flag.Name == "server")
		})
	}
	return named
}

func (c *call) inputFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&c.files.names, "filename", "f", nil,
		"A file or folder of YAML or JSON, or - for standard input. May be given again.")
	cmd.Flags().BoolVarP(&c.files.recursive, "recursive", "R", false, "Read the folders within folders too.")
}

func (c *call) schedulerFlag(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&c.schedulers, "scheduler", nil,
		"NAME=NAMESPACE/LEASE: a profile of a corepin-scheduler and the Lease of its leader election. May be given again. "+
			"Without it, corepin="+shippedLease.String()+" as in corepin's manifests.")
}

func (c *call) selectorFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&c.selector, "selector", "l", "", "Only nodes with these labels, such as pool=vms. Nodes whose Node object is not known are left out.")
}

// selecting gives a function that reports whether labels are those of --selector. Without --selector all are.
func (c *call) selecting() (selects func(of map[string]string) bool, err error) {
	selector, err := labels.Parse(c.selector)
	if err != nil {
		return nil, fmt.Errorf("--selector is %q: %w", c.selector, err)
	}
	return func(of map[string]string) bool { return selector.Matches(labels.Set(of)) }, nil
}

// selectNodes leaves out the nodes that --selector does not name.
func (c *call) selectNodes(s *snapshot) error {
	selects, err := c.selecting()
	if err != nil || c.selector == "" {
		return err
	}
	s.machines = slices.DeleteFunc(s.machines, func(m *machine) bool {
		node := s.nodes[m.name]
		return node == nil || !selects(node.Labels)
	})
	if len(s.machines) == 0 {
		return fmt.Errorf("--selector is %q: no node with a NodeCPU has these labels", c.selector)
	}
	return nil
}

func (c *call) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&c.output, "output", "o", "text", "The form of the answer: text for people, json for an object a line, or yaml for a document each.")
}

// objects reads the files of -f and of the arguments.
func (c *call) objects(args []string) ([]objects.Object, error) {
	c.files.names = append(c.files.names, args...)
	c.files.namespace = c.namespace
	all, err := c.files.objects(c.host)
	if err != nil || c.files.dump == nil {
		return all, err
	}
	if c.asksForCluster() {
		return nil, errBothClusters
	}
	c.useDump(c.files.dump)
	return all, nil
}

// refuse makes the exit code say that something is refused.
func (c *call) refuse() { c.code = exitRefused }

// json reports whether the answer is to be an object each, as JSON or YAML.
func (c *call) json() (bool, error) {
	switch c.output {
	case "text":
		return false, nil
	case "yaml":
		c.out.yaml = true
		return true, nil
	case "json":
		return true, nil
	}
	return false, fmt.Errorf("--output is %q; want text, json or yaml", c.output)
}
