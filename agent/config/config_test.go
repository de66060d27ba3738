// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"corepin.dev/corepin/test/harness/bounds"
)

const header = "apiVersion: agent.corepin.dev/v1alpha1\nkind: AgentConfiguration\n"

func TestDefaults(t *testing.T) {
	byFile, err := Decode([]byte(header))
	if err != nil {
		t.Fatal(err)
	}
	byNothing, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*AgentConfiguration{"an empty file": byFile, "no file": byNothing} {
		got := []any{
			c.KubeletRootDir, c.KubeletConfigFile, c.SysfsDir, c.FeatureGates.ConfigMap, c.FeatureGates.CPUManagerDefault,
			c.Pinning.Mode, c.Pinning.LibvirtURI, c.Pinning.Deadline.Duration, c.Pinning.VerifyPeriod.Duration, *c.Pinning.WaitLimitPercent, *c.Serving.Address,
		}
		want := []any{
			"/var/lib/kubelet", "/var/lib/kubelet/config.yaml", "/sys", ConfigMapRef{"kubevirt", "kubevirt-config"}, false,
			PinningEnforce, "", 5 * time.Second, 4 * time.Second, int32(5), ":10390",
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: field %d is %v, want %v", name, i, got[i], want[i])
			}
		}
		if errs := Validate(c); len(errs) > 0 {
			t.Errorf("%s: the defaults are not valid: %v", name, errs)
		}
	}
}

func TestDecodeKeepsWhatIsSet(t *testing.T) {
	c, err := Decode([]byte(header + `
kubeletRootDir: /var/lib/k0s/kubelet
sysfsDir: /host/sys
kubelet: {address: "127.0.0.1:10250", caFile: /etc/ca.crt}
labels: {overrideKubeVirt: true}
featureGates: {configMap: {namespace: vms}, cpuManagerDefault: true}
pinning: {mode: observe, launcherNamespaces: [vms], libvirtURI: "test:///default", deadline: 1s, verifyPeriod: 2m, waitLimitPercent: 0}
serving: {address: ""}
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.KubeletConfigFile != "/var/lib/k0s/kubelet/config.yaml" {
		t.Errorf("kubeletConfigFile is %s, want it in the root directory that was set", c.KubeletConfigFile)
	}
	if want := (Kubelet{Address: "127.0.0.1:10250", CAFile: "/etc/ca.crt"}); c.Kubelet != want || !c.Labels.OverrideKubeVirt {
		t.Errorf("kubelet is %+v, labels %+v", c.Kubelet, c.Labels)
	}
	if *c.Pinning.WaitLimitPercent != 0 {
		t.Errorf("pinning.waitLimitPercent is %d, want it off as set", *c.Pinning.WaitLimitPercent)
	}
	if *c.Serving.Address != "" {
		t.Errorf("serving.address is %q, want it off as set", *c.Serving.Address)
	}
	if want := (ConfigMapRef{"vms", "kubevirt-config"}); c.FeatureGates.ConfigMap != want || !c.FeatureGates.CPUManagerDefault {
		t.Errorf("featureGates are %+v, want %+v and default true", c.FeatureGates, want)
	}
	if len(c.Pinning.LauncherNamespaces) != 1 || c.Pinning.Mode != PinningObserve || c.Pinning.Deadline.Duration != time.Second || c.Pinning.VerifyPeriod.Duration != 2*time.Minute {
		t.Errorf("pinning is %+v", c.Pinning)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ file, want string }{
		"an empty file":          {"", `apiVersion ""`},
		"another kind":           {"apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\n", `kind "ConfigMap"`},
		"a newer version":        {"apiVersion: agent.corepin.dev/v1\nkind: AgentConfiguration\n", `want apiVersion "agent.corepin.dev/v1alpha1"`},
		"no YAML":                {"\t{", "yaml"},
		"two faults, the first":  {header + "sysfs: /x\npinning: {mode: never}\n", `unknown field "sysfs"`},
		"two faults, the second": {header + "sysfs: /x\npinning: {mode: never}\n", "pinning.mode"},
		"an unknown field":       {header + "kubeletRoot: /x\n", `unknown field "kubeletRoot"`},
		"an unknown inner field": {header + "pinning: {modus: enforce}\n", `unknown field "pinning.modus"`},
		"a field twice":          {header + "sysfsDir: /a\nsysfsDir: /b\n", `"sysfsDir" already set`},
		"a relative path":        {header + "sysfsDir: sys\n", "sysfsDir: Invalid value"},
		"an unknown mode":        {header + "pinning: {mode: never}\n", "pinning.mode"},
		"no duration":            {header + "pinning: {deadline: soon}\n", "soon"},
		"a deadline too long":    {header + "pinning: {deadline: 1h}\n", "pinning.deadline: Invalid value"},
		"a negative period":      {header + "pinning: {verifyPeriod: -1s}\n", "pinning.verifyPeriod: Invalid value"},
		"more than all":          {header + "pinning: {waitLimitPercent: 101}\n", "pinning.waitLimitPercent: Invalid value"},
		"less than nothing":      {header + "pinning: {waitLimitPercent: -1}\n", "pinning.waitLimitPercent: Invalid value"},
		"an unknown libvirt":     {header + "pinning: {libvirtFrom: moon}\n", "pinning.libvirtFrom"},
		"a relative socket":      {header + "pinning: {libvirtSockets: [a]}\n", "pinning.libvirtSockets[0]: Invalid value"},
		"no such namespace":      {header + "pinning: {launcherNamespaces: [vms, A_B]}\n", "pinning.launcherNamespaces[1]: Invalid value"},
		"a relative /proc":       {header + "pinning: {procDir: proc}\n", "pinning.procDir: Invalid value"},
		"one domain for all":     {header + "pinning: {domainName: vm}\n", "pinning.domainName: Invalid value"},
		"a domain for two VMs":   {header + "pinning: {libvirtFrom: host, domainName: \"{name}\"}\n", "pinning.domainName: Invalid value"},
		"no libvirt URI":         {header + "pinning: {libvirtURI: qemu}\n", "pinning.libvirtURI: Invalid value"},
		"no address":             {header + "serving: {address: here}\n", "serving.address: Invalid value"},
		"no port":                {header + "serving: {address: \":99999\"}\n", "serving.address: Invalid value"},
		"no kubelet port":        {header + "kubelet: {address: 10.0.0.1}\n", "kubelet.address: Invalid value"},
		"no kubelet host":        {header + "kubelet: {address: \":10250\"}\n", "kubelet.address: Invalid value"},
		"a relative CA":          {header + "kubelet: {caFile: ca.crt}\n", "kubelet.caFile: Invalid value"},
		"a CA for nothing":       {header + "kubelet: {caFile: /ca.crt, insecureSkipTLSVerify: true}\n", "kubelet.insecureSkipTLSVerify: Invalid value"},
		"no namespace":           {header + "featureGates: {configMap: {namespace: A_B}}\n", "featureGates.configMap.namespace: Invalid value"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Decode([]byte(tc.file)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte("kind: Pod\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{path, path + ".missing"} {
		if _, err := Load(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("got error %v, want one that names %s", err, file)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(header))
	f.Add([]byte(header + "pinning: {mode: observe, deadline: 1s}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c *AgentConfiguration
		var err error
		bounds.Within(t, bounds.Parser, string(data), func() { c, err = Decode(data) })
		if err == nil && len(Validate(c)) > 0 {
			t.Fatalf("accepted a configuration that is not valid: %v", Validate(c))
		}
	})
}
