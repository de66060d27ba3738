// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Bounds of the durations. A conversation with libvirt that takes over a minute is a hung libvirt; checks
// more often than every second would be a load on it.
const (
	minDeadline     = 100 * time.Millisecond
	maxDeadline     = time.Minute
	minVerifyPeriod = time.Second
	maxVerifyPeriod = time.Hour
)

// Validate says everything that is wrong with a configuration whose defaults are set.
func Validate(c *AgentConfiguration) field.ErrorList {
	var errs field.ErrorList
	if *c.StartupTaint != "" {
		for _, problem := range validation.IsQualifiedName(*c.StartupTaint) {
			errs = append(errs, field.Invalid(field.NewPath("startupTaint"), *c.StartupTaint, problem))
		}
	}
	for _, dir := range []struct{ name, path string }{
		{"kubeletRootDir", c.KubeletRootDir},
		{"kubeletConfigFile", c.KubeletConfigFile},
		{"sysfsDir", c.SysfsDir},
	} {
		if !filepath.IsAbs(dir.path) {
			errs = append(errs, field.Invalid(field.NewPath(dir.name), dir.path, "must be an absolute path"))
		}
	}
	errs = append(errs, validateKubelet(field.NewPath("kubelet"), c.Kubelet)...)
	errs = append(errs, validateConfigMap(field.NewPath("featureGates", "configMap"), c.FeatureGates.ConfigMap)...)
	errs = append(errs, validatePinning(field.NewPath("pinning"), c.Pinning)...)
	return append(errs, validateAddress(field.NewPath("serving", "address"), *c.Serving.Address)...)
}

func validateKubelet(path *field.Path, k Kubelet) field.ErrorList {
	var errs field.ErrorList
	if k.Address != "" {
		if host, _, err := net.SplitHostPort(k.Address); err != nil || host == "" {
			errs = append(errs, field.Invalid(path.Child("address"), k.Address, "must be host:port"))
		} else {
			errs = append(errs, validateAddress(path.Child("address"), k.Address)...)
		}
	}
	if k.CAFile != "" && !filepath.IsAbs(k.CAFile) {
		errs = append(errs, field.Invalid(path.Child("caFile"), k.CAFile, "must be an absolute path"))
	}
	if k.CAFile != "" && k.InsecureSkipTLSVerify {
		errs = append(errs, field.Invalid(path.Child("insecureSkipTLSVerify"), true, "must not be set together with caFile"))
	}
	return errs
}

func validateConfigMap(path *field.Path, ref ConfigMapRef) field.ErrorList {
	var errs field.ErrorList
	for _, problem := range validation.IsDNS1123Label(ref.Namespace) {
		errs = append(errs, field.Invalid(path.Child("namespace"), ref.Namespace, problem))
	}
	for _, problem := range validation.IsDNS1123Subdomain(ref.Name) {
		errs = append(errs, field.Invalid(path.Child("name"), ref.Name, problem))
	}
	return errs
}

func validatePinning(path *field.Path, p Pinning) field.ErrorList {
	var errs field.ErrorList
	modes := []PinningMode{PinningEnforce, PinningRepair, PinningObserve}
	if !slices.Contains(modes, p.Mode) {
		errs = append(errs, field.NotSupported(path.Child("mode"), p.Mode, modes))
	}
	places := []LibvirtFrom{FromPodDirectory, FromProcess, FromHost}
	if !slices.Contains(places, p.LibvirtFrom) {
		errs = append(errs, field.NotSupported(path.Child("libvirtFrom"), p.LibvirtFrom, places))
	}
	for i, socket := range p.LibvirtSockets {
		if !filepath.IsAbs(socket) {
			errs = append(errs, field.Invalid(path.Child("libvirtSockets").Index(i), socket, "must be an absolute path"))
		}
	}
	for i, namespace := range p.LauncherNamespaces {
		for _, problem := range validation.IsDNS1123Label(namespace) {
			errs = append(errs, field.Invalid(path.Child("launcherNamespaces").Index(i), namespace, problem))
		}
	}
	for _, dir := range []struct{ name, path string }{{"procDir", p.ProcDir}, {"cgroupDir", p.CgroupDir}} {
		if !filepath.IsAbs(dir.path) {
			errs = append(errs, field.Invalid(path.Child(dir.name), dir.path, "must be an absolute path"))
		}
	}
	if !strings.Contains(p.DomainName, "{name}") {
		errs = append(errs, field.Invalid(path.Child("domainName"), p.DomainName, "must contain {name}, or every VM would have the same domain"))
	}
	if p.LibvirtFrom == FromHost && !strings.Contains(p.DomainName, "{namespace}") {
		errs = append(errs, field.Invalid(path.Child("domainName"), p.DomainName,
			"must contain {namespace} too where libvirtFrom is "+string(FromHost)+", or VMs of two namespaces would have the same domain"))
	}
	if p.LibvirtURI != "" {
		if uri, err := url.Parse(p.LibvirtURI); err != nil || uri.Scheme == "" {
			errs = append(errs, field.Invalid(path.Child("libvirtURI"), p.LibvirtURI, "must be a libvirt URI, for example qemu:///system"))
		}
	}
	if *p.WaitLimitPercent < 0 || *p.WaitLimitPercent > 100 {
		errs = append(errs, field.Invalid(path.Child("waitLimitPercent"), *p.WaitLimitPercent, "must be between 0 and 100"))
	}
	errs = append(errs, validateDuration(path.Child("deadline"), p.Deadline, minDeadline, maxDeadline)...)
	return append(errs, validateDuration(path.Child("verifyPeriod"), p.VerifyPeriod, minVerifyPeriod, maxVerifyPeriod)...)
}

func validateDuration(path *field.Path, d metav1.Duration, low, high time.Duration) field.ErrorList {
	if d.Duration < low || d.Duration > high {
		return field.ErrorList{field.Invalid(path, d.Duration.String(), "must be between "+low.String()+" and "+high.String())}
	}
	return nil
}

func validateAddress(path *field.Path, address string) field.ErrorList {
	if address == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return field.ErrorList{field.Invalid(path, address, `must be host:port, :port, or "" for none`)}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return field.ErrorList{field.Invalid(path, address, "must have a port between 0 and 65535")}
	}
	return nil
}
