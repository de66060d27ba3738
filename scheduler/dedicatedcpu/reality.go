package dedicatedcpu

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"corepin.dev/corepin/pkg/kubeletcpu"
	"corepin.dev/corepin/scheduler/nodeview"
)

// Reserve is called when a node has been chosen: from now on what its kubelet does with the pod is compared with
// what was predicted. Nothing is reserved; the pod stands in the NodeInfo.
func (pl *DedicatedCPU) Reserve(_ context.Context, state fwk.CycleState, pod *corev1.Pod, nodeName string) *fwk.Status {
	if d := read(state); d != nil {
		if _, estimated := d.estimatedAt.Load(nodeName); !estimated {
			pl.view.Expect(nodeName, pod.UID, &d.Demand)
		}
	}
	return nil
}

// Unreserve is called when the pod is not bound after all.
func (pl *DedicatedCPU) Unreserve(_ context.Context, _ fwk.CycleState, pod *corev1.Pod, nodeName string) {
	pl.view.Unexpect(nodeName, pod.UID)
}

// compared is called when a node's report has shown what became of pods that were bound there.
func compared(logger klog.Logger, nodeName string, with nodeview.Comparison) {
	result := predictionMatch
	if with.Scenario != "" {
		result = predictionMismatch
		logger.Info("the kubelet granted other CPUs than predicted", "node", nodeName, "scenario", with.Scenario)
	}
	predictions.WithLabelValues(result).Add(float64(with.Pods))
}

// left is called for a pod that kube-scheduler's watch has no longer: it is deleted, or has ended. If it has
// ended before a report had it, its kubelet may have refused it; the watch does not tell, as it leaves out pods
// that have ended.
func (k *knowledge) left(ctx context.Context, pod *corev1.Pod) {
	if pod.Spec.NodeName == "" {
		return
	}
	if about := k.view.Ended(pod); about != nil {
		go k.inquire(ctx, pod, about)
	}
}

// answerWithin is how long the API server has to say how a pod ended.
const answerWithin = 10 * time.Second

// inquire asks the API server how a pod ended.
func (k *knowledge) inquire(ctx context.Context, pod *corev1.Pod, about *nodeview.Inquiry) {
	ctx, stop := context.WithTimeout(ctx, answerWithin)
	defer stop()
	logger := klog.FromContext(ctx)
	now, err := k.client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	if err != nil || now.UID != pod.UID {
		logger.V(4).Info("cannot tell how a pod in flight ended", "pod", klog.KObj(pod), "err", err)
		return
	}
	switch now.Status.Reason {
	case kubeletcpu.ReasonTopologyAffinity, kubeletcpu.ReasonSMTAlignment, kubeletcpu.ReasonUnexpected:
	default:
		return
	}
	with := about.Refused(now)
	logger.Info("the kubelet refused a pod that was predicted to be admitted", "pod", klog.KObj(pod), "node", pod.Spec.NodeName, "scenario", with.Scenario)
	predictions.WithLabelValues(predictionMismatch).Add(float64(with.Pods))
}
