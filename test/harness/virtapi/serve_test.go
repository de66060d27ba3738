// SPDX-License-Identifier: Apache-2.0

package virtapi_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/cluster/clustertest"
	"corepin.dev/corepin/test/harness/crd"
	"corepin.dev/corepin/test/harness/virtapi"
	"corepin.dev/corepin/test/harness/virtcontroller"
)

// TestInForce: an API server asks both webhooks. A new VMI is filled in, and then its size is for KubeVirt's accounts to change.
func TestInForce(t *testing.T) {
	c := clustertest.Start(t, "")
	api, err := virtapi.New(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- api.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for _, manifest := range [][]byte{crd.KubeVirt, virtcontroller.Manifest, api.Manifest()} {
		if err := c.Apply(t.Context(), manifest); err != nil {
			t.Fatal(err)
		}
	}
	vmi := []byte("{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: vm, namespace: default}, " +
		"spec: {domain: {cpu: {cores: 2}, devices: {}}}}")
	err = await.For(t.Context(), "the webhooks to be in force", time.Minute, func(ctx context.Context) error {
		if err := c.Apply(ctx, vmi); err != nil {
			return err
		}
		_, err := c.Kubectl(ctx, "wait", "virtualmachineinstance", "vm", "--for=jsonpath={.spec.domain.cpu.model}=host-model", "--timeout=0s")
		if err == nil {
			return nil
		}
		_, deleteErr := c.Kubectl(ctx, "delete", "virtualmachineinstance", "vm") // it was made too early
		if deleteErr != nil {
			return deleteErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	grow := []string{"patch", "virtualmachineinstance", "vm", "--type=merge", `--patch={"spec": {"domain": {"cpu": {"cores": 4}}}}`}
	err = await.For(t.Context(), "a user's change to be refused", time.Minute, func(ctx context.Context) error {
		_, err := c.Kubectl(ctx, append(grow, "--dry-run=server")...)
		if err == nil || !strings.Contains(err.Error(), "update of VMI object is restricted") {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	_, err = c.Kubectl(t.Context(), append(grow, "--as=system:serviceaccount:"+virtcontroller.Namespace+":"+virtcontroller.ServiceAccount)...)
	if err != nil {
		t.Errorf("KubeVirt's account: %v", err)
	}
	_, err = c.Kubectl(t.Context(), "label", "virtualmachineinstance", "vm", "app=db")
	if err != nil {
		t.Errorf("a user's label: %v", err)
	}
}
