// SPDX-License-Identifier: Apache-2.0

//go:build system

package kubevirt

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/pkg/vmi"
	"corepin.dev/corepin/test/harness/story"
)

// recordRandomEnv names a file that gets every random object with both verdicts, one a line.
const recordRandomEnv = "COREPIN_RECORD_RANDOM"

const (
	randomDefinitions = 60
	randomMachines    = 1500
)

// judged is a random object, KubeVirt's reason to refuse it, and check's by KubeVirt's rules and by corepin's own. "" allows.
type judged struct {
	Object                    object
	KubeVirt, Check, Standard string
}

// Any object has KubeVirt's verdict from check --strictness kubevirt, and check by corepin's own rules refuses what KubeVirt refuses.
// The seed is ginkgo's.
var _ = ginkgo.Describe("objects made at random", ginkgo.Ordered, func() {
	var policy []byte
	ginkgo.BeforeAll(func(ctx context.Context) {
		var err error
		policy, err = manifests.Build(manifests.FS, "admission")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(story.RemovePolicies(ctx, bed)).To(gomega.Succeed()) // what remains is KubeVirt
	})
	ginkgo.AfterAll(func(ctx context.Context) { installPolicies(ctx, policy) })
	ginkgo.It("are refused by check where KubeVirt refuses them", func(ctx context.Context) {
		began := time.Now()
		seed := ginkgo.GinkgoRandomSeed()
		a := &anything{Rand: rand.New(rand.NewPCG(uint64(seed), 0))}
		all, definitions := a.define(ctx)
		for i := range randomMachines {
			all = append(all, &judged{Object: a.machine(i)})
		}
		askEach(ctx, all[len(all)-randomMachines:])
		settings, err := bed.Kubectl(ctx, "get", "kubevirt", "--all-namespaces", "--output=json")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		checkEach(ctx, all, definitions, settings)
		differ, refused := compared(all)
		record(all)
		report("objects made at random", fmt.Sprintf("seed %d: %d objects, %d refused by KubeVirt, %d verdicts differ; %s\n%s",
			seed, len(all), refused, len(differ), seconds(began), strings.Join(differ[:min(len(differ), 20)], "\n")))
		gomega.Expect(refused).To(gomega.BeNumerically(">", 0))
		gomega.Expect(differ).To(gomega.BeEmpty())
	}, ginkgo.NodeTimeout(15*time.Minute))
})

// define makes instancetypes and preferences, in the cluster too where KubeVirt accepts them. Those are the definitions.
func (a *anything) define(ctx context.Context) (all []*judged, definitions []object) {
	ginkgo.GinkgoHelper()
	for i := range randomDefinitions {
		for _, made := range []struct {
			object object
			kept   *[]map[string]any
		}{{a.instancetype(i), &a.instancetypes}, {a.preference(i), &a.preferences}} {
			j := &judged{Object: made.object}
			var err error
			j.KubeVirt, err = askAbout(ctx, made.object, metav1.CreateOptions{})
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
			if j.KubeVirt == "" {
				*made.kept = append(*made.kept, made.object)
				definitions = append(definitions, made.object)
				ginkgo.DeferCleanup(func(ctx context.Context) { gomega.Expect(forget(ctx, made.object)).To(gomega.Succeed()) })
			}
			all = append(all, j)
		}
	}
	return all, definitions
}

// resourceOf is where objects of a kind are kept.
func resourceOf(o object) (schema.GroupVersionResource, string) {
	u := unstructured.Unstructured{Object: o}
	kind := u.GroupVersionKind()
	return kind.GroupVersion().WithResource(strings.ToLower(kind.Kind) + "s"), u.GetNamespace()
}

func forget(ctx context.Context, o object) error {
	resource, namespace := resourceOf(o)
	name := (&unstructured.Unstructured{Object: o}).GetName()
	return bed.Dynamic().Resource(resource).Namespace(namespace).Delete(ctx, name, metav1.DeleteOptions{})
}

// askEach asks the API server about objects without making them, several at a time.
func askEach(ctx context.Context, all []*judged) {
	ginkgo.GinkgoHelper()
	var mu sync.Mutex
	var failures []string
	var group sync.WaitGroup
	queue := make(chan *judged)
	for range 4 {
		group.Go(func() {
			for j := range queue {
				err := j.ask(ctx)
				if err != nil {
					mu.Lock()
					failures = append(failures, fmt.Sprintf("%s: %v", asJSON(j.Object), err))
					mu.Unlock()
				}
			}
		})
	}
	for _, j := range all {
		queue <- j
	}
	close(queue)
	group.Wait()
	gomega.Expect(failures).To(gomega.BeEmpty())
}

// ask notes KubeVirt's verdict. A set or a pool is refused too where what it makes is: it would try for ever.
func (j *judged) ask(ctx context.Context) (err error) {
	dryRun := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	j.KubeVirt, err = askAbout(ctx, j.Object, dryRun)
	made := madeBy(j.Object)
	if err == nil && j.KubeVirt == "" && made != nil {
		j.KubeVirt, err = askAbout(ctx, made, dryRun)
	}
	return err
}

// madeBy is what a set or a pool makes, nil for other objects.
func madeBy(o object) object {
	spec := o["spec"].(object)
	made := object{"apiVersion": "kubevirt.io/v1"}
	var template object
	switch o["kind"] {
	case vmi.KindReplicaSet:
		made["kind"] = vmi.KindVMI
		template = spec["template"].(object)
	case vmi.KindPool:
		made["kind"] = vmi.KindVM
		template = spec["virtualMachineTemplate"].(object)
	default:
		return nil
	}
	metadata := object{"name": "made", "namespace": "default"}
	for field, value := range template["metadata"].(object) {
		metadata[field] = value
	}
	made["metadata"] = metadata
	made["spec"] = template["spec"]
	return made
}

// askAbout returns the reason why the API server refuses an object: KubeVirt's webhooks, or the schema of its definitions. The
// error is anything else.
func askAbout(ctx context.Context, o object, options metav1.CreateOptions) (string, error) {
	resource, namespace := resourceOf(o)
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(asJSON(o))); err != nil {
		return "", err
	}
	_, err := bed.Dynamic().Resource(resource).Namespace(namespace).Create(ctx, u, options)
	switch {
	case err == nil:
		return "", nil
	case apierrors.IsInvalid(err), strings.Contains(err.Error(), ".kubevirt.io\" denied the request"),
		strings.HasSuffix(err.Error(), ": EOF"): // the webhook has crashed on it
		return err.Error(), nil
	}
	return "", err
}

// checkEach asks check about all objects. The definitions and the cluster's settings are among the files, which are in folders of
// their own, so that the answers about them can be told apart.
func checkEach(ctx context.Context, all []*judged, definitions []object, settings []byte) {
	ginkgo.GinkgoHelper()
	dir := ginkgo.GinkgoT().TempDir()
	files := []string{filepath.Join(dir, "objects"), filepath.Join(dir, "definitions"), filepath.Join(dir, "settings")}
	var objects, defined bytes.Buffer
	for _, j := range all {
		if j.KubeVirt == "" && !vmi.IsKind(j.Object["kind"].(string)) {
			continue // among the definitions
		}
		fmt.Fprintf(&objects, "%s\n---\n", asJSON(j.Object))
	}
	for _, o := range definitions {
		fmt.Fprintf(&defined, "%s\n---\n", asJSON(o))
	}
	for i, content := range [][]byte{objects.Bytes(), defined.Bytes(), settings} {
		gomega.Expect(os.WriteFile(files[i], content, 0o600)).To(gomega.Succeed())
	}
	for _, strictness := range []string{"kubevirt", "standard"} {
		answers := checkFiles(ctx, strictness, files)
		for _, j := range all {
			u := unstructured.Unstructured{Object: j.Object}
			reason, found := answers[u.GetKind()+" "+u.GetName()]
			gomega.Expect(found).To(gomega.BeTrue(), "check says nothing of %s %s", u.GetKind(), u.GetName())
			if strictness == "standard" {
				j.Standard = reason
			} else {
				j.Check = reason
			}
		}
	}
}

// checkFiles gives the reason of each refusal by kind and name, "" for what is allowed.
func checkFiles(ctx context.Context, strictness string, files []string) map[string]string {
	ginkgo.GinkgoHelper()
	args := []string{"check", "--output=json", "--strictness=" + strictness}
	for _, file := range files {
		args = append(args, "--filename="+file)
	}
	command := exec.CommandContext(ctx, filepath.Join(os.Getenv("COREPIN_BIN"), "kubectl-corepin"), args...)
	var complaints bytes.Buffer
	command.Stderr = &complaints
	output, err := command.Output()
	gomega.Expect(complaints.String()).To(gomega.BeEmpty(), "check: %v", err)
	answers := map[string]string{}
	for decoder := json.NewDecoder(bytes.NewReader(output)); decoder.More(); {
		var answer struct {
			Kind, Name string
			Allowed    bool
			Findings   []struct{ Rule, Severity, Field, Message string }
		}
		gomega.Expect(decoder.Decode(&answer)).To(gomega.Succeed())
		reason := ""
		for _, f := range answer.Findings {
			if f.Severity == string(vmi.Error) {
				reason += fmt.Sprintf("%s: %s (%s); ", f.Field, f.Message, f.Rule)
			}
		}
		answers[answer.Kind+" "+answer.Name] = reason
	}
	return answers
}

// compared are the verdicts that differ in words, and how many objects KubeVirt refuses.
func compared(all []*judged) (differ []string, refused int) {
	for _, j := range all {
		if j.KubeVirt != "" {
			refused++
		}
		if (j.KubeVirt == "") != (j.Check == "") || j.KubeVirt != "" && j.Standard == "" {
			differ = append(differ, fmt.Sprintf("%s\n  KubeVirt: %q\n  check:    %q\n  standard: %q", asJSON(j.Object), j.KubeVirt, j.Check, j.Standard))
		}
	}
	return differ, refused
}

func record(all []*judged) {
	ginkgo.GinkgoHelper()
	path := os.Getenv(recordRandomEnv)
	if path == "" {
		return
	}
	var lines bytes.Buffer
	for _, j := range all {
		lines.WriteString(asJSON(j) + "\n")
	}
	gomega.Expect(os.WriteFile(path, lines.Bytes(), 0o644)).To(gomega.Succeed())
}

func asJSON(value any) string {
	text, err := json.Marshal(value)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return string(text)
}
