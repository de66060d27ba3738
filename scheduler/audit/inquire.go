// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/nodereport"
)

// answerWithin is how long the API server has to say how a pod ended.
const answerWithin = 10 * time.Second

// inquiry is a pod that was expected and has ended before its node's report had it. kube-scheduler's watch does not show how, as
// it leaves out pods that have ended.
type inquiry struct {
	pod    *corev1.Pod
	node   string
	report *nodereport.Report
	asks   *admission.Pod
	// others are what other pods ask for that were expected at the same time.
	others []*admission.Pod
}

// ask asks the API server how the pod ended. It returns the scenario of a refusal that was not predicted, else "".
func (i *inquiry) ask(ctx context.Context, client kubernetes.Interface) (scenario string) {
	ctx, stop := context.WithTimeout(ctx, answerWithin)
	defer stop()
	now, err := client.CoreV1().Pods(i.pod.Namespace).Get(ctx, i.pod.Name, metav1.GetOptions{})
	if err != nil || now.UID != i.pod.UID {
		klog.FromContext(ctx).V(4).Info("cannot find out how a pod in flight ended", "pod", klog.KObj(i.pod), "node", i.node, "err", err)
		return ""
	}
	return i.refusal(now)
}

// refusal is the scenario of a kubelet's refusal, which is in the pod's status. It is empty if the pod ended in another way.
func (i *inquiry) refusal(pod *corev1.Pod) string {
	switch pod.Status.Reason {
	case admission.ReasonTopologyAffinity, admission.ReasonSMTAlignment, admission.ReasonUnexpected:
	default:
		return ""
	}
	results := make([]string, len(i.others), len(i.others)+1)
	results = append(results, "refused: "+pod.Status.Reason+": "+pod.Status.Message)
	return scenario(i.report.Node, append(slices.Clone(i.others), i.asks), results)
}
