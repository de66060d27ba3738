// SPDX-License-Identifier: Apache-2.0

// Package virthandler stands in for KubeVirt's virt-handler in test clusters, with what it writes to the API server. That is the
// phase Running once a guest's domain is up, and the heartbeat and labels of nodes.
//
// It acts as virt-handler's account and needs no more rights than that has: it lists, watches and updates VMIs, and patches
// Nodes. So it works beside the stand-in for virt-controller and beside a real one, which believes what comes from virt-handler
// on the VMI's node only. It runs no guest: a simulated kubelet does (test/harness/simnode).
package virthandler

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/test/harness/crd"
)

const (
	// Beat is how often virt-handler says that it lives (pkg/virt-handler/heartbeat, commit d923fdb815cd).
	Beat = time.Minute
	// look is how often a VMI is looked at that waits for its domain.
	look = 200 * time.Millisecond
	// virt-handler's limits for requests to the API server (pkg/virt-config, DefaultVirtHandlerQPS and -Burst).
	apiQPS   = 50
	apiBurst = 100
)

// Options say what the handler does.
type Options struct {
	// Config is that of virt-handler's account.
	Config *rest.Config
	// Node is the one that the handler runs on; "" stands for the handlers of all nodes.
	Node string
	// Up reports whether the domain of a VMI in phase Scheduled is up.
	Up func(ctx context.Context, vmi *unstructured.Unstructured) bool
}

// Run works until ctx ends, and then returns nil. The definition of the VMI must be there.
func Run(ctx context.Context, o Options) error {
	client, _, err := crd.ClientOf(o.Config, apiQPS, apiBurst)
	if err != nil {
		return err
	}
	informer := dynamicinformer.NewDynamicSharedInformerFactory(client, 0).ForResource(crd.VMIs).Informer()
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil // ctx ended
	}
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for _, item := range informer.GetStore().List() {
			vmi, ok := item.(*unstructured.Unstructured)
			if !ok || !o.waits(vmi) || !o.Up(ctx, vmi) {
				continue
			}
			if err := run(ctx, client, vmi); err != nil && ctx.Err() == nil {
				klog.FromContext(ctx).Error(err, "saying that a VMI runs, will retry", "vmi", klog.KObj(vmi))
			}
		}
	}
}

// waits reports whether a VMI on the handler's node has a pod whose domain is not known to be up.
func (o Options) waits(vmi *unstructured.Unstructured) bool {
	phase, _, _ := unstructured.NestedString(vmi.Object, "status", "phase")
	node, _, _ := unstructured.NestedString(vmi.Object, "status", "nodeName")
	return phase == "Scheduled" && vmi.GetDeletionTimestamp() == nil && node != "" && (o.Node == "" || o.Node == node)
}

// run writes what virt-handler writes when the domain is up.
func run(ctx context.Context, client dynamic.Interface, vmi *unstructured.Unstructured) error {
	vmi = vmi.DeepCopy()
	status, ok := vmi.Object["status"].(map[string]any)
	if !ok {
		return errors.New("the VMI's status is no object")
	}
	now := time.Now().UTC().Format(time.RFC3339)
	status["phase"] = "Running"
	transitions, _ := status["phaseTransitionTimestamps"].([]any)
	status["phaseTransitionTimestamps"] = append(transitions, map[string]any{"phase": "Running", "phaseTransitionTimestamp": now})
	status["selinuxContext"] = "none"
	status["guestOSInfo"] = map[string]any{}
	status["migrationMethod"] = "LiveMigration"
	status["machine"] = map[string]any{"type": machineOf(vmi)}
	conditions, _ := status["conditions"].([]any)
	for _, kind := range []string{"LiveMigratable", "StorageLiveMigratable"} {
		conditions = append(conditions, map[string]any{"type": kind, "status": "True", "lastProbeTime": nil, "lastTransitionTime": nil})
	}
	status["conditions"] = conditions
	_, err := client.Resource(crd.VMIs).Namespace(vmi.GetNamespace()).Update(ctx, vmi, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // the watch brings what has changed
	}
	return err
}

// machines are the machine types that aliases stand for in the libvirt of KubeVirt v1.9.
var machines = map[string]string{"": "pc-q35-10.0", "q35": "pc-q35-10.0"}

func machineOf(vmi *unstructured.Unstructured) string {
	asked, _, _ := unstructured.NestedString(vmi.Object, "spec", "domain", "machine", "type")
	machine, ok := machines[asked]
	if !ok {
		return asked
	}
	return machine
}

// KeepAlive writes a node's heartbeat until ctx ends, at once and every minute.
func KeepAlive(ctx context.Context, client kubernetes.Interface, node string) error {
	ticker := time.NewTicker(Beat)
	defer ticker.Stop()
	for {
		if err := Heartbeat(ctx, client, node, time.Now()); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Heartbeat writes that virt-handler lives on a node, and in the same patch that it takes VMs and dedicated ones: a plain
// RFC 3339 time, in whole seconds.
func Heartbeat(ctx context.Context, client kubernetes.Interface, node string, now time.Time) error {
	patch := fmt.Appendf(nil, `{"metadata": {"labels": {"kubevirt.io/schedulable": "true", "cpumanager": "true", "kubevirt.io/cpumanager": "true"},
 "annotations": {"kubevirt.io/heartbeat": %q}}}`, now.UTC().Format(time.RFC3339))
	_, err := client.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("writing the heartbeat of node %s: %w", node, err)
	}
	return nil
}
