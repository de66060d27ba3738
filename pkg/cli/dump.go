// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/dump"
	"corepin.dev/corepin/pkg/objects"
	"corepin.dev/corepin/pkg/version"
	"corepin.dev/corepin/pkg/vmi"
)

// The resources that Host.List gives.
const (
	ResourceVMIs                 = "virtualmachineinstances"
	ResourceMigrations           = "virtualmachineinstancemigrations"
	ResourceInstancetypes        = "virtualmachineinstancetypes"
	ResourceClusterInstancetypes = "virtualmachineclusterinstancetypes"
	ResourcePreferences          = "virtualmachinepreferences"
	ResourceClusterPreferences   = "virtualmachineclusterpreferences"
	// ResourceRevisions are the revisions in which KubeVirt keeps instancetypes and preferences.
	ResourceRevisions = "controllerrevisions"
)

var sizeResources = []string{ResourceInstancetypes, ResourceClusterInstancetypes, ResourcePreferences, ResourceClusterPreferences, ResourceRevisions}

func (c *call) dumpCommand() *cobra.Command {
	mask := false
	cmd := &cobra.Command{
		Use:   "dump",
		Short: "Write what the other commands read of a cluster into a file",
		Long: `dump writes all that the other commands read of the cluster to standard output. Given with -f, the file stands for the
cluster: the commands then answer as they did at that moment, byte for byte. It can be sent with a bug report.

The file has an object a line, as JSON: the NodeCPUs, nodes and pods, KubeVirt's VMIs, instancetypes and preferences, and
who led. Secrets and ConfigMaps are not read. Of pods and VMIs only the fields are written that the commands need: no
environment, commands, volumes, images or annotations of others.

With --mask-names the names of nodes, namespaces, pods and VMs are replaced by node-1, namespace-1, pod-1 and vm-1: the
same name by the same word everywhere, in messages too. Other labels of nodes stay, such as zones. Revisions of
instancetypes have the names of VMs in theirs, and are left out then.

What cannot be read of KubeVirt's objects is left out, and standard error says so. This needs ClusterRole corepin-explain.
That role may not list the revisions of instancetypes (ControllerRevisions): revisions of DaemonSets are of that kind too.

Exit code: 0, or 2 if the command line is wrong or the cluster cannot be read.`,
		Example: `  kubectl corepin dump > cluster.json
  kubectl corepin status -f cluster.json
  kubectl corepin explain vm db -n vms -f cluster.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.dump(cmd.Context(), mask) },
	}
	c.inputFlags(cmd)
	c.schedulerFlag(cmd)
	cmd.Flags().BoolVar(&mask, "mask-names", false, "Replace the names of nodes, namespaces, pods and VMs.")
	return cmd
}

func (c *call) dump(ctx context.Context, mask bool) error {
	if err := c.dumpOnly(); err != nil {
		return err
	}
	cluster, err := c.host.Cluster(ctx)
	if err != nil {
		return err
	}
	names, err := parseSchedulers(c.schedulers)
	if err != nil {
		return err
	}
	contents := &dump.Contents{Reports: cluster.Reports, Nodes: cluster.Nodes, Pods: cluster.Pods}
	contents.Header = dump.Header{Time: metav1.NewMicroTime(c.host.Now().UTC()), Version: version.Get().Version, Namespace: cluster.Namespace, Masked: mask}
	leases := slices.SortedFunc(maps.Values(names), func(a, b leaseName) int { return strings.Compare(a.String(), b.String()) })
	for _, name := range slices.Compact(append(leases, stockLease)) {
		contents.Leases = append(contents.Leases, c.dumpLease(ctx, name))
	}
	contents.VMIs = c.listed(ctx, ResourceVMIs)
	for _, resource := range sizeResources {
		contents.Sizes = append(contents.Sizes, c.listed(ctx, resource)...)
	}
	all := dump.Objects(contents)
	if mask {
		if all, err = dump.Mask(contents); err != nil {
			return err
		}
	}
	for _, object := range all {
		c.out.encode(object)
	}
	return nil
}

// dumpOnly reads the files of -f, which may be a dump only.
func (c *call) dumpOnly() error {
	if len(c.files.names) == 0 {
		return nil
	}
	others, err := c.objects(nil)
	switch {
	case err != nil:
		return err
	case c.files.dump == nil || len(others) > 0:
		return errors.New("reading input: want a file that kubectl corepin dump has written, and nothing else")
	}
	return nil
}

func (c *call) dumpLease(ctx context.Context, name leaseName) dump.Lease {
	id := types.NamespacedName{Namespace: name.namespace, Name: name.name}
	if c.host.Lease == nil {
		return dump.Lease{Namespace: id.Namespace, Name: id.Name, Error: "no cluster is asked"}
	}
	lease, err := c.lease(ctx, name)
	switch {
	case err != nil:
		return dump.Lease{Namespace: id.Namespace, Name: id.Name, Error: err.Error()}
	case lease == nil:
		return dump.Lease{Namespace: id.Namespace, Name: id.Name, Missing: true}
	}
	return dump.LeaseOf(id, lease.Holder, lease.Acquired.UTC(), lease.Renewed.UTC(), lease.Now.UTC(), lease.Duration)
}

// listed are the objects of a resource. Those that cannot be read are left out, with a note.
func (c *call) listed(ctx context.Context, resource string) []map[string]any {
	if c.host.List == nil {
		return nil
	}
	list, err := c.host.List(ctx, resource)
	if err != nil {
		fmt.Fprintf(c.host.Err, "note: left out: %s\n", harmless(err.Error()))
	}
	return list
}

// useDump makes a file stand for the cluster, and the moment at which it was written for now.
func (c *call) useDump(contents *dump.Contents) {
	c.host.Now = func() time.Time { return contents.Time.Time }
	c.host.Cluster = func(context.Context) (Cluster, error) {
		return Cluster{Reports: contents.Reports, Nodes: contents.Nodes, Pods: contents.Pods, Namespace: contents.Namespace}, nil
	}
	c.host.Lease = func(_ context.Context, namespace, name string) (*Lease, error) {
		lease := contents.Lease(types.NamespacedName{Namespace: namespace, Name: name})
		switch {
		case lease == nil:
			return nil, fmt.Errorf("the dump does not have Lease %s/%s; name it when the dump is made: kubectl corepin dump --scheduler", namespace, name)
		case lease.Error != "":
			return nil, errors.New(lease.Error)
		case lease.Missing:
			return nil, nil
		}
		return &Lease{Holder: lease.Holder, Acquired: lease.Acquired.Time, Renewed: lease.Renewed.Time, Duration: lease.Duration.Duration, Now: lease.Now.Time}, nil
	}
	c.host.VMI = func(_ context.Context, name types.NamespacedName) (map[string]any, error) {
		for _, object := range contents.VMIs {
			u := unstructured.Unstructured{Object: object}
			if u.GetName() == name.Name && u.GetNamespace() == name.Namespace {
				return object, nil
			}
		}
		return nil, NoVMI(name)
	}
	c.host.List = func(_ context.Context, resource string) ([]map[string]any, error) {
		if resource == ResourceVMIs {
			return contents.VMIs, nil
		}
		return slices.DeleteFunc(slices.Clone(contents.Sizes), func(object map[string]any) bool { return resourceOf(object) != resource }), nil
	}
}

// NoVMI is the error for a VMI that is not there.
func NoVMI(name types.NamespacedName) error {
	return fmt.Errorf("getting VirtualMachineInstance %s: virtualmachineinstances.kubevirt.io %q not found", name, name.Name)
}

// resourceOf is the resource of a size by its kind.
func resourceOf(object map[string]any) string {
	kind, _ := object["kind"].(string)
	return strings.ToLower(kind) + "s"
}

// sizesFor are the instancetypes and preferences of the cluster, if a virtual machine of the input refers to one that the input
// does not have.
func (c *call) sizesFor(ctx context.Context, all []objects.Object) ([]objects.Object, error) {
	known := newValidator(vmi.Standard, all)
	refers := slices.ContainsFunc(all, func(o objects.Object) bool {
		if o.Err != nil || !isVM(&o) {
			return false
		}
		machine, err := readMachine(&o)
		if err != nil {
			return false
		}
		_, _, missing := known.sizes.complete(machine)
		return len(missing) > 0
	})
	if !refers || known.nodes.all > 0 || c.host.List == nil {
		return nil, nil
	}
	var sizes []objects.Object
	for _, resource := range sizeResources {
		list := c.listed(ctx, resource)
		if len(list) == 0 {
			continue
		}
		text, err := json.Marshal(list)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", resource, err)
		}
		sizes = append(sizes, objects.Read("the cluster's "+resource, text)...)
	}
	return sizes, nil
}
