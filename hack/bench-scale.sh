#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures corepin-scheduler beside stock kube-scheduler, and keeps the tables in test/perf/results/DATE-COMMIT/PART. What the
# parts measure is said in test/perf/scale/main.go. Times are for two CPUs.
#
# usage: hack/bench-scale.sh [PART...]     default: throughput cycles changes; an hour
#
#	throughput   pods a second of both, up to 5,000 nodes                                     half an hour
#	cycles       CPU time of cycles, by nodes, kinds of VM, and how full the cluster is       half an hour
#	changes      reports that change, 5,000 and 15,000 nodes                                  10 minutes
#	storm        10,000 VMs of 500 kinds at once on 5,000 nodes, and 15,000 on 15,000         40 minutes
#	failover     the scheduler killed in the middle, 15,000 nodes                             20 minutes
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- throughput cycles changes

bin=${BIN:-bin}
read -r _ commit _ <<<"$(hack/version.sh)"
results=test/perf/results/$(date -u +%Y-%m-%d)-${commit:0:12}
program=$(mktemp -d)
trap 'rm -rf "$program"' EXIT
go build -o "$program/scale" ./test/perf/scale

# scale runs the command, with its tables in a folder of their own.
scale() {
	local name=$1
	shift
	"$program/scale" -bin "$bin" -out "$results/$name" "$@"
}

for part in "$@"; do
	case $part in
	throughput) scale throughput ;;
	cycles)
		scale cycles-1 -cycles -nodes 500,1000,5000,15000 -pods dedicated,furnished,ordinary
		scale cycles-20 -cycles -nodes 5000 -pods dedicated -kinds 20
		scale cycles-200 -cycles -nodes 5000,15000 -pods dedicated -kinds 200
		scale cycles-500-late -cycles -nodes 5000 -pods dedicated -kinds 500 -late 300
		scale cycles-1-full -cycles -nodes 5000 -pods dedicated -full 95
		scale cycles-200-full -cycles -nodes 5000 -pods dedicated -kinds 200 -full 95
		;;
	changes) scale changes -changes -nodes 5000,15000 -watched 1m ;;
	storm)
		scale storm -storm -nodes 5000 -vms 10000 -kinds 500
		scale storm-vmis -storm -nodes 5000 -vms 10000 -kinds 500 -vmis
		scale storm-unfit -storm -nodes 15000 -vms 15000 -kinds 500 -unfit 34 -schedulers corepin
		;;
	failover) scale failover -failover -nodes 15000 -vms 4000 -kinds 500 ;;
	*)
		sed -n '/^# usage/,/^#$/p; /^#\t/p' "$0" >&2
		exit 2
		;;
	esac
done
echo "kept in $results"
