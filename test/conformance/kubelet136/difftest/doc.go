// SPDX-License-Identifier: Apache-2.0

// Package difftest is the differential test of pkg/kubelet. It holds our prediction against a kubelet's own device manager,
// CPU manager, memory manager and topology manager, wired as the kubelet wires them, on machines that exist only as text.
// The kubelet is an Oracle, since the packages of each version are called in their own way.
//
// TestRandom makes up machines, options, reserved CPUs, and sequences of pods that come and go and kubelets that restart,
// on all processors. After every step it asks both sides for the same verdict, reason, message, CPU ids and shared pool.
// What fails is shrunk and printed as a scenario. Put it into testdata, and TestFiles holds both sides to it from then
// on. A scenario is a few lines:
//
//	machine 2 sockets x 1 numa x 4 cores x 2 threads
//	distances 10 21; 21 10
//	cpu-manager full-pcpus-only strict-cpu-reservation
//	topology-manager single-numa-node pod prefer-closest-numa-nodes
//	reserved 0,8
//	memory-manager memory 32Gi-1Gi hugepages-1Gi 4Gi; memory 16Gi
//	devices example.com/vf prefers 4@0 1!@1 2@0+1 1@-
//	add vm: init prepare 2, compute 4 memory=1Gi example.com/vf=1, sidecar log shared
//	= admitted: prepare 1,9, compute 1-2,9-10
//	=1.38 admitted: prepare 1,9, compute 1-2,9-10
//	start vm
//	restart
//	remove vm
//
// The memory of a NUMA node is an amount of each type, and behind a minus what is reserved. Devices are numbers with their
// NUMA nodes: four on NUMA node 0, one on 1 that is not healthy, two on both, one on none; "prefers" is a plugin that is
// asked which to take. "start" lets a pod's init containers end. After "restart plugins-later" the kubelet admits the pods
// that it finds before any device plugin has registered.
//
// After a restart the kubelet admits the pods that it finds again, and may refuse some. distances, reserved and the
// results after "=" may be left out; one after "=1.38" is for kubelets from that one on. "reserved count 2" lets the kubelet choose. After its name a pod can be made
// "burstable", or be given "pod-level 10", ten CPUs as a whole. A line PodLevelResourceManagers turns that gate on. The
// result of a restart is why the kubelet does not start.
//
// A failure is printed with the command that repeats only it: its seed, and whether that gate was on.
//
// The other tests:
//
//   - TestShrink proves on a kubelet that lies that a failure becomes a few lines, and TestCommand that the printed
//     command repeats it.
//   - TestQOS, TestExclusive and TestPodLevel hold the reading of pods to the kubelet's, and TestFit pkg/kubelet/predicates.
//   - TestReserved lets a kubelet choose the CPUs that it reserves, each number of them.
//   - TestMerge holds the topology manager's merge to the kubelet's, for any hints of several providers.
//   - TestMemory holds pkg/kubelet/memorymanager to the kubelet's memory manager.
//   - TestInterrupted stops a kubelet while it writes down what a pod has as a whole. It is for kubelets from 1.38 on.
//   - TestTraffic binds VMs by prediction while others are in flight, and the kubelet must refuse none of them. Beside it are
//     the refusals where sums decide.
//
// make conformance and make conformance-long run it for long, against every kubelet that is in the tree. The coverage
// table at the end says what the steps met, and the test fails if a corner was never met.
package difftest
