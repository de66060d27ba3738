// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	typedappsv1 "k8s.io/client-go/kubernetes/typed/apps/v1"
	typedcoordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/utils/ptr"

	"corepin.dev/corepin/agent/installation"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// deployment is the name of the schedulers' Deployment, as manifests/base has it.
const deployment = "corepin-scheduler"

// verifyPause is the time between two looks. A leader renews its lease every two seconds.
const verifyPause = 3 * time.Second

// errNotInstalled is the answer that something is wrong; what it is has been printed.
var errNotInstalled = errors.New("corepin does not work here yet; the lines above say what to look at")

// verifier asks the API server.
type verifier struct {
	apps    typedappsv1.AppsV1Interface
	leases  typedcoordinationv1.CoordinationV1Interface
	reports dynamic.Interface
	// namespace is that of the workloads, lease is NAMESPACE/NAME.
	namespace, lease string
}

// verifyCommand is what runs as the chart's test.
func verifyCommand() *cobra.Command {
	o := &options{}
	v := &verifier{}
	timeout := 2 * time.Minute
	cmd := &cobra.Command{
		Use:   "verify-installation",
		Short: "Ask whether a scheduler leads, all pods are ready, and a node is predicted exactly",
		Long: `verify-installation asks the API server whether corepin works: a scheduler renews its lease, the pods of the
Deployment and of the DaemonSet are ready, and at least one NodeCPU is exact. It looks again until all of this is so, or
until --timeout, and prints a line for each. It runs once, anywhere in the cluster; helm test runs it.

Exit code: 0 all is right, 1 something is not, or the API server cannot be asked.`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rc, err := o.clientConfig()
			if err != nil {
				return err
			}
			if v.apps, err = typedappsv1.NewForConfig(compact(rc)); err != nil {
				return fmt.Errorf("making a client: %w", err)
			}
			if v.leases, err = typedcoordinationv1.NewForConfig(compact(rc)); err != nil {
				return fmt.Errorf("making a client: %w", err)
			}
			if v.reports, err = dynamic.NewForConfig(rc); err != nil {
				return fmt.Errorf("making a client: %w", err)
			}
			return v.run(cmd.Context(), cmd.OutOrStdout(), verifyPause, timeout)
		},
	}
	cmd.Flags().StringVar(&o.kubeconfig, "kubeconfig", "", "The kubeconfig of the API server; without one, the pod's service account is used.")
	cmd.Flags().StringVar(&v.namespace, "namespace", "corepin-system", "The namespace of the Deployment and of the DaemonSet.")
	cmd.Flags().StringVar(&v.lease, "lease", "corepin-system/corepin-scheduler", "NAMESPACE/NAME of the scheduler's Lease.")
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "How long to look until all is right.")
	return cmd
}

// run looks until nothing is wrong or the time is up, and prints what it saw last.
func (v *verifier) run(ctx context.Context, out io.Writer, pause, timeout time.Duration) error {
	var before *installation.Observation
	var lines []installation.Line
	var failed error
	err := wait.PollUntilContextTimeout(ctx, pause, timeout, true, func(ctx context.Context) (bool, error) {
		now, err := v.observe(ctx)
		failed = err
		if err != nil {
			return false, nil // told at the end, if it lasts
		}
		lines = installation.Judge(before, now, v.namespace)
		before = now
		return right(lines), nil
	})
	for _, line := range lines {
		state := "ok"
		if !line.OK() {
			state = "PROBLEM"
		}
		fmt.Fprintf(out, "%-7s  %-10s  %s\n", state, line.Subject, line.Text)
		if !line.OK() {
			fmt.Fprintf(out, "%-7s  %-10s  more: %s\n", "", "", line.Next)
		}
	}
	switch {
	case err == nil:
		return nil
	case failed != nil:
		return fmt.Errorf("asking whether corepin works, for %s: %w", timeout, failed)
	case len(lines) == 0:
		return err // interrupted before the first look
	}
	return errNotInstalled
}

func right(lines []installation.Line) bool {
	for _, line := range lines {
		if !line.OK() {
			return false
		}
	}
	return true
}

// observe reads what Judge judges.
func (v *verifier) observe(ctx context.Context) (*installation.Observation, error) {
	now := &installation.Observation{Lease: installation.Lease{Name: v.lease}}
	schedulers, err := v.apps.Deployments(v.namespace).Get(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading Deployment %s: %w", deployment, err)
	}
	now.Schedulers = installation.Pods{Wanted: ptr.Deref(schedulers.Spec.Replicas, 1), Ready: schedulers.Status.ReadyReplicas}
	agents, err := v.apps.DaemonSets(v.namespace).Get(ctx, daemonSet, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading DaemonSet %s: %w", daemonSet, err)
	}
	now.Agents = installation.Pods{Wanted: agents.Status.DesiredNumberScheduled, Ready: agents.Status.NumberReady}
	namespace, name, _ := strings.Cut(v.lease, "/")
	lease, err := v.leases.Leases(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading Lease %s: %w", v.lease, err)
	}
	now.Lease.Holder = ptr.Deref(lease.Spec.HolderIdentity, "")
	now.Lease.Renewed = ptr.Deref(lease.Spec.RenewTime, metav1.MicroTime{}).Time
	list, err := v.reports.Resource(v1alpha1.Resource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing NodeCPU objects: %w", err)
	}
	now.Reports = make([]v1alpha1.NodeCPU, len(list.Items))
	for i := range list.Items {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &now.Reports[i]); err != nil {
			return nil, fmt.Errorf("reading NodeCPU %q: %w", list.Items[i].GetName(), err)
		}
	}
	return now, nil
}
