package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// standardInput is the name that stands for it.
const standardInput = "-"

// extensions are the files that are read of a folder; a file that is named is read whatever its name.
var extensions = []string{".yaml", ".yml", ".json"}

// files are the inputs that were named.
type files struct {
	names     []string
	recursive bool
}

// documents reads all the files, in the order in which they were named, those of a folder by name.
func (f files) documents(host Host) ([]document, error) {
	if len(f.names) == 0 {
		return nil, errors.New("nothing to read: name files or folders with -f, or - for standard input")
	}
	if twice := slices.Index(f.names, standardInput); twice >= 0 && slices.Contains(f.names[twice+1:], standardInput) {
		return nil, errors.New("standard input can be read once only; name - once")
	}
	var all []document
	for _, name := range f.names {
		documents, err := f.read(host, name)
		if err != nil {
			return nil, fmt.Errorf("reading input: %w", err)
		}
		all = append(all, documents...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("reading input: there is no object in %s", strings.Join(f.names, ", "))
	}
	return all, nil
}

func (f files) read(host Host, name string) ([]document, error) {
	if name == standardInput {
		data, err := io.ReadAll(host.In)
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		return cut("standard input", data), nil
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
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	return cut(name, data), nil
}

func (f files) readFolder(host Host, name string, folder fs.File) ([]document, error) {
	lister, ok := folder.(fs.ReadDirFile)
	if !ok {
		return nil, fmt.Errorf("%s: the folder cannot be listed", name)
	}
	entries, err := lister.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	var all []document
	for _, entry := range entries {
		switch {
		case entry.IsDir() && !f.recursive:
			continue
		case !entry.IsDir() && !slices.Contains(extensions, path.Ext(entry.Name())):
			continue
		}
		documents, err := f.read(host, path.Join(name, entry.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, documents...)
	}
	return all, nil
}
