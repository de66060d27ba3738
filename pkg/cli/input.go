// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/dump"
	"corepin.dev/corepin/pkg/objects"
)

// standardInput is the name of a file that means the standard input.
const standardInput = "-"

// extensions are the files that are read of a folder. A file that is named is read whatever its name is.
var extensions = []string{".yaml", ".yml", ".json"}

// maxInput is the size of the largest file that is read. A dump of 15,000 nodes has half of it.
const maxInput = 2 << 30

// files are the inputs that were named.
type files struct {
	names     []string
	recursive bool
	// namespace is given to objects of KubeVirt and to pods that name none; "" for none.
	namespace string
	// dump is the cluster that one of the files is; nil where none is.
	dump *dump.Contents
}

// objects reads all the files, in the order in which they were named, those of a folder by name.
func (f *files) objects(host Host) ([]objects.Object, error) {
	if len(f.names) == 0 {
		return nil, errors.New("nothing to read: name files or folders with -f, or - for standard input")
	}
	first := slices.Index(f.names, standardInput)
	if first >= 0 && slices.Contains(f.names[first+1:], standardInput) {
		return nil, errors.New("standard input can be read once only; name - once")
	}
	var all []objects.Object
	for _, name := range f.names {
		some, err := f.read(host, name)
		if err != nil {
			return nil, fmt.Errorf("reading input: %w", err)
		}
		all = append(all, some...)
	}
	if len(all) == 0 && f.dump == nil {
		return nil, fmt.Errorf("reading input: there is no object in %s", strings.Join(f.names, ", "))
	}
	for i := range all {
		o := &all[i]
		if o.Namespace == "" && namespaced(o) {
			o.Namespace = f.namespace
		}
	}
	objects.SetGeneratedNames(all)
	return all, nil
}

// namespaced reports whether an object of a kind that is read here has a namespace.
func namespaced(o *objects.Object) bool {
	return slices.Contains([]string{"Pod", "VirtualMachine", "VirtualMachineInstance", "VirtualMachineInstancetype"}, o.Kind)
}

func (f *files) read(host Host, name string) ([]objects.Object, error) {
	if name == standardInput {
		const called = "standard input"
		data, err := readAll(host.In)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", called, err)
		}
		return f.found(objects.Read(called, data))
	}
	file, err := host.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return f.readFolder(host, name, file)
	}
	data, err := readAll(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f.found(objects.Read(name, data))
}

// found takes the objects of a file. Those of a dump are the cluster, and not the input.
func (f *files) found(all []objects.Object) ([]objects.Object, error) {
	if !dump.Is(all) {
		return all, nil
	}
	if f.dump != nil {
		return nil, fmt.Errorf("%s: a second dump; give one", all[0].Where())
	}
	contents, err := dump.Read(all)
	f.dump = contents
	return nil, err
}

// readAll reads a file to its end, if it has one.
func readAll(file io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(file, maxInput+1))
	if err == nil && len(data) > maxInput {
		err = fmt.Errorf("more than %d MiB; give a part of it", maxInput>>20)
	}
	return data, err
}

func (f *files) readFolder(host Host, name string, folder fs.File) ([]objects.Object, error) {
	lister, ok := folder.(fs.ReadDirFile)
	if !ok {
		return nil, fmt.Errorf("%s: the folder cannot be listed", name)
	}
	entries, err := lister.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	var all []objects.Object
	for _, entry := range entries {
		switch {
		case entry.IsDir() && !f.recursive:
			continue
		case !entry.IsDir() && !slices.Contains(extensions, path.Ext(entry.Name())):
			continue
		}
		some, err := f.read(host, path.Join(name, entry.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}
