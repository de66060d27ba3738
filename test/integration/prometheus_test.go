// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/manifests"
	"corepin.dev/corepin/test/harness/cluster"
	"corepin.dev/corepin/test/harness/monitoring"
	"corepin.dev/corepin/test/harness/process"
	"corepin.dev/corepin/test/harness/story"
	"corepin.dev/corepin/test/harness/testbed"
)

// scraper is a Prometheus with the alerts of manifests/monitoring that scrapes each agent and the scheduler of a testbed.
type scraper struct{ address string }

// scraperRights are what a Prometheus needs: the scheduler asks the API server whether a reader may.
const scraperRights = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: prometheus, namespace: corepin-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: prometheus}
rules: [{nonResourceURLs: [/metrics], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: prometheus}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: prometheus}
subjects: [{kind: ServiceAccount, name: prometheus, namespace: corepin-system}]
`

// startScraper starts Prometheus; it is stopped with the testbed.
func startScraper(ctx context.Context, bed *testbed.Testbed) *scraper {
	ginkgo.GinkgoHelper()
	dir := filepath.Join(filepath.Dir(bed.Scheduler.LogFile()), "prometheus")
	gomega.Expect(os.Mkdir(dir, 0o700)).To(gomega.Succeed())
	gomega.Expect(bed.Apply(ctx, []byte(scraperRights))).To(gomega.Succeed())
	token, err := bed.Client().CoreV1().ServiceAccounts(testbed.SystemNamespace).CreateToken(ctx, "prometheus", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	keep := func(name string, text []byte) string {
		file := filepath.Join(dir, name)
		gomega.Expect(os.WriteFile(file, text, 0o600)).To(gomega.Succeed())
		return file
	}
	address := func(program *process.Process) []string {
		served, err := servedAt(program)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		return []string{served}
	}
	var agents []any
	for name, node := range bed.Nodes {
		agents = append(agents, map[string]any{"targets": address(node.Agent), "labels": map[string]string{"node": name}})
	}
	config, err := yaml.Marshal(map[string]any{
		"global":     map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{keep("rules.yaml", rulesFile())},
		"scrape_configs": []any{
			map[string]any{"job_name": "corepin-agent", "static_configs": agents},
			map[string]any{
				"job_name": "corepin-scheduler", "scheme": "https", "tls_config": map[string]any{"insecure_skip_verify": true},
				"authorization":  map[string]any{"credentials_file": keep("token", []byte(token.Status.Token))},
				"static_configs": []any{map[string]any{"targets": address(bed.Scheduler)}},
			},
		},
	})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	ports, err := cluster.FreeAddresses(1)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	_, err = bed.StartProcess("prometheus", "prometheus", "--config.file="+keep("prometheus.yaml", config),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+ports[0])
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	prometheus := &scraper{address: ports[0]}
	gomega.Eventually(ctx, func(g gomega.Gomega) { // what is counted before the first scrape is no increase
		scraped, err := prometheus.numbers(ctx, "up == 1")
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(scraped).To(gomega.Equal(len(bed.Nodes) + 1))
	}).WithTimeout(deadline).Should(gomega.Succeed())
	return prometheus
}

// rulesFile is the shipped PrometheusRule as Prometheus reads it.
func rulesFile() []byte {
	ginkgo.GinkgoHelper()
	text, err := manifests.FS.ReadFile("monitoring/prometheusrule.yaml")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	var rule struct{ Spec map[string]any }
	gomega.Expect(yaml.Unmarshal(text, &rule)).To(gomega.Succeed())
	spec, err := yaml.Marshal(rule.Spec)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return spec
}

// servedAt is the address at which a process of corepin's serves its metrics: the port in the scheduler's arguments, or the
// address in the configuration file of an agent's.
func servedAt(program *process.Process) (string, error) {
	arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", program.PID()))
	if err != nil {
		return "", fmt.Errorf("reading the arguments of %s: %w", program.Name(), err)
	}
	port := regexp.MustCompile(`--secure-port=(\d+)`).FindSubmatch(arguments)
	if port != nil {
		return "127.0.0.1:" + string(port[1]), nil
	}
	file := regexp.MustCompile(`--config=([^\x00]+)`).FindSubmatch(arguments)
	if file == nil {
		return "", fmt.Errorf("%s has neither --secure-port nor --config: %q", program.Name(), arguments)
	}
	text, err := os.ReadFile(string(file[1]))
	if err != nil {
		return "", err
	}
	var config struct{ Serving struct{ Address string } }
	if err := yaml.Unmarshal(text, &config); err != nil {
		return "", fmt.Errorf("reading %s: %w", file[1], err)
	}
	return config.Serving.Address, nil
}

// get reads the data of an answer of Prometheus' API.
func (s *scraper) get(ctx context.Context, path string, data any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/api/v1/"+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("%s: %w in %q", path, err, text)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return nil
}

// numbers counts the series that a query gives a number for now.
func (s *scraper) numbers(ctx context.Context, query string) (int, error) {
	var data struct{ Result []struct{ Value [2]any } }
	if err := s.get(ctx, "query?query="+url.QueryEscape(query), &data); err != nil {
		return 0, err
	}
	count := 0
	for _, series := range data.Result {
		text, _ := series.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err == nil && !math.IsNaN(value) {
			count++
		}
	}
	return count, nil
}

// emptyPanels are the panels of the shipped dashboards, by file and title, that show nothing for any of the nodes.
func (s *scraper) emptyPanels(ctx context.Context, nodes []string) ([]string, error) {
	queries, err := monitoring.DashboardQueries(manifests.FS, "monitoring/dashboards")
	if err != nil {
		return nil, err
	}
	shown := map[string]int{}
	for where, query := range queries {
		panel := strings.TrimRight(where, " 0123456789")
		for _, node := range nodes {
			asked := strings.NewReplacer("$__rate_interval", "10m", "$node", node).Replace(query)
			count, err := s.numbers(ctx, asked)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", where, err)
			}
			shown[panel] += count
		}
	}
	var empty []string
	for panel, count := range shown {
		if count == 0 {
			empty = append(empty, panel)
		}
	}
	slices.Sort(empty)
	return empty, nil
}

// failedRules are the alerts that Prometheus cannot evaluate.
func (s *scraper) failedRules(ctx context.Context) (failed []string, count int, err error) {
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if err := s.get(ctx, "rules", &data); err != nil {
		return nil, 0, err
	}
	for _, group := range data.Groups {
		for _, rule := range group.Rules {
			count++
			if rule.Health != "ok" {
				failed = append(failed, fmt.Sprintf("%s: %s %s", rule.Name, rule.Health, rule.LastError))
			}
		}
	}
	return failed, count, nil
}

// requireProgram skips a spec that wants a program which is not installed.
func requireProgram(name, advice string) {
	ginkgo.GinkgoHelper()
	_, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv("COREPIN_REQUIRE_ALL") == "1":
		ginkgo.Fail(name + " is not installed: " + advice)
	default:
		ginkgo.Skip(name + " is not installed: " + advice)
	}
}

var _ = ginkgo.Describe("a Prometheus that scrapes corepin", ginkgo.Ordered, func() {
	ginkgo.It("evaluates each alert, and has something to show in each panel of the dashboards", func(ctx context.Context) {
		requireProgram("prometheus", "run hack/setup.sh test")
		bed := startTestbed(ctx, append(unpinned(machines(story.Small)), machines(story.Local, story.Shared, "numa4", story.Big)...))
		prometheus := startScraper(ctx, bed)
		told := story.New(bed)
		for _, step := range []string{story.StepReported, story.StepCreate, story.StepPlaced, story.StepPinned, story.StepDrift, story.StepMore, story.StepDevices, story.StepPods} {
			_, err := runStep(ctx, told, step)
			gomega.Expect(err).NotTo(gomega.HaveOccurred(), step)
		}
		loseStateAndLibvirt(ctx, bed)
		nodes := []string{story.Small, story.Local}
		gomega.Eventually(ctx, func(g gomega.Gomega) { // how long vCPUs waited is measured once a minute, and not in a guest's first
			empty, err := prometheus.emptyPanels(ctx, nodes)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(empty).To(gomega.BeEmpty())
		}).WithTimeout(6 * deadline).Should(gomega.Succeed())
		failed, count, err := prometheus.failedRules(ctx)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(count).To(gomega.BeNumerically(">", 10))
		gomega.Expect(failed).To(gomega.BeEmpty())
	})
})

// loseStateAndLibvirt makes two faults on node small: the kubelet's file of CPUs cannot be read, and a guest's libvirt is gone
// when the agent starts. The first is put right once the report has it; the second stays.
func loseStateAndLibvirt(ctx context.Context, bed *testbed.Testbed) {
	ginkgo.GinkgoHelper()
	root := bed.Nodes[story.Small].Sim.KubeletRootDir()
	file := filepath.Join(root, "cpu_manager_state")
	state, err := os.ReadFile(file)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	replace(file, []byte("{"))
	gomega.Eventually(ctx, func(g gomega.Gomega) {
		report, err := bed.Report(ctx, story.Small)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(conditionsText(report)).To(gomega.ContainSubstring("cpu_manager_state"))
	}).WithTimeout(deadline).Should(gomega.Succeed())
	replace(file, state)
	pod, err := bed.PodOf(ctx, "vmi-cores")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	socket := filepath.Join(root, "pods", string(pod.UID), "volumes", "kubernetes.io~empty-dir", "libvirt-runtime", "virtqemud-sock")
	agent := bed.Nodes[story.Small].Agent
	gomega.Expect(agent.Stop()).To(gomega.Succeed())
	gomega.Expect(os.Rename(socket, socket+".away")).To(gomega.Succeed())
	gomega.Expect(agent.Restart()).To(gomega.Succeed())
}
