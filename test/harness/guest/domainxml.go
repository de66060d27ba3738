// SPDX-License-Identifier: Apache-2.0

package guest

// DomainXML describes a guest with emulated CPUs to a libvirt elsewhere, on x86_64 Debian. Of spec,
// SocketDir means nothing.
func DomainXML(spec Spec) (string, error) {
	spec.SocketDir = "/"
	spec, err := spec.withDefaults()
	if err != nil {
		return "", err
	}
	return machine{Spec: spec, Type: "qemu", Arch: "x86_64", Machine: "q35", Emulator: "/usr/bin/qemu-system-x86_64"}.xml()
}
