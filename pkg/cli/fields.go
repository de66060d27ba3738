// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"corepin.dev/corepin/pkg/objects"
	"corepin.dev/corepin/pkg/vmi"
)

// ruleUnknownField is a finding about a field that KubeVirt does not know: the API server drops it, or refuses the
// object. It is a warning, because a newer KubeVirt may know it.
const ruleUnknownField = "unknown-field"

// The fields of KubeVirt 1.9, as far as they decide about CPUs and memory.
var (
	numaFields     = objects.Schema{"guestMappingPassthrough": {}}
	realtimeFields = objects.Schema{"mask": nil}
	pageFields     = objects.Schema{"pageSize": nil}
	poolFields     = objects.Schema{"supplementalPoolThreadCount": nil}

	cpuFields = objects.Schema{"cores": nil, "sockets": nil, "threads": nil, "maxSockets": nil, "model": nil, "features": {"name": nil, "policy": nil},
		"dedicatedCpuPlacement": nil, "isolateEmulatorThread": nil, "numa": numaFields, "realtime": realtimeFields}
	memoryFields = objects.Schema{"guest": nil, "maxGuest": nil, "hugepages": pageFields, "reservedOverhead": {"addedOverhead": nil, "memLock": nil}}
	domainFields = objects.Schema{"cpu": cpuFields, "memory": memoryFields, "ioThreadsPolicy": nil, "ioThreads": poolFields,
		"resources": {"requests": nil, "limits": nil, "overcommitGuestOverhead": nil},
		"chassis":   nil, "clock": nil, "devices": nil, "features": nil, "firmware": nil, "launchSecurity": nil, "machine": nil, "rebootPolicy": nil}
	vmiFields = objects.Schema{"domain": domainFields, "accessCredentials": nil, "affinity": nil, "architecture": nil, "dnsConfig": nil, "dnsPolicy": nil,
		"evictionStrategy": nil, "hostname": nil, "livenessProbe": nil, "networks": nil, "nodeSelector": nil, "priorityClassName": nil, "readinessProbe": nil,
		"resourceClaims": nil, "schedulerName": nil, "serviceAccountName": nil, "startStrategy": nil, "subdomain": nil, "terminationGracePeriodSeconds": nil,
		"tolerations": nil, "topologySpreadConstraints": nil, "utilityVolumes": nil, "volumes": nil}
	vmFields = objects.Schema{"dataVolumeTemplates": nil, "instancetype": nil, "preference": nil, "runStrategy": nil, "running": nil, "updateVolumesStrategy": nil,
		"template": {"metadata": nil, "spec": vmiFields}}
	replicaSetFields = objects.Schema{"paused": nil, "replicas": nil, "selector": nil, "template": {"metadata": nil, "spec": vmiFields}}
	vmPoolFields     = objects.Schema{"autohealing": nil, "maxUnavailable": nil, "nameGeneration": nil, "paused": nil, "replicas": nil, "scaleInStrategy": nil,
		"selector": nil, "updateStrategy": nil, "virtualMachineTemplate": {"metadata": nil, "spec": vmFields}}
	instancetypeFields = objects.Schema{"annotations": nil, "gpus": nil, "hostDevices": nil, "ioThreads": poolFields, "ioThreadsPolicy": nil, "launchSecurity": nil,
		"nodeSelector": nil, "schedulerName": nil, "memory": {"guest": nil, "maxGuest": nil, "hugepages": pageFields, "overcommitPercent": nil},
		"cpu": {"guest": nil, "maxSockets": nil, "model": nil, "dedicatedCPUPlacement": nil, "isolateEmulatorThread": nil, "numa": numaFields, "realtime": realtimeFields}}
)

// schemas are the fields of the kinds that are checked.
var schemas = map[string]objects.Schema{
	vmi.KindVMI:                 vmiFields,
	vmi.KindVM:                  vmFields,
	vmi.KindReplicaSet:          replicaSetFields,
	vmi.KindPool:                vmPoolFields,
	vmi.KindInstancetype:        instancetypeFields,
	vmi.KindClusterInstancetype: instancetypeFields,
}

// unknownFields are warnings about fields that KubeVirt does not know, each with its place.
func unknownFields(o *objects.Object) []finding {
	spec, known := schemas[o.Kind]
	fields, err := o.Fields()
	if err != nil || !known {
		return nil
	}
	schema := objects.Schema{"apiVersion": nil, "kind": nil, "metadata": nil, "status": nil, "spec": spec}
	var findings []finding
	for _, unknown := range schema.Unknown(fields) {
		problem, question, _ := strings.Cut(unknown.Problem, ";")
		message := o.WrapAt(unknown.Path, fmt.Errorf("%s of KubeVirt", problem)).Error()
		if question != "" {
			message += ";" + question
		}
		findings = append(findings, finding{Rule: ruleUnknownField, Severity: string(vmi.Warning), Field: unknown.Path, Message: message})
	}
	return findings
}
