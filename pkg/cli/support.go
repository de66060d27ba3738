// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// LogOf names a part of a container's log.
type LogOf struct {
	Namespace, Pod, Container string
	// Previous is the log of the container that ran before the present one.
	Previous bool
	Since    time.Duration
	// Lines is how many of the last lines are wanted.
	Lines int64
}

const (
	// mostLogLines and mostLogBytes bound one log in the archive, and mostLogs how many pods' logs there are.
	mostLogLines = 20000
	mostLogBytes = 4 << 20
	mostLogs     = 50
)

func (c *call) supportCommand() *cobra.Command {
	to := ""
	since := time.Hour
	cmd := &cobra.Command{
		Use:   "support",
		Short: "Write all that a bug report needs into an archive",
		Long: `support writes an archive (.tar.gz) with

  version.txt, status.txt  the answers of these commands
  dump.json                what kubectl corepin dump writes
  objects.json             corepin's Deployments, DaemonSets, pods and ConfigMaps, in the namespace of -n or corepin-system
  events.json              the events of the scheduler and of the agents
  logs/                    the logs of their containers, also of those that ran before
  notes.txt                what could not be read, and why

Secrets are not read, and values of environment variables are left out. Names of nodes, namespaces, pods and VMs are in it:
read it before it is sent. /metrics is not in it. Both parts want a token there, and an operator's own token is not given to
a node's agent. Logs of at most 50 pods are written, those that restarted most often first.

This needs ClusterRole corepin-explain, and the right to read the namespace's objects and logs and to list events.

Exit code: 0, or 2 if the command line is wrong, or nothing can be read, or the file cannot be written.`,
		Example: `  kubectl corepin support
  kubectl corepin support --to /tmp/corepin.tar.gz --since 10m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.support(cmd.Context(), to, since) },
	}
	c.schedulerFlag(cmd)
	cmd.Flags().StringVar(&to, "to", "", "The file to write. Without it, corepin-support-TIME.tar.gz in this folder.")
	cmd.Flags().DurationVar(&since, "since", since, "How old lines of logs may be.")
	return cmd
}

// support writes the archive.
func (c *call) support(ctx context.Context, to string, since time.Duration) error {
	if c.host.Own == nil {
		return errors.New("there is no cluster to ask")
	}
	names, err := parseSchedulers(c.schedulers)
	if err != nil {
		return err
	}
	now := c.host.Now().UTC()
	if to == "" {
		to = "corepin-support-" + now.Format("20060102T150405Z") + ".tar.gz"
	}
	a := archive{now: now}
	var failed []error
	for _, one := range []struct{ file, command string }{{"version.txt", "version"}, {"status.txt", "status"}, {"dump.json", "dump"}} {
		failed = append(failed, a.answer(ctx, c, one.file, one.command))
	}
	namespace := c.namespace
	if namespace == "" {
		namespace = shippedLease.namespace
	}
	own, err := c.host.Own(ctx, namespace)
	a.note("objects of namespace "+namespace, err)
	if errors.Join(failed...) != nil && len(own) == 0 {
		return errors.Join(append(failed, err)...)
	}
	a.objects("objects.json", own)
	a.events(ctx, c, slices.Sorted(maps.Keys(names)))
	a.logs(ctx, c, own, since)
	a.add("notes.txt", []byte(strings.Join(a.notes, "")))
	return c.write(to, &a)
}

// write writes the archive into a file and says what is in it.
func (c *call) write(to string, a *archive) error {
	file, err := c.host.Create(to)
	if err != nil {
		return fmt.Errorf("creating the archive: %w", err)
	}
	size, err := a.write(file)
	err = errors.Join(err, file.Close())
	if err != nil {
		return fmt.Errorf("writing %s: %w", to, err)
	}
	c.out.printf("%s: %d files, %d KiB\n", to, len(a.files), (size+1023)/1024)
	for _, note := range a.notes {
		c.out.printf("left out: %s\n", strings.TrimSuffix(note, "\n"))
	}
	return nil
}

// archive is what will be in the archive.
type archive struct {
	now   time.Time
	files []archived
	// notes say what could not be read, a line each.
	notes []string
}

type archived struct {
	name string
	text []byte
}

func (a *archive) add(name string, text []byte) { a.files = append(a.files, archived{name, text}) }

// note notes that something could not be read.
func (a *archive) note(what string, err error) {
	if err != nil {
		a.notes = append(a.notes, harmless(what+": "+err.Error())+"\n")
	}
}

// answer adds what another command answers. An error is noted and given.
func (a *archive) answer(ctx context.Context, c *call, name, command string) error {
	args := []string{command}
	if command != "version" {
		for _, scheduler := range c.schedulers {
			args = append(args, "--scheduler", scheduler)
		}
	}
	var out, notes bytes.Buffer
	host := c.host
	host.Out = &out
	host.Err = &notes
	code := Run(ctx, host, args)
	a.add(name, out.Bytes())
	text := strings.TrimSpace(notes.String())
	if text == "" {
		return nil
	}
	err := errors.New(text)
	a.note(command, err)
	if code != exitError {
		return nil
	}
	return err
}

// objects adds objects, a line each.
func (a *archive) objects(name string, all []map[string]any) {
	var text bytes.Buffer
	for _, object := range all {
		withoutValues(object)
		line, err := json.Marshal(object)
		a.note(name, err)
		text.Write(line)
		text.WriteByte('\n')
	}
	a.add(name, text.Bytes())
}

// withoutValues takes what may be secret, and what says nothing, out of an object: values of environment variables, and who
// manages which field.
func withoutValues(object map[string]any) {
	unstructured.RemoveNestedField(object, "metadata", "managedFields")
	unstructured.RemoveNestedField(object, "metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration")
	for _, spec := range [][]string{{"spec"}, {"spec", "template", "spec"}} {
		for _, kind := range []string{"containers", "initContainers"} {
			containers, _, _ := unstructured.NestedFieldNoCopy(object, append(slices.Clone(spec), kind)...)
			for _, container := range mapsOf(containers) {
				for _, variable := range mapsOf(container["env"]) {
					delete(variable, "value")
				}
			}
		}
	}
}

// mapsOf are the objects of a list.
func mapsOf(list any) []map[string]any {
	var all []map[string]any
	items, _ := list.([]any)
	for _, item := range items {
		object, ok := item.(map[string]any)
		if ok {
			all = append(all, object)
		}
	}
	return all
}

// events adds the events of the agents and of the schedulers, which tell theirs in the names of their profiles too.
func (a *archive) events(ctx context.Context, c *call, profiles []string) {
	var all []map[string]any
	for _, source := range slices.Compact(append([]string{"corepin-agent", "corepin-scheduler"}, profiles...)) {
		list, err := c.host.Events(ctx, source)
		a.note("events of "+source, err)
		all = append(all, list...)
	}
	a.objects("events.json", all)
}

// logs adds the logs of the pods among objects.
func (a *archive) logs(ctx context.Context, c *call, all []map[string]any, since time.Duration) {
	pods := slices.DeleteFunc(slices.Clone(all), func(object map[string]any) bool { return object["kind"] != "Pod" })
	slices.SortStableFunc(pods, func(x, y map[string]any) int { return int(restarts(y) - restarts(x)) })
	if len(pods) > mostLogs {
		a.note("logs", fmt.Errorf("of %d of %d pods", len(pods)-mostLogs, len(pods)))
		pods = pods[:mostLogs]
	}
	for _, object := range pods {
		pod := unstructured.Unstructured{Object: object}
		containers, _, _ := unstructured.NestedFieldNoCopy(object, "spec", "containers")
		for _, container := range mapsOf(containers) {
			name, _ := container["name"].(string)
			a.log(ctx, c, &LogOf{Namespace: pod.GetNamespace(), Pod: pod.GetName(), Container: name, Since: since, Lines: mostLogLines})
			if restarts(object) > 0 {
				a.log(ctx, c, &LogOf{Namespace: pod.GetNamespace(), Pod: pod.GetName(), Container: name, Previous: true, Since: since, Lines: mostLogLines})
			}
		}
	}
}

// restarts is how often the containers of a pod have been restarted.
func restarts(pod map[string]any) int64 {
	var sum int64
	statuses, _, _ := unstructured.NestedFieldNoCopy(pod, "status", "containerStatuses")
	for _, status := range mapsOf(statuses) {
		count, _ := status["restartCount"].(int64)
		sum += count
	}
	return sum
}

// log adds a log. Of one that is too long the end is kept.
func (a *archive) log(ctx context.Context, c *call, of *LogOf) {
	name := path.Join("logs", of.Pod+"."+of.Container+".log")
	if of.Previous {
		name = path.Join("logs", of.Pod+"."+of.Container+".previous.log")
	}
	stream, err := c.host.Log(ctx, of)
	if err != nil {
		a.note(name, err)
		return
	}
	defer stream.Close()
	text, err := tail(stream, mostLogBytes)
	a.note(name, err)
	a.add(name, text)
}

// tail reads all, and keeps at most the last bytes.
func tail(stream io.Reader, most int) ([]byte, error) {
	var kept []byte
	buffer := make([]byte, 64<<10)
	for {
		n, err := stream.Read(buffer)
		kept = append(kept, buffer[:n]...)
		if len(kept) > 2*most {
			kept = slices.Clone(kept[len(kept)-most:])
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return kept[max(0, len(kept)-most):], err
		}
	}
}

// write writes all files, and gives how many bytes that took.
func (a *archive) write(to io.Writer) (int, error) {
	counted := &counter{to: to}
	zipped := gzip.NewWriter(counted)
	packed := tar.NewWriter(zipped)
	for _, file := range a.files {
		header := &tar.Header{Name: path.Join("corepin-support", file.name), Mode: 0o600, Size: int64(len(file.text)), ModTime: a.now}
		err := packed.WriteHeader(header)
		if err != nil {
			return 0, err
		}
		_, err = packed.Write(file.text)
		if err != nil {
			return 0, err
		}
	}
	err := errors.Join(packed.Close(), zipped.Close())
	return counted.bytes, err
}

// counter counts what is written.
type counter struct {
	to    io.Writer
	bytes int
}

func (c *counter) Write(text []byte) (int, error) {
	n, err := c.to.Write(text)
	c.bytes += n
	return n, err
}
