#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes a Debian machine ready for make demo and make test: installs what is missing, and only that.
#
# kube-apiserver, etcd, kubectl and corepin itself come from this repository and the Go module cache;
# what is wanted from Debian is a real libvirt and a real QEMU.
#
# usage: hack/setup.sh [test|verify]   test: also for make test, which opens a page in Chromium (80 MB to load, 300 MB installed),
#                                      compiles AppArmor profiles, and runs Prometheus
#                                      verify: also for make verify, which has Prometheus' tool test the alerts, and for make race,
#                                      which wants a C compiler
set -euo pipefail
cd "$(dirname "$0")/.."
# Daemons live in sbin, which "su" leaves out of the PATH; dpkg wants it too.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

checks=${1:-}
fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }

# check_go fails unless the Go that is installed can build this module.
check_go() {
	local want have
	want=$(sed -n 's/^go //p' go.mod)
	command -v go >/dev/null || fail "Go is missing; install Go $want or newer from https://go.dev/dl/ and put it on PATH"
	have=$(go env GOVERSION 2>&1) || fail "Go does not run here: $have" "install Go $want or newer from https://go.dev/dl/"
	have=${have#go}
	[ "$(printf '%s\n%s\n' "$want" "${have%%[- ]*}" | sort -V | head -1)" = "$want" ] ||
		fail "Go $have is too old; install Go $want or newer from https://go.dev/dl/"
}

# missing_packages prints the Debian package of each thing that is not there.
missing_packages() {
	local emulator package=qemu-system-x86 drivers=(/usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so)
	emulator=qemu-system-$(uname -m)
	case $(uname -m) in
	x86_64) ;;
	aarch64) package=qemu-system-arm ;;
	*) fail "this runs on x86_64 and aarch64, not on $(uname -m)" ;;
	esac
	command -v git >/dev/null || echo git
	command -v make >/dev/null || echo make
	command -v setpriv >/dev/null || echo util-linux
	command -v openssl >/dev/null || echo openssl
	command -v libvirtd >/dev/null || echo libvirt-daemon
	[ -e "${drivers[0]}" ] || echo libvirt-daemon-driver-qemu
	command -v virsh >/dev/null || echo libvirt-clients
	command -v "$emulator" >/dev/null || echo "$package"
	if [ "$checks" = test ]; then
		command -v chromium >/dev/null || echo chromium
		command -v apparmor_parser >/dev/null || echo apparmor
		command -v prometheus >/dev/null || echo prometheus
	fi
	if [ "$checks" = verify ]; then
		command -v promtool >/dev/null || echo prometheus
		command -v gcc >/dev/null || echo gcc
		[ -e /usr/include/stdlib.h ] || echo libc6-dev
	fi
}

# install installs packages without asking and without starting the services in them: the demo starts
# daemons of its own, with its own directories, and leaves the machine's alone.
install() {
	local policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod +x $policy
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT
	fi
	export DEBIAN_FRONTEND=noninteractive
	echo "setup: installing $*"
	# The package lists may be missing (fresh images) or old (then a package is gone from the mirror).
	apt-get install -y -q --no-install-recommends "$@" </dev/null && return
	apt-get update -q </dev/null || fail "apt-get update failed; is the machine's Debian mirror reachable?"
	apt-get install -y -q --no-install-recommends "$@" </dev/null ||
		fail "apt-get could not install: $*"
}

missing=$(missing_packages)
if [ -n "$missing" ]; then
	mapfile -t packages <<<"$missing"
	command -v apt-get >/dev/null ||
		fail "no apt-get here; install what Debian has in these packages: ${packages[*]}"
	[ "$(id -u)" = 0 ] ||
		fail "not root; run: sudo apt-get install --no-install-recommends ${packages[*]}"
	install "${packages[@]}"
	missing=$(missing_packages)
	[ -z "$missing" ] || fail "still missing after the installation: $missing"
fi
check_go
[ "$(id -u)" = 0 ] || fail "all is installed, but you are not root: make demo, make up and make test start libvirt guests as another user"
