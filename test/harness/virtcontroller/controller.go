// SPDX-License-Identifier: Apache-2.0

package virtcontroller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/launcherpod"
	"corepin.dev/corepin/test/harness/crd"
	"corepin.dev/corepin/test/harness/virtapi"
)

// virt-controller's limits for requests to the API server (pkg/virt-config, DefaultVirtControllerQPS and -Burst).
const (
	apiQPS   = 200
	apiBurst = 400
)

// byOwner is the index of launcher pods by the UID of their VMI.
const byOwner = "byOwner"

// controller makes pods and keeps status. All of its state is in the API server; the queue holds
// names of VMIs to look at.
type controller struct {
	client     kubernetes.Interface
	object     dynamic.Interface
	vmis       cache.SharedIndexInformer
	migrations cache.SharedIndexInformer
	pods       cache.SharedIndexInformer
	queue      workqueue.TypedRateLimitingInterface[types.NamespacedName]
}

// Run works until ctx ends, and then returns nil. The definition of the VMI must be there. More than
// one Run at a time is a mistake of the caller: there is no election.
func Run(ctx context.Context, config *rest.Config) error {
	c, err := newController(config)
	if err != nil {
		return err
	}
	defer c.queue.ShutDown()
	logger := klog.FromContext(ctx)
	synced := make([]cache.InformerSynced, 0, 3)
	for _, watch := range []struct {
		informer cache.SharedIndexInformer
		name     func(metav1.Object) (types.NamespacedName, bool)
	}{{c.vmis, nameOf}, {c.pods, ownerOf}, {c.migrations, migrantOf}} {
		registration, err := watch.informer.AddEventHandler(c.enqueue(watch.name))
		if err != nil {
			return fmt.Errorf("watching: %w", err)
		}
		synced = append(synced, registration.HasSynced)
		go watch.informer.RunWithContext(ctx)
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil // ctx ended
	}
	logger.Info("watching virtual machine instances")
	go func() {
		<-ctx.Done()
		c.queue.ShutDown()
	}()
	for c.next(ctx) {
	}
	return nil
}

func newController(config *rest.Config) (*controller, error) {
	object, config, err := crd.ClientOf(config, apiQPS, apiBurst)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	launchers := informers.WithTweakListOptions(func(options *metav1.ListOptions) {
		options.LabelSelector = launcher.Label + "=" + launcher.LabelValue
	})
	watched := dynamicinformer.NewDynamicSharedInformerFactory(object, 0)
	c := &controller{
		client:     client,
		object:     object,
		vmis:       watched.ForResource(crd.VMIs).Informer(),
		migrations: watched.ForResource(Migrations).Informer(),
		pods:       informers.NewSharedInformerFactoryWithOptions(client, 0, launchers).Core().V1().Pods().Informer(),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](50*time.Millisecond, 30*time.Second)),
	}
	err = c.pods.AddIndexers(cache.Indexers{byOwner: func(object any) ([]string, error) {
		pod, ok := object.(*corev1.Pod)
		if !ok {
			return nil, fmt.Errorf("indexing pods: got a %T", object)
		}
		return []string{pod.Labels[launcherpod.CreatedByLabel]}, nil
	}})
	if err != nil {
		return nil, fmt.Errorf("indexing pods: %w", err)
	}
	return c, nil
}

// nameOf is the VMI's own name.
func nameOf(object metav1.Object) (types.NamespacedName, bool) {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}, true
}

// ownerOf is the name of the VMI that a launcher pod belongs to.
func ownerOf(object metav1.Object) (types.NamespacedName, bool) {
	owner := metav1.GetControllerOfNoCopy(object)
	if owner == nil || owner.Kind != "VirtualMachineInstance" {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: owner.Name}, true
}

func (c *controller) enqueue(name func(metav1.Object) (types.NamespacedName, bool)) cache.ResourceEventHandler {
	add := func(object any) {
		if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = gone.Obj
		}
		accessor, ok := object.(metav1.Object)
		if !ok {
			return
		}
		if key, ok := name(accessor); ok {
			c.queue.Add(key)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    add,
		UpdateFunc: func(_, object any) { add(object) },
		DeleteFunc: add,
	}
}

// next handles one VMI; false when the queue has been shut down.
func (c *controller) next(ctx context.Context) bool {
	key, shutdown := c.queue.Get()
	if shutdown {
		return false
	}
	defer c.queue.Done(key)
	err := c.sync(ctx, key)
	if err == nil || ctx.Err() != nil {
		c.queue.Forget(key)
		return true
	}
	// A conflict means that our copy is old; the newer one is on its way.
	if !apierrors.IsConflict(err) {
		klog.FromContext(ctx).Error(err, "syncing a virtual machine instance, will retry", "vmi", key)
	}
	c.queue.AddRateLimited(key)
	return true
}

// sync brings one VMI's pod and status to where they should be.
func (c *controller) sync(ctx context.Context, key types.NamespacedName) error {
	item, exists, err := c.vmis.GetStore().GetByKey(key.String())
	if err != nil {
		return fmt.Errorf("reading the cache: %w", err)
	}
	if !exists {
		return c.deletePods(ctx, key, "")
	}
	vmi, ok := item.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("reading the cache: got a %T", item)
	}
	if vmi.GetDeletionTimestamp() != nil {
		return errors.Join(c.deletePods(ctx, key, ""), c.letGo(ctx, vmi))
	}
	if err := c.deletePods(ctx, key, vmi.GetUID()); err != nil {
		return err
	}
	if final(phaseOf(vmi)) {
		return nil // what has ended stays as it ended
	}
	pod, err := c.podOf(ctx, vmi)
	if err != nil {
		return err
	}
	var refused error
	if pod == nil && unstarted(phaseOf(vmi)) {
		pod, refused = c.createPod(ctx, vmi)
	}
	if pod != nil {
		if err := c.openReadinessGate(ctx, pod); err != nil {
			return err
		}
		if err := c.labelPod(ctx, pod); err != nil {
			return err
		}
	}
	var moved error
	if pod != nil && phaseOf(vmi) == Running {
		moved = c.migrate(ctx, vmi, pod)
	}
	return errors.Join(refused, moved, c.updateStatus(ctx, vmi, pod, refused))
}

// podOf is the pod in which the VMI starts or runs, nil if there is none. The cache may not have a pod yet that was made a
// moment ago, perhaps by an earlier run, so before "none" is believed the API server is asked.
func (c *controller) podOf(ctx context.Context, vmi *unstructured.Unstructured) (*corev1.Pod, error) {
	cached, err := c.pods.GetIndexer().ByIndex(byOwner, string(vmi.GetUID()))
	if err != nil {
		return nil, fmt.Errorf("reading the cache: %w", err)
	}
	var pods []*corev1.Pod
	for _, item := range cached {
		pod, ok := item.(*corev1.Pod)
		if !ok {
			return nil, fmt.Errorf("reading the cache: got a %T", item)
		}
		pods = append(pods, pod)
	}
	if pod := currentPod(vmi, pods); pod != nil {
		return pod, nil
	}
	list, err := c.client.CoreV1().Pods(vmi.GetNamespace()).List(ctx, metav1.ListOptions{
		LabelSelector: launcherpod.CreatedByLabel + "=" + string(vmi.GetUID()),
	})
	if err != nil {
		return nil, fmt.Errorf("listing launcher pods: %w", err)
	}
	pods = nil
	for i := range list.Items {
		pods = append(pods, &list.Items[i])
	}
	return currentPod(vmi, pods), nil
}

// currentPod is the pod that starts the VMI. Once a migration has ended, it is the newest one on the VMI's node (CurrentVMIPod in
// pkg/controller/controller.go, commit d923fdb815cd).
func currentPod(vmi *unstructured.Unstructured, pods []*corev1.Pod) *corev1.Pod {
	node, _, _ := unstructured.NestedString(vmi.Object, "status", "nodeName")
	moved, _, _ := unstructured.NestedBool(vmi.Object, "status", "migrationState", "completed")
	var current *corev1.Pod
	for _, pod := range pods {
		role := launcher.RoleOf(pod)
		starts := role == launcher.Start && !moved
		runs := moved && role != launcher.Attachment && pod.Spec.NodeName == node
		if (starts || runs) && (current == nil || current.CreationTimestamp.Before(&pod.CreationTimestamp)) {
			current = pod
		}
	}
	return current
}

// createPod makes the pod. An error is about the VMI as much as about the server, and is shown in the
// VMI's status.
func (c *controller) createPod(ctx context.Context, vmi *unstructured.Unstructured) (*corev1.Pod, error) {
	// The cached VMI may be older than its pod, which then has been and gone: no second one.
	current, err := c.object.Resource(crd.VMIs).Namespace(vmi.GetNamespace()).Get(ctx, vmi.GetName(), metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the VMI again: %w", err)
	}
	if current.GetUID() != vmi.GetUID() || !unstarted(phaseOf(current)) {
		return nil, nil // what is cached is old; an event follows
	}
	pod, err := launcherpod.Render(current)
	if err != nil {
		return nil, err
	}
	made, err := c.client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("creating the launcher pod: %w", err)
	}
	klog.FromContext(ctx).Info("launcher pod created", "vmi", klog.KObj(vmi), "pod", klog.KObj(made))
	return made, nil
}

// deletePods deletes the launcher pods of VMIs of this name other than keep: those of a VMI that was
// deleted, though one of the same name may be there again. The garbage collector would do it too,
// but may take half a minute to learn of a kind that was defined after its start.
func (c *controller) deletePods(ctx context.Context, key types.NamespacedName, keep types.UID) error {
	for _, item := range c.pods.GetStore().List() {
		pod, ok := item.(*corev1.Pod)
		if !ok {
			return fmt.Errorf("reading the cache: got a %T", item)
		}
		owner, ok := ownerOf(pod)
		if !ok || owner != key || pod.DeletionTimestamp != nil || metav1.GetControllerOfNoCopy(pod).UID == keep {
			continue
		}
		err := c.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, *metav1.NewPreconditionDeleteOptions(string(pod.UID)))
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting the launcher pod of a deleted VMI: %w", err)
		}
	}
	return nil
}

// openReadinessGate says that the VM is not paused, which makes a pod whose containers are ready
// ready.
func (c *controller) openReadinessGate(ctx context.Context, pod *corev1.Pod) error {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == launcherpod.UnpausedGate && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	if pod.DeletionTimestamp != nil || final(string(pod.Status.Phase)) {
		return nil
	}
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":"True","reason":"NotPaused","message":"the virtual machine is not paused","lastTransitionTime":%q}]}}`,
		launcherpod.UnpausedGate, time.Now().UTC().Format(time.RFC3339))
	_, err := c.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		return nil // deleted meanwhile; its event follows
	}
	if err != nil {
		return fmt.Errorf("opening the readiness gate of %s: %w", pod.Name, err)
	}
	return nil
}

// labelPod writes the name of its node on a pod that is bound.
func (c *controller) labelPod(ctx context.Context, pod *corev1.Pod) error {
	node := pod.Spec.NodeName
	if node == "" || pod.Labels[launcherpod.NodeLabel] == node || pod.DeletionTimestamp != nil {
		return nil
	}
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, launcherpod.NodeLabel, node)
	_, err := c.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("labelling %s: %w", pod.Name, err)
	}
	return nil
}

// letGo takes KubeVirt's finalizer off a VMI that was deleted, once its pod is gone. The pod's end is an event that brings the VMI
// here again.
func (c *controller) letGo(ctx context.Context, vmi *unstructured.Unstructured) error {
	kept := slices.DeleteFunc(vmi.GetFinalizers(), func(name string) bool { return name == virtapi.Finalizer })
	if len(kept) == len(vmi.GetFinalizers()) {
		return nil
	}
	pod, err := c.podOf(ctx, vmi)
	if err != nil || pod != nil {
		return err
	}
	changed := vmi.DeepCopy()
	changed.SetFinalizers(kept)
	_, err = c.object.Resource(crd.VMIs).Namespace(vmi.GetNamespace()).Update(ctx, changed, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("taking the finalizer off VMI %s: %w", vmi.GetName(), err)
	}
	return nil
}
