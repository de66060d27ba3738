// SPDX-License-Identifier: Apache-2.0

// Package kubevirt brings the control plane of a real KubeVirt up in a test cluster: virt-api with all of its webhooks and
// virt-controller, as processes beside the API server, from programs that the user has. Each acts as its service account, with
// KubeVirt's own rights.
//
// Nothing of KubeVirt is part of this repository. A folder holds what is needed, see Find.
//
// There is no virt-operator: this package makes the certificates, the KubeVirt object and its status, and points the webhooks
// at the process. There is no virt-handler: test/harness/virthandler writes what it writes, as its account. No images exist.
package kubevirt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Names of an installation.
const (
	Namespace         = "kubevirt"
	ControllerAccount = "kubevirt-controller"
	HandlerAccount    = "kubevirt-handler"

	apiAccount = "kubevirt-apiserver"
)

// Programs are what a test needs of KubeVirt, in one folder.
type Programs struct {
	folder string
	*Definitions
}

// ManifestsEnv names the folder of the definitions, where they are not in the folder of the programs.
const ManifestsEnv = "COREPIN_KUBEVIRT_MANIFESTS"

// Find looks whether everything is in the folder, and reads the definitions. The folder holds
//
//   - bin/virt-api, bin/virt-controller and bin/virtctl of one version, v1.7 or later, as its images have them in /usr/bin;
//   - manifests/*.yaml, the definitions of a finished installation of that version, as kubectl get -o yaml prints them.
//
// The definitions are the namespace, custom resource definitions, service accounts, roles and bindings, admission policies,
// webhook configurations, APIServices, cluster instancetypes and preferences.
//
// The error names all that is missing.
func Find(folder string) (*Programs, error) {
	if folder == "" {
		return nil, errors.New("KUBEVIRT names no folder")
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	p := &Programs{folder: folder}
	var missing []error
	for _, name := range []string{"virt-api", "virt-controller", "virtctl"} {
		info, err := os.Stat(p.path(name))
		switch {
		case err != nil:
			missing = append(missing, err)
		case info.IsDir() || info.Mode()&0o111 == 0:
			missing = append(missing, fmt.Errorf("%s is no program", p.path(name)))
		}
	}
	manifests := os.Getenv(ManifestsEnv)
	if manifests == "" {
		manifests = filepath.Join(folder, "manifests")
	}
	p.Definitions, err = readDefinitions(manifests)
	if err != nil {
		missing = append(missing, err)
	}
	return p, errors.Join(missing...)
}

// Virtctl is the path of virtctl.
func (p *Programs) Virtctl() string { return p.path("virtctl") }

func (p *Programs) path(program string) string { return filepath.Join(p.folder, "bin", program) }
