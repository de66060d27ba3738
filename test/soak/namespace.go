// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// insideVariable is set in the environment of a soak that has its own mounts.
const insideVariable = "COREPIN_SOAK_NAMESPACE"

// ownMounts starts the program again, as the same process, in a mount namespace of its own. The file systems under the kubelets
// go with the namespace, also where the soak is killed. In the program that was started again it returns at once.
func ownMounts() error {
	if os.Getenv(insideVariable) != "" {
		return nil
	}
	runtime.LockOSThread() // the namespace is this thread's until it becomes the process
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making a mount namespace: %w; the soak needs root", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making a mount namespace private: %w", err)
	}
	err := syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), insideVariable+"=yes"))
	return fmt.Errorf("starting again in a mount namespace: %w", err)
}
