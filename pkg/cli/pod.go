// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"corepin.dev/corepin/pkg/objects"
)

// readPod reads a Pod as a kubelet would get it from the API server.
func readPod(o *objects.Object) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	unknown, err := o.Decode(pod)
	if err != nil {
		return nil, err
	}
	unknown = slices.DeleteFunc(unknown, func(err error) bool {
		var field *objects.FieldError
		return errors.As(err, &field) && strings.HasPrefix(field.Path, "status.") // of a newer API server
	})
	if err := oneLine(unknown); err != nil {
		return nil, err
	}
	pod.Name = o.Name
	pod.Namespace = o.Namespace
	if err := invalid(pod); err != nil {
		return nil, err
	}
	defaultRequests(pod)
	return pod, nil
}

// oneLine joins errors with semicolons.
func oneLine(errs []error) error {
	var all error
	for _, err := range errs {
		if all == nil {
			all = err
		} else {
			all = fmt.Errorf("%w; %w", all, err)
		}
	}
	return all
}

// defaultRequests does what the API server does before a kubelet sees the pod. A container with a limit and no request
// requests its limit. A pod as a whole requests what its containers do together. With host networking a port is one
// of the node's (SetDefaults_Pod in pkg/apis/core/v1/defaults.go, v1.36.3).
func defaultRequests(pod *corev1.Pod) {
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			resources := &containers[i].Resources
			for name, limit := range resources.Limits {
				if _, requested := resources.Requests[name]; requested {
					continue
				}
				if resources.Requests == nil {
					resources.Requests = corev1.ResourceList{}
				}
				resources.Requests[name] = limit
			}
			for j := range containers[i].Ports {
				port := &containers[i].Ports[j]
				if pod.Spec.HostNetwork && port.HostPort == 0 {
					port.HostPort = port.ContainerPort
				}
			}
		}
	}
	whole := pod.Spec.Resources
	if whole == nil || len(whole.Limits) == 0 {
		return
	}
	together := resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		sum, summed := together[name]
		limit, limited := whole.Limits[name]
		if _, requested := whole.Requests[name]; requested || !summed && !limited {
			continue
		}
		if whole.Requests == nil {
			whole.Requests = corev1.ResourceList{}
		}
		whole.Requests[name] = sum
		if !summed {
			whole.Requests[name] = limit
		}
	}
}

// invalid says why an API server would refuse the pod, as far as the answer depends on it.
func invalid(pod *corev1.Pod) error {
	if pod.Name == "" {
		return errors.New("metadata.name is missing")
	}
	if len(pod.Spec.Containers) == 0 {
		return errors.New("spec.containers is missing or empty")
	}
	seen := map[string]bool{}
	for i := range pod.Spec.InitContainers {
		if err := invalidContainer(&pod.Spec.InitContainers[i], seen); err != nil {
			return fmt.Errorf("spec.initContainers[%d]%w", i, err)
		}
	}
	for i := range pod.Spec.Containers {
		if err := invalidContainer(&pod.Spec.Containers[i], seen); err != nil {
			return fmt.Errorf("spec.containers[%d]%w", i, err)
		}
	}
	return nil
}

// invalidContainer is invalid for a container. Its error continues a field path.
func invalidContainer(c *corev1.Container, seen map[string]bool) error {
	if c.Name == "" || seen[c.Name] {
		return fmt.Errorf(".name: %q is empty or the name of another container too", c.Name)
	}
	seen[c.Name] = true
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request := c.Resources.Requests[name]
		limit, limited := c.Resources.Limits[name]
		switch {
		case limit.Sign() < 0:
			return fmt.Errorf(".resources.limits.%s: %s is negative", name, limit.String())
		case request.Sign() < 0:
			return fmt.Errorf(".resources.requests.%s: %s is negative", name, request.String())
		case limited && request.Cmp(limit) > 0:
			return fmt.Errorf(".resources.requests.%s: %s is more than the limit, %s", name, request.String(), limit.String())
		}
	}
	return nil
}
