#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the machines of the system suite, into bin/machine/: a kernel, a root file system with runc,
# libvirt and QEMU from Debian, a disk with what is built here (the kubelets of KUBELETS, containerd), one
# with containerd's images, and the image of the agent. The package test/harness/machine runs them.
#
# What comes from Debian is made once and kept in ${XDG_CACHE_HOME:-~/.cache}/corepin, by the content of
# the functions that make it and of hack/machine/. The other disks are kept there too, by what is on them, and beside them
# the machines that were saved: their memory knows where each block of these disks is. The agent, which every commit
# changes, comes into a machine later. DEBIAN_MIRROR names another mirror than debootstrap's own.
# KUBELETS are the minors of the kubelets, "1.36 1.37" if it is not set.
# Wants root: debootstrap does.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=${CGO_ENABLED:-0} PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

suite=bookworm
packages=kmod,iproute2,udev,runc,tini,busybox-static,containernetworking-plugins,apparmor
packages+=,libvirt-daemon,libvirt-daemon-driver-qemu,libvirt-clients,qemu-system-x86,linux-image-cloud-amd64

out=$PWD/bin/machine
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT # debootstrap, interrupted, leaves /proc mounted

# tools installs what this script itself wants of Debian.
tools() {
	local missing=()
	command -v debootstrap >/dev/null || missing+=(debootstrap)
	command -v mke2fs >/dev/null || missing+=(e2fsprogs)
	[ ${#missing[@]} -gt 0 ] || return 0
	echo "machine: installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null >"$work/apt.log" 2>&1 && return
	{ apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; } </dev/null >"$work/apt.log" 2>&1 ||
		{ cat "$work/apt.log" >&2; exit 1; }
}

# image NAME TREE CONFIG FILE makes an OCI archive of one layer, the files of TREE. CONFIG is the image's
# own configuration in JSON.
image() {
	local layer=$work/layer.tar
	tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$2" -cf "$layer" .
	go run ./hack/images -layer "$layer" -reference "$1" -config "$3" -out "$4"
	rm "$layer"
}

# disk TREE SIZE FILE makes an ext4 file system of the files of TREE.
disk() { rm -f "$3" && mke2fs -q -F -t ext4 -E lazy_itable_init=1,root_owner=0:0 -d "$1" "$3" "$2" >/dev/null; }

# debian DIR makes vmlinuz, initrd, root.ext4, a static busybox and the launcher's image in DIR.
debian() {
	local dir=$1 root=$work/root launcher=$work/launcher
	mkdir -p "$dir" "$root"
	debootstrap --variant=minbase --include=$packages $suite "$root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$work/debootstrap.log" 2>&1 ||
		{ tail -n 30 "$work/debootstrap.log" >&2; echo "debootstrap failed" >&2; exit 1; }
	cp "$root"/boot/vmlinuz-* "$dir/vmlinuz"
	cp "$root"/boot/initrd.img-* "$dir/initrd"
	cp "$root/usr/bin/busybox" "$dir/busybox"
	rm -rf "$root"/boot/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}

	# The launcher's image is libvirt, QEMU and what those are linked with. Emulated CPUs would take minutes
	# over an image with all of Debian.
	mkdir -p "$launcher"/{etc,run,tmp,usr/{bin,sbin,lib,lib64},var}
	ln -s usr/bin usr/sbin usr/lib usr/lib64 "$launcher"
	ln -s /run "$launcher/var/run"
	chroot "$root" sh -c '
		lib=/usr/lib/x86_64-linux-gnu
		for file in /usr/bin/sh /usr/bin/tini /usr/bin/busybox /usr/sbin/libvirtd /usr/sbin/virtlogd /usr/bin/qemu-system-x86_64 \
			$lib/libvirt/connection-driver/libvirt_driver_*.so $lib/qemu/accel-*.so; do
			echo $file
			ldd $file | grep -o "/[^ ]*"
		done' | sed -E 's#^/(lib|lib64)/#/usr/\1/#' | sort -u >"$work/files"
	(cd "$root" && sed 's#^/##' "$work/files" | xargs cp -L --parents -t "$launcher")
	(cd "$root" && cp -a --parents usr/share/{qemu,seabios,libvirt} usr/lib/ipxe etc/nsswitch.conf etc/passwd etc/group -t "$launcher")
	chmod 1777 "$launcher/tmp"
	cp hack/machine/virt-launcher-monitor hack/machine/virt-tail "$launcher/usr/bin/"
	# The launcher's user of KubeVirt; libvirt wants to know its name and home.
	sed -i '/^[^:]*:[^:]*:107:/d' "$launcher/etc/passwd" "$launcher/etc/group"
	echo 'qemu:x:107:107::/var/run/kubevirt-private:/bin/sh' >>"$launcher/etc/passwd"
	echo 'qemu:x:107:' >>"$launcher/etc/group"
	image virt-launcher.invalid/virt-launcher:v1.9.0 "$launcher" '{"Env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}' "$dir/launcher.tar"

	mkdir -p "$root/opt/corepin" "$root/etc/containerd" "$root/etc/cni/net.d"
	cp hack/machine/init "$root/sbin/corepin-init"
	cp hack/machine/containerd.toml "$root/etc/containerd/config.toml"
	cp hack/machine/pods.conflist "$root/etc/cni/net.d/10-pods.conflist"
	printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
	disk "$root" 6G "$dir/root.ext4"
}

# idle is the configuration of an image that does nothing until it is told to end.
idle='{"Entrypoint":["/bin/busybox","sh","-c","trap exit TERM; /bin/busybox sleep infinity & wait"]}'

# binaries DIR builds into DIR/bin what runs in the machines.
binaries() {
	local dir=$1 flags minor version kubelets=${KUBELETS:-1.36 1.37}
	mkdir -p "$dir/bin"
	flags=$(hack/ldflags.sh kubernetes)
	for minor in "$dir"/bin/kubelet-*; do
		minor=${minor##*/kubelet-}
		[[ " $kubelets " == *" $minor "* ]] || rm -f "$dir/bin/kubelet-$minor"
	done
	for minor in $kubelets; do
		version=$(hack/minor.sh "$minor" go list -m -f '{{with .Replace}}{{.Version}}{{else}}{{.Version}}{{end}}' k8s.io/kubernetes)
		hack/minor.sh "$minor" go build -buildvcs=false -o "$dir/bin/kubelet-$minor" \
			-ldflags "$(sed -E "s/(gitMinor=)[0-9]+/\1${minor#1.}/g; s/(gitVersion=)[^ ]+/\1$version/g" <<<"$flags")" ./hack/kubelet
	done
	go -C hack/containerd build -tags no_btrfs,no_devmapper,no_zfs -ldflags '-s -w' -o "$dir/bin/" \
		github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr}
	go build -buildvcs=false -ldflags '-s -w' -o "$dir/bin/machined" ./hack/machined
	go build -buildvcs=false -ldflags '-s -w' -o "$dir/bin/deviceplugin" ./hack/deviceplugin
}

# store DIR puts into DIR, a root directory of containerd, the images of VMs' pods, unpacked. It is done here
# since emulated CPUs would take minutes over it.
store() {
	local dir=$1 containerd=$out/payload/bin address=$work/containerd.sock pid archive
	mkdir -p "$work/images" "$work/busybox/bin"
	cp "$cache/busybox" "$work/busybox/bin/busybox"
	image corepin.dev/busybox:1 "$work/busybox" "$idle" "$work/images/busybox.tar"
	cat >"$work/containerd.toml" <<-EOF
		version = 3
		root = '$dir'
		state = '$work/state'
		disabled_plugins = ['io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime', 'io.containerd.nri.v1.nri']
		[grpc]
		address = '$address'
		[ttrpc]
		address = '$address.ttrpc'
	EOF
	"$containerd/containerd" --config "$work/containerd.toml" >"$work/containerd.log" 2>&1 &
	pid=$!
	timeout 60 bash -c 'until [ -S "$0" ]; do sleep 0.2; done' "$address" || { cat "$work/containerd.log" >&2; return 1; }
	for archive in "$work"/images/*.tar "$cache/launcher.tar"; do
		"$containerd/ctr" --address "$address" --namespace k8s.io images import --local "$archive" >>"$work/containerd.log" 2>&1 ||
			{ cat "$work/containerd.log" >&2; return 1; }
	done
	# The hook sidecar of the shipped examples: it does nothing here.
	"$containerd/ctr" --address "$address" --namespace k8s.io images tag corepin.dev/busybox:1 registry.example/hook:1 >>"$work/containerd.log" 2>&1
	kill $pid
	wait $pid || true
}

# parts DIR makes the disks of what is built here in DIR.
parts() {
	mkdir -p "$1/saved"
	disk "$out/payload" 1G "$1/payload.ext4"
	store "$work/store"
	disk "$work/store" 4G "$1/store.ext4"
}

# once DIR FUNCTION makes a folder that is kept, whole or not at all. Somebody else may do the same meanwhile.
once() {
	[ ! -d "$1" ] || return 0
	echo "machine: making $1, once"
	"$2" "$work/new"
	mv -T "$work/new" "$1.$$" && mv -T "$1.$$" "$1" 2>/dev/null || rm -rf "$1.$$"
}

# sum prints a short name of what it reads.
sum() { sha256sum | cut -c1-16; }

[ "$(uname -m)" = x86_64 ] || { echo "machine: the machines are x86_64's; this is $(uname -m)" >&2; exit 1; }
tools
caches=${XDG_CACHE_HOME:-$HOME/.cache}/corepin
cache=$caches/machine-$({ declare -f debian image disk; echo "$suite $packages"; cat hack/machine/*; } | sum)
mkdir -p "$caches" "$out"
once "$cache" debian
binaries "$out/payload"
kept=$caches/parts-$({ declare -f parts store image disk; echo "$cache $idle"; cd "$out/payload/bin" && sha256sum *; } | sum)
once "$kept" parts
for file in vmlinuz initrd root.ext4; do ln -sfn "$cache/$file" "$out/$file"; done
for file in payload.ext4 store.ext4 saved; do ln -sfn "$kept/$file" "$out/$file"; done
go run ./hack/images -out "$out" -tag dev -platforms linux/amd64 -components corepin-agent
# Disks of earlier commits, which nobody has used for a week.
touch "$cache" "$kept"
find "$caches" -mindepth 1 -maxdepth 1 -name '*-*' -mtime +7 -exec rm -rf {} +
