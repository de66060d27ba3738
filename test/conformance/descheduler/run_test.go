// SPDX-License-Identifier: Apache-2.0

package descheduler

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	"k8s.io/component-base/featuregate"
	"sigs.k8s.io/descheduler/pkg/api"
	"sigs.k8s.io/descheduler/pkg/descheduler/evictions"
	podutil "sigs.k8s.io/descheduler/pkg/descheduler/pod"
	"sigs.k8s.io/descheduler/pkg/features"
	"sigs.k8s.io/descheduler/pkg/framework/pluginregistry"
	"sigs.k8s.io/descheduler/pkg/framework/plugins/defaultevictor"
	"sigs.k8s.io/descheduler/pkg/framework/plugins/nodeutilization"
	"sigs.k8s.io/descheduler/pkg/framework/plugins/removeduplicates"
	spread "sigs.k8s.io/descheduler/pkg/framework/plugins/removepodsviolatingtopologyspreadconstraint"
	"sigs.k8s.io/descheduler/pkg/framework/profile"
)

// registry has the plugins that are tried, as the descheduler registers them.
func registry() pluginregistry.Registry {
	all := pluginregistry.NewRegistry()
	pluginregistry.Register(defaultevictor.PluginName, defaultevictor.New, &defaultevictor.DefaultEvictor{}, &defaultevictor.DefaultEvictorArgs{},
		defaultevictor.ValidateDefaultEvictorArgs, defaultevictor.SetDefaults_DefaultEvictorArgs, all)
	pluginregistry.Register(nodeutilization.LowNodeUtilizationPluginName, nodeutilization.NewLowNodeUtilization, &nodeutilization.LowNodeUtilization{},
		&nodeutilization.LowNodeUtilizationArgs{}, nodeutilization.ValidateLowNodeUtilizationArgs, nodeutilization.SetDefaults_LowNodeUtilizationArgs, all)
	pluginregistry.Register(nodeutilization.HighNodeUtilizationPluginName, nodeutilization.NewHighNodeUtilization, &nodeutilization.HighNodeUtilization{},
		&nodeutilization.HighNodeUtilizationArgs{}, nodeutilization.ValidateHighNodeUtilizationArgs, nodeutilization.SetDefaults_HighNodeUtilizationArgs, all)
	pluginregistry.Register(removeduplicates.PluginName, removeduplicates.New, &removeduplicates.RemoveDuplicates{}, &removeduplicates.RemoveDuplicatesArgs{},
		removeduplicates.ValidateRemoveDuplicatesArgs, removeduplicates.SetDefaults_RemoveDuplicatesArgs, all)
	pluginregistry.Register(spread.PluginName, spread.New, &spread.RemovePodsViolatingTopologySpreadConstraint{},
		&spread.RemovePodsViolatingTopologySpreadConstraintArgs{}, spread.ValidateRemovePodsViolatingTopologySpreadConstraintArgs,
		spread.SetDefaults_RemovePodsViolatingTopologySpreadConstraintArgs, all)
	return all
}

// policy is what an operator writes about a run: a plugin with its arguments, those of the evictor, and the feature gate.
type policy struct {
	plugin     string
	args       runtime.Object
	evictor    defaultevictor.DefaultEvictorArgs
	background bool // EvictionsInBackground
}

// deschedule runs the descheduler once, as its Job does. It returns the VMs whose pods it evicts, in that order.
func (c *cluster) deschedule(p policy) []string {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	client := fake.NewClientset(c.objects()...)
	var evicted []string
	client.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		create, ok := action.(clienttesting.CreateAction)
		if !ok || action.GetSubresource() != "eviction" {
			return false, nil, nil
		}
		name := c.vmOf(create.GetObject().(*policyv1.Eviction).Name)
		evicted = append(evicted, name)
		return true, nil, apierrors.NewTooManyRequestsError(fmt.Sprintf("admission webhook denied the request: Eviction triggered evacuation of VMI %q", "vms/"+name))
	})
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods().Informer()
	factory.Core().V1().Nodes().Informer()
	assigned, err := podutil.BuildGetPodsAssignedToNodeFunc(pods)
	if err != nil {
		c.t.Fatal(err)
	}
	inOrder := func(node string, filter podutil.FilterFunc) ([]*corev1.Pod, error) {
		found, err := assigned(node, filter)
		slices.SortFunc(found, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
		return found, err
	}
	gates := featuregate.NewFeatureGate()
	err = gates.Add(map[featuregate.Feature]featuregate.FeatureSpec{features.EvictionsInBackground: {Default: p.background, PreRelease: featuregate.Alpha}})
	if err != nil {
		c.t.Fatal(err)
	}
	evictor, err := evictions.NewPodEvictor(ctx, client, &events.FakeRecorder{}, pods, gates, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	run, err := profile.NewProfile(ctx, p.profile(c.t), registry(), profile.WithClientSet(client), profile.WithSharedInformerFactory(factory),
		profile.WithPodEvictor(evictor), profile.WithGetPodsAssignedToNodeFnc(inOrder), profile.WithProfileInstanceID("0"))
	if err != nil {
		c.t.Fatal(err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	status := run.RunBalancePlugins(ctx, c.Nodes())
	if status != nil && status.Err != nil {
		c.t.Fatal(status.Err)
	}
	return evicted
}

// profile is the policy's only profile, with the descheduler's defaults and checked by it.
func (p *policy) profile(t *testing.T) api.DeschedulerProfile {
	t.Helper()
	configs := []api.PluginConfig{{Name: defaultevictor.PluginName, Args: p.evictor.DeepCopy()}, {Name: p.plugin, Args: p.args.DeepCopyObject()}}
	for _, c := range configs {
		plugin := registry()[c.Name]
		plugin.PluginArgDefaulter(c.Args)
		err := plugin.PluginArgValidator(c.Args)
		if err != nil {
			t.Fatalf("arguments of %s: %v", c.Name, err)
		}
	}
	only := api.PluginSet{Enabled: []string{defaultevictor.PluginName}}
	return api.DeschedulerProfile{
		Name:          "vms",
		PluginConfigs: configs,
		Plugins:       api.Plugins{Balance: api.PluginSet{Enabled: []string{p.plugin}}, Filter: only, PreEvictionFilter: only},
	}
}

// objects are what the descheduler reads.
func (c *cluster) objects() []runtime.Object {
	var all []runtime.Object
	for _, node := range c.Nodes() {
		all = append(all, node)
	}
	for _, vm := range c.vms {
		pod := vm.pod.DeepCopy()
		pod.Status.Phase = corev1.PodRunning
		all = append(all, pod)
	}
	return all
}

// vmOf is the VM that a pod belongs to.
func (c *cluster) vmOf(pod string) string {
	for name, vm := range c.vms {
		if vm.pod.Name == pod {
			return name
		}
	}
	c.t.Fatalf("the descheduler evicts %s, which runs no VM", pod)
	return ""
}
