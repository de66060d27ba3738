// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// stockConfig is kube-scheduler as it is: the same binary, without the plugin in its profile.
const stockConfig = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection: {kubeconfig: %s}
leaderElection: {leaderElect: false}
profiles:
- schedulerName: default-scheduler
`

// stockIdentity has the roles of Kubernetes' own scheduler.
const stockIdentity = `apiVersion: v1
kind: ServiceAccount
metadata: {name: stock-scheduler, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: stock-scheduler}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:kube-scheduler"}
subjects: [{kind: ServiceAccount, name: stock-scheduler, namespace: kube-system}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: stock-scheduler-volumes}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:volume-scheduler"}
subjects: [{kind: ServiceAccount, name: stock-scheduler, namespace: kube-system}]
`

// startStockScheduler runs the scheduler of everything that does not ask for corepin's: the agent's pods
// among it.
func (w *world) startStockScheduler(ctx context.Context) error {
	if err := w.Apply(ctx, []byte(stockIdentity)); err != nil {
		return err
	}
	kubeconfig, err := w.ServiceAccountKubeconfig(ctx, "kube-system", "stock-scheduler")
	if err != nil {
		return err
	}
	path := filepath.Join(w.dir, "host", "stock-scheduler.yaml")
	if err := os.WriteFile(path, fmt.Appendf(nil, stockConfig, kubeconfig), 0o644); err != nil {
		return err
	}
	_, err = w.StartProcess("stock-scheduler", filepath.Join(os.Getenv("COREPIN_BIN"), "corepin-scheduler"),
		"--config="+path, "--secure-port=0", "--v=3")
	return err
}
