#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Kills what starts servers and guests, each with SIGKILL in its middle, and counts the processes that are left: none.
# Wants what make test wants, and make build before it.
#
# usage: hack/orphans.sh [NAME...]   default: libvirt bench-pin benchagent integration demo soak
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0 COREPIN_BIN=$PWD/bin PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export COREPIN_MACHINE=$PWD/bin/machine

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# binary PACKAGE [FLAG...] compiles the tests of a package.
binary() { go test -vet=off -c -o "$work/suite.test" "${@:2}" "$1"; }

# killed NEEDS FOLDER COMMAND... runs the command in a folder and kills it a moment after the needed processes are there.
killed() { (cd "$2" && "$work/orphans" -needs "$1" -after 3s -- "${@:3}" >"$work/log" 2>&1; status=$?; grep -a 'left:' "$work/log" || tail -n 20 "$work/log"; exit $status); }

libvirt() { binary ./agent/libvirt && killed libvirtd,qemu-system-x86 agent/libvirt "$work/suite.test" -test.run=TestManyGuests; }
bench-pin() { binary ./agent/libvirt && killed libvirtd,qemu-system-x86 agent/libvirt "$work/suite.test" -test.run='^$' -test.bench=FiftyGuests -test.benchtime=1x; }
benchagent() { go build -o "$work/benchagent" ./hack/benchagent && killed clusterd,corepin-agent . "$work/benchagent" -bin bin; }
integration() { binary ./test/integration && killed clusterd,corepin-schedul,corepin-agent,libvirtd test/integration "$work/suite.test"; }
demo() { killed clusterd,corepin-agent,libvirtd . bin/demo run; }
soak() { go build -o "$work/soak" ./test/soak && killed clusterd,corepin-agent,libvirtd . "$work/soak" -bin bin -length 5m -seed 1; }
system() { binary ./test/system -tags=system && killed clusterd,corepin-schedul,qemu-system-x86 test/system "$work/suite.test"; }

go build -o "$work/orphans" ./hack/orphans
[ $# -gt 0 ] || set -- libvirt bench-pin benchagent integration demo soak
for name; do
	echo "==> $name"
	"$name"
done
