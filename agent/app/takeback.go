// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	typedappsv1 "k8s.io/client-go/kubernetes/typed/apps/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/agent/label"
)

// daemonSet is the name of the agents' DaemonSet, as manifests/base has it.
const daemonSet = "corepin-agent"

// Times of the removal. Agents end within seconds of being asked; an unreachable node's pod goes when its node does.
const (
	stopTimeout = 3 * time.Minute
	stopPoll    = time.Second
)

// takeBackCommand is what runs before corepin is removed.
func takeBackCommand() *cobra.Command {
	o := &options{}
	namespace := ""
	cmd := &cobra.Command{
		Use:   "take-back-labels",
		Short: "Stop the agents and take back the labels that they have set, before corepin is removed",
		Long: `take-back-labels deletes the agents' DaemonSet, waits until its pods are gone, and takes back the labels
that the agents have set on their nodes. Labels that a person or KubeVirt set stay, and so do pins. It runs once, anywhere
in the cluster.`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rc, err := o.clientConfig()
			if err != nil {
				return err
			}
			core, err := typedcorev1.NewForConfig(compact(rc))
			if err != nil {
				return fmt.Errorf("making a client: %w", err)
			}
			apps, err := typedappsv1.NewForConfig(compact(rc))
			if err != nil {
				return fmt.Errorf("making a client: %w", err)
			}
			return takeBack(cmd.Context(), apps.DaemonSets(namespace), core.Nodes(), stopTimeout)
		},
	}
	cmd.Flags().StringVar(&o.kubeconfig, "kubeconfig", "", "The kubeconfig of the API server; without one, the pod's service account is used.")
	cmd.Flags().StringVar(&namespace, "namespace", "corepin-system", "The namespace of the agents' DaemonSet.")
	return cmd
}

// takeBack stops the agents and takes back their labels. Agents that do not end in time keep the labels from being taken
// back: they would set them again.
func takeBack(ctx context.Context, daemonSets typedappsv1.DaemonSetInterface, nodes label.AllNodes, timeout time.Duration) error {
	// Foreground: the DaemonSet is there as long as one of its pods is.
	foreground := metav1.DeletePropagationForeground
	err := daemonSets.Delete(ctx, daemonSet, metav1.DeleteOptions{PropagationPolicy: &foreground})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting DaemonSet %s: %w", daemonSet, err)
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, stopPoll, timeout, true, func(ctx context.Context) (bool, error) {
		_, last = daemonSets.Get(ctx, daemonSet, metav1.GetOptions{})
		return apierrors.IsNotFound(last), nil
	})
	if err != nil {
		return errors.Join(fmt.Errorf("waiting %s for the pods of DaemonSet %s to end, before their labels are taken back (a pod on an unreachable node goes when its Node is deleted): %w", timeout, daemonSet, err), last)
	}
	n, err := label.TakeBack(ctx, nodes, fieldManager)
	klog.FromContext(ctx).Info("took back the labels that the agents had set", "nodes", n)
	return err
}
