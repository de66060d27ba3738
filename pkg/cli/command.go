package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// The exit codes.
const (
	exitOK      = 0
	exitRefused = 1 // a pod does not fit, a virtual machine is refused
	exitFault   = 2 // the command or its input is at fault
)

// Host is the world that the commands run in.
type Host struct {
	In       io.Reader
	Out, Err io.Writer
	// Open opens a file or, as an fs.ReadDirFile, a folder.
	Open func(name string) (fs.File, error)
	// Cluster asks the API server; it is called at most once, and only by a command that has no nodes in
	// its files.
	Cluster func(ctx context.Context, access Access) (Cluster, error)
	// VMI reads a VirtualMachineInstance from the API server, as decoded JSON; nil where there is none.
	VMI func(ctx context.Context, access Access, name types.NamespacedName) (map[string]any, error)
}

// Access is how to reach a cluster; what is empty is chosen as kubectl does.
type Access struct{ Kubeconfig, Context string }

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
	c := &call{host: host, out: bufio.NewWriter(host.Out)}
	root := c.rootCommand()
	root.SetArgs(args)
	root.SetIn(host.In)
	root.SetOut(c.out)
	root.SetErr(host.Err)
	err := root.ExecuteContext(ctx)
	if failed := c.out.Flush(); failed != nil && err == nil {
		err = fmt.Errorf("writing the answer: %w", failed)
	}
	if err != nil {
		fmt.Fprintf(host.Err, "error: %v\n", err)
		return exitFault
	}
	return c.code
}

// call is one run of the program.
type call struct {
	host   Host
	out    *bufio.Writer
	code   int
	files  files
	access Access
	output string
	// namespace is the one given with -n.
	namespace string
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
	root.AddCommand(c.checkCommand(), c.fitCommand(), c.explainCommand(), c.nodesCommand(), c.pinsCommand())
	return root
}

func (c *call) inputFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&c.files.names, "filename", "f", nil,
		"A file or folder of YAML or JSON, or - for standard input; may be given again.")
	cmd.Flags().BoolVarP(&c.files.recursive, "recursive", "R", false, "Read the folders within folders too.")
}

func (c *call) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&c.output, "output", "o", "text", "text, for people, or json, an object a line.")
}

func (c *call) accessFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.access.Kubeconfig, "kubeconfig", "", "The kubeconfig of the cluster to take the nodes from; without it, as kubectl finds it.")
	cmd.Flags().StringVar(&c.access.Context, "context", "", "The context of the kubeconfig; without it, the current one.")
}

// refuse says that something is refused.
func (c *call) refuse() { c.code = exitRefused }

func (c *call) json() (bool, error) {
	if c.output != "text" && c.output != "json" {
		return false, fmt.Errorf("--output is %q; want text or json", c.output)
	}
	return c.output == "json", nil
}
