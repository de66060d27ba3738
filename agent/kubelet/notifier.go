// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"errors"
	"fmt"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// notifier receives what the kernel notifies of in directories. The kernel may be short of instances or watches when the
// agent starts, since each user has a limit of both, so that both are tried again and again.
type notifier struct {
	open    func() (*fsnotify.Watcher, error) // nil: fsnotify.NewWatcher
	watcher *fsnotify.Watcher                 // nil while there is none
}

// watch watches the directories. It is called again and again: a directory that was replaced is another directory, and
// watching one twice costs nothing. The error says what the kernel is short of, and how to give it more. A directory
// that is not there is no error.
func (n *notifier) watch(directories []string) error {
	if n.watcher == nil {
		open := n.open
		if open == nil {
			open = fsnotify.NewWatcher
		}
		watcher, err := open()
		if err != nil {
			return fmt.Errorf("watching files: %w; raise fs.inotify.max_user_instances", err)
		}
		n.watcher = watcher
	}
	for _, dir := range directories {
		if err := n.watcher.Add(dir); errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("watching %s: %w; raise fs.inotify.max_user_watches", dir, err)
		}
	}
	return nil
}

// events is nil, and so never receives, while there is no watcher.
func (n *notifier) events() <-chan fsnotify.Event {
	if n.watcher == nil {
		return nil
	}
	return n.watcher.Events
}

// errors is nil while there is no watcher.
func (n *notifier) errors() <-chan error {
	if n.watcher == nil {
		return nil
	}
	return n.watcher.Errors
}

func (n *notifier) close() {
	if n.watcher != nil {
		_ = n.watcher.Close()
	}
}
