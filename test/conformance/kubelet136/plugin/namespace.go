// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// insideVariable is set in the environment of a test that has its own folder.
const insideVariable = "COREPIN_TEST_NAMESPACE"

// OwnFolder runs the test once more, in a mount namespace in which /var/lib is empty, and ends it with that run's exit code.
// In that run it returns at once. The device manager's folder is /var/lib/kubelet/device-plugins and cannot be changed.
func OwnFolder() {
	var err error
	if os.Getenv(insideVariable) == "" {
		err = enter()
	} else {
		err = mount()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "making a mount namespace for the kubelet's device manager:", err)
		os.Exit(1)
	}
}

func enter() error {
	again := exec.Command("/proc/self/exe", os.Args[1:]...)
	again.Args[0] = os.Args[0]
	again.Env = append(os.Environ(), insideVariable+"=yes")
	again.Stdin = os.Stdin
	again.Stdout = os.Stdout
	again.Stderr = os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		again.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		again.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		again.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err := again.Run()
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) {
		os.Exit(again.ProcessState.ExitCode())
	}
	return err
}

func mount() error {
	err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	if err == nil {
		err = syscall.Mount("tmpfs", "/var/lib", "tmpfs", 0, "")
	}
	if err == nil { // The managers wait until what they write is on disk.
		err = os.Setenv("TMPDIR", "/var/lib")
	}
	return err
}

// Folder is the device manager's.
const Folder = "/var/lib/kubelet/device-plugins"
