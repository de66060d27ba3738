// SPDX-License-Identifier: Apache-2.0

// Package kubevirt runs corepin beside the control plane of a real KubeVirt: virt-api with all of its webhooks and
// virt-controller, which test/harness/kubevirt starts from the user's programs. The nodes are simulated, and
// test/harness/virthandler writes what virt-handler would. There are no guests.
//
// The suite is behind the build tag "system", since it takes what is not in the repository: `make test-kubevirt KUBEVIRT=DIR`
// runs it and says what DIR holds.
//
// What it shows:
//
//   - the life of a VirtualMachine with virtctl, replica sets and pools, migration and CPU hotplug up to the bound target pod;
//   - a namespace of VMs that run before corepin's policies come, after they came, and after they went;
//   - every dedicated instancetype with every preference: KubeVirt's verdict beside that of check;
//   - instancetypes, preferences, VMs, replica sets and pools made at random, and both verdicts on each; ginkgo's seed decides which;
//   - the stand-ins of the other suites beside the real one: the same VMI in, the same pod out, field by field.
//
// Tables in the output show what was seen.
package kubevirt
