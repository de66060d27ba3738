// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// Where the kubelet keeps its files in a machine.
const (
	KubeletRoot     = "/var/lib/kubelet"
	CPUStateFile    = KubeletRoot + "/cpu_manager_state"
	MemoryStateFile = KubeletRoot + "/memory_manager_state"
	DeviceStateFile = KubeletRoot + "/device-plugins/kubelet_internal_checkpoint"
	KubeletLog      = "/var/log/kubelet.log"

	configFile     = KubeletRoot + "/config.yaml"
	kubeconfigFile = "/etc/kubernetes/kubelet.kubeconfig"
	caFile         = "/etc/kubernetes/ca.crt"
)

// Settings are what differs between kubelets. The CPU manager's policy is static always: without it there
// is nothing to predict.
type Settings struct {
	// Version is the kubelet's minor, such as "1.36": one of those that hack/machine.sh has built.
	Version string
	// Reserved are the CPUs kept for system and kubelet, as a list of the kernel: "0-1".
	Reserved string
	// CPUOptions are the options of policy static, for example full-pcpus-only: "true".
	CPUOptions map[string]string
	// TopologyPolicy and TopologyScope are the topology manager's; "" is the kubelet's default.
	TopologyPolicy, TopologyScope string
	// TopologyOptions are the topology manager's options.
	TopologyOptions map[string]string
	// ReservedMiB is the memory kept for system and kubelet on each NUMA node, in MiB, in the order of their ids. With it the
	// memory manager's policy is Static; nil is None.
	ReservedMiB []int
	// Reconcile is the period of the CPU manager; 0 is a second, so that tests do not wait for it.
	Reconcile time.Duration
}

// config is the kubelet's configuration file.
func (s Settings) config() *kubeletconfig.KubeletConfiguration {
	config := &kubeletconfig.KubeletConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: "kubelet.config.k8s.io/v1beta1", Kind: "KubeletConfiguration"},
		Authentication: kubeletconfig.KubeletAuthentication{
			Anonymous: kubeletconfig.KubeletAnonymousAuthentication{Enabled: ptr.To(false)},
			Webhook:   kubeletconfig.KubeletWebhookAuthentication{Enabled: ptr.To(true)},
			X509:      kubeletconfig.KubeletX509Authentication{ClientCAFile: caFile},
		},
		Authorization:                kubeletconfig.KubeletAuthorization{Mode: kubeletconfig.KubeletAuthorizationModeWebhook},
		ContainerRuntimeEndpoint:     "unix:///run/containerd/containerd.sock",
		CgroupDriver:                 "cgroupfs",
		FailSwapOn:                   ptr.To(false),
		ResolverConfig:               ptr.To(""),
		CPUManagerPolicy:             "static",
		CPUManagerPolicyOptions:      s.CPUOptions,
		ReservedSystemCPUs:           s.Reserved,
		TopologyManagerPolicy:        s.TopologyPolicy,
		TopologyManagerScope:         s.TopologyScope,
		TopologyManagerPolicyOptions: s.TopologyOptions,
		// The root file system of a machine does not tell what the kubelet wants to know of it.
		LocalStorageCapacityIsolation: ptr.To(false),
		// Emulated CPUs take long over what a real machine does at once.
		RuntimeRequestTimeout: metav1.Duration{Duration: 10 * time.Minute},
		// What a kubelet does after ten seconds or a minute it does at once here, and what nobody looks at never.
		CPUManagerReconcilePeriod: metav1.Duration{Duration: cmp.Or(s.Reconcile, time.Second)},
		NodeStatusUpdateFrequency: metav1.Duration{Duration: 5 * time.Second},
		NodeStatusReportFrequency: metav1.Duration{Duration: 5 * time.Second},
		VolumeStatsAggPeriod:      metav1.Duration{Duration: -time.Second},
		FeatureGates:              s.gates(),
	}
	s.reserveMemory(config)
	return config
}

// evictionMiB is the kubelet's threshold memory.available, by default.
const evictionMiB = 100

// reserveMemory sets the memory manager. The kubelet demands that reservedMemory comes to what kubeReserved, systemReserved
// and the eviction threshold keep (getSystemReservedMemory in pkg/kubelet/cm/memorymanager/memory_manager.go, v1.36.3).
func (s Settings) reserveMemory(config *kubeletconfig.KubeletConfiguration) {
	if s.ReservedMiB == nil {
		return
	}
	config.MemoryManagerPolicy = kubeletconfig.StaticMemoryManagerPolicy
	sum := 0
	for node, mib := range s.ReservedMiB {
		sum += mib
		config.ReservedMemory = append(config.ReservedMemory, kubeletconfig.MemoryReservation{
			NumaNode: int32(node), Limits: corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(int64(mib)<<20, resource.BinarySI)},
		})
	}
	config.KubeReserved = map[string]string{"memory": fmt.Sprintf("%dMi", sum-evictionMiB)}
}

// gates lets all options of policy static be used, whichever state of ripeness they are in.
func (s Settings) gates() map[string]bool {
	return map[string]bool{"CPUManagerPolicyAlphaOptions": true, "CPUManagerPolicyBetaOptions": true}
}

// Import brings an image, an OCI archive of this host, into the machine.
func (m *Machine) Import(ctx context.Context, archive string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = m.RunInput(ctx, file, "ctr", "--namespace", "k8s.io", "images", "import", "--local", "-")
	return err
}

// Join prepares the machine to be a node with the identity of a kubeconfig of this host.
func (m *Machine) Join(ctx context.Context, kubeconfig string) error {
	config, ca, err := insideKubeconfig(kubeconfig, m.options.APIServer)
	if err != nil {
		return err
	}
	if err := m.WriteFile(ctx, caFile, 0o644, ca); err != nil {
		return err
	}
	return m.WriteFile(ctx, kubeconfigFile, 0o600, config)
}

// insideKubeconfig makes a kubeconfig of this host one that is whole in itself and finds the API server
// from inside a machine; and the certificate of the authority in it.
func insideKubeconfig(path, apiserver string) (config, ca []byte, err error) {
	loaded, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the kubeconfig of a machine: %w", err)
	}
	for _, cluster := range loaded.Clusters {
		cluster.Server = "https://10.0.2.2:" + port(apiserver)
		cluster.TLSServerName = "kubernetes"
		ca = cluster.CertificateAuthorityData
	}
	if err := clientcmdapi.FlattenConfig(loaded); err != nil {
		return nil, nil, fmt.Errorf("reading the keys of %s: %w", path, err)
	}
	config, err = clientcmd.Write(*loaded)
	return config, ca, err
}

// StartContainerd starts containerd and waits until it answers.
func (m *Machine) StartContainerd(ctx context.Context) error {
	if err := m.start(ctx, "containerd", "containerd"); err != nil {
		return err
	}
	return m.await(ctx, deadline, "containerd in machine "+m.options.Name, func(ctx context.Context) error {
		_, err := m.Run(ctx, "ctr", "version")
		return err
	})
}

// StartKubelet writes the configuration and starts the kubelet. That it is ready is seen at its Node.
// Settings of another policy want the old checkpoint gone first, as the kubelet says itself: see Forget.
func (m *Machine) StartKubelet(ctx context.Context, settings Settings) error {
	data, err := yaml.Marshal(settings.config())
	if err != nil {
		return fmt.Errorf("encoding the kubelet's configuration: %w", err)
	}
	if err := m.WriteFile(ctx, configFile, 0o644, data); err != nil {
		return err
	}
	return m.start(ctx, "kubelet", fmt.Sprintf("kubelet-%s --config=%s --kubeconfig=%s --hostname-override=%s --root-dir=%s --v=2 --housekeeping-interval=1m",
		settings.Version, configFile, kubeconfigFile, m.options.Name, KubeletRoot))
}

// StopKubelet ends the kubelet with SIGTERM, and returns when it is gone. Its pods stay.
func (m *Machine) StopKubelet(ctx context.Context) error { return m.end(ctx, "kubelet", "TERM") }

// KillKubelet is StopKubelet with SIGKILL.
func (m *Machine) KillKubelet(ctx context.Context) error { return m.end(ctx, "kubelet", "KILL") }

// KillContainerd ends containerd with SIGKILL. Containers stay: each has a shim of its own.
func (m *Machine) KillContainerd(ctx context.Context) error { return m.end(ctx, "containerd", "KILL") }

// Forget removes what the managers of CPUs, memory and devices remember. The kubelet must not run.
func (m *Machine) Forget(ctx context.Context) error {
	_, err := m.Run(ctx, "rm", "-f", CPUStateFile, MemoryStateFile, DeviceStateFile)
	return err
}

// start runs a service in the background: its log is /var/log/NAME.log, its process id in /run/NAME.pid.
func (m *Machine) start(ctx context.Context, name, command string) error {
	script := fmt.Sprintf("setsid %s >>/var/log/%s.log 2>&1 </dev/null & echo $! >/run/%[2]s.pid", command, name)
	if _, err := m.Shell(ctx, script); err != nil {
		return fmt.Errorf("starting %s in machine %s: %w", name, m.options.Name, err)
	}
	return nil
}

// end signals a service and waits for it.
func (m *Machine) end(ctx context.Context, name, signal string) error {
	if _, err := m.Shell(ctx, fmt.Sprintf("kill -%s $(cat /run/%s.pid)", signal, name)); err != nil {
		return fmt.Errorf("ending %s in machine %s: %w", name, m.options.Name, err)
	}
	return m.await(ctx, deadline, name+" to end", func(ctx context.Context) error {
		_, err := m.Shell(ctx, fmt.Sprintf("! kill -0 $(cat /run/%s.pid)", name))
		return err
	})
}
