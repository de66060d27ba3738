package dedicatedcpu

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/scheduler/nodeview"
)

// compared is called when a node's report shows what its kubelet did with pods that were bound there.
func compared(logger klog.Logger, nodeName string, with nodeview.Comparison) {
	result := predictionMatch
	if with.Scenario != "" {
		result = predictionMismatch
		logger.Info("the kubelet granted other CPUs than predicted", "node", nodeName, "scenario", with.Scenario)
	}
	predictions.WithLabelValues(result).Add(float64(with.Pods))
}

// podLeft is called for a pod that kube-scheduler's watch does not have any more: it is deleted, or it has ended. If no
// report had it, its kubelet may have refused it. The watch cannot tell, since it leaves out pods that have ended.
func (s *sharedState) podLeft(ctx context.Context, pod *corev1.Pod) {
	if pod.Spec.NodeName == "" {
		return
	}
	if about := s.view.Ended(pod); about != nil {
		go s.inquire(ctx, pod, about)
	}
}

// answerWithin bounds the request to the API server.
const answerWithin = 10 * time.Second

// inquire asks the API server how a pod ended.
func (s *sharedState) inquire(ctx context.Context, pod *corev1.Pod, about *nodeview.Inquiry) {
	ctx, stop := context.WithTimeout(ctx, answerWithin)
	defer stop()
	logger := klog.FromContext(ctx)
	now, err := s.client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	if err != nil || now.UID != pod.UID {
		logger.V(4).Info("it is not known how a pod in flight ended", "pod", klog.KObj(pod), "err", err)
		return
	}
	switch now.Status.Reason {
	case admission.ReasonTopologyAffinity, admission.ReasonSMTAlignment, admission.ReasonUnexpected:
	default:
		return
	}
	with := about.Refused(now)
	logger.Info("the kubelet refused a pod that was predicted to be admitted", "pod", klog.KObj(pod), "node", pod.Spec.NodeName, "scenario", with.Scenario)
	predictions.WithLabelValues(predictionMismatch).Add(float64(with.Pods))
}
