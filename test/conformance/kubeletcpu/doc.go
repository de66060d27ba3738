// Package conformance holds pkg/kubeletcpu against the kubelet's own CPU manager and topology manager:
// the packages of the k8s.io/kubernetes module, wired as the kubelet wires them, on machines that exist
// only as text.
//
// TestRandomScenarios makes up machines, options, reserved CPUs and sequences of pods that come and go,
// and asks after every step for the same verdict, reason, message, CPU ids and shared pool on both sides.
// What fails is shrunk and printed as a scenario; put it into testdata, and TestScenarios holds both
// sides to it from then on. A scenario is a few lines:
//
//	machine 2 sockets x 1 numa x 4 cores x 2 threads
//	distances 10 21; 21 10
//	cpu-manager full-pcpus-only strict-cpu-reservation
//	topology-manager single-numa-node pod prefer-closest-numa-nodes
//	reserved 0,8
//	add vm: init prepare 2, compute 4, sidecar log shared
//	= admitted: prepare 1,9, compute 1-2,9-10
//	remove vm
//
// distances, reserved and the results after "=" may be left out; "reserved count 2" lets the kubelet
// choose. A pod can be made "burstable" or given "pod-level" resources by that word after its name.
//
// More steps: go test ./test/conformance/kubeletcpu -steps 1000000 -seed 0 -timeout 0 (seed 0 takes a new
// one; the one that was taken is printed). The coverage table at the end (go test -v) tells what the steps
// met, and the test fails if a corner was never met.
package conformance
