// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountedAt is the type of the file system that is mounted at a directory, the topmost if there are several; "" where
// none is. It reads the kernel's table (proc_pid_mountinfo(5)), so it asks no file system anything.
func mountedAt(table, dir string) (string, error) {
	file, err := os.Open(table)
	if err != nil {
		return "", err
	}
	defer file.Close()
	kind := ""
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		separator := slices.Index(fields, "-")
		const mountPoint = 4
		if separator < mountPoint || separator+1 >= len(fields) || unescape.Replace(fields[mountPoint]) != dir {
			continue
		}
		kind = fields[separator+1]
	}
	return kind, lines.Err()
}

// unescape puts back what mountinfo escapes.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// localTypes are the file systems that answer without another machine or another process.
var localTypes = []string{"tmpfs", "ramfs", "overlay", "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "erofs", "squashfs"}

// maxLinks is how many symbolic links lead to a socket at most.
const maxLinks = 8

// walker opens a path within the file system of a process step by step, as the process would: absolute links lead to
// below its root. It enters local file systems only. One of another machine or process may not answer, and a thread
// that waits for it cannot be killed.
type walker struct {
	mounts string // the table of the process's mounts
	dirs   []*os.File
	names  []string // of the directories, without the root
}

// openIn opens the path name below root as a path.
func openIn(root *os.File, mounts, name string) (*os.File, error) {
	w := &walker{mounts: mounts, dirs: []*os.File{root}}
	defer w.back(0)
	ahead := strings.Split(name, "/")
	for links := 0; len(ahead) > 0; {
		step := ahead[0]
		ahead = ahead[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			w.back(max(len(w.names)-1, 0))
			continue
		}
		file, target, err := w.step(step)
		if err != nil {
			return nil, err
		}
		switch {
		case target != "":
			links++
			if links > maxLinks {
				return nil, &os.PathError{Op: "open", Path: name, Err: unix.ELOOP}
			}
			if strings.HasPrefix(target, "/") {
				w.back(0)
			}
			ahead = append(strings.Split(target, "/"), ahead...)
		case len(ahead) == 0:
			return file, nil
		default:
			w.dirs = append(w.dirs, file)
			w.names = append(w.names, step)
		}
	}
	return nil, fmt.Errorf("%s is a directory", name)
}

// back leaves the directories below the first depth.
func (w *walker) back(depth int) {
	for _, dir := range w.dirs[depth+1:] {
		dir.Close()
	}
	w.dirs = w.dirs[:depth+1]
	w.names = w.names[:depth]
}

// step opens what has that name where the walker is. Of a symbolic link it gives the target.
func (w *walker) step(name string) (file *os.File, target string, err error) {
	at := w.dirs[len(w.dirs)-1]
	file, err = openBeneath(at, name, unix.O_NOFOLLOW, unix.RESOLVE_NO_XDEV)
	if errors.Is(err, unix.EXDEV) {
		full := "/" + path.Join(path.Join(w.names...), name)
		kind, readErr := mountedAt(w.mounts, full)
		if readErr != nil {
			return nil, "", readErr
		}
		if !slices.Contains(localTypes, kind) {
			return nil, "", fmt.Errorf("refusing %s: a file system of type %q is mounted there, which may hang", full, kind)
		}
		file, err = openBeneath(at, name, unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return nil, "", err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		file.Close()
		return nil, "", err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFLNK {
		return file, "", nil
	}
	defer file.Close()
	text := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(file.Fd()), "", text)
	if err != nil {
		return nil, "", &os.PathError{Op: "readlink", Path: file.Name(), Err: err}
	}
	return nil, string(text[:n]), nil
}
