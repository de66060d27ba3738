# Everything a contributor runs. Each recipe is one line; what takes more lives in hack/.

# One setting for every build, test and check: each package of Kubernetes is compiled once.
export CGO_ENABLED := 0
# libvirtd is in sbin, which "su" leaves out of the PATH.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

BINARIES := $(CURDIR)/bin
TIMEOUT ?= 40m

.DEFAULT_GOAL := help
.PHONY: help setup build demo up down unit race orphans fuzz presubmit test test-system test-kubevirt verify conformance conformance-long update images release bench bench-agent bench-pin bench-packing bench-silence bench-scale soak clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 26

setup: ## Install what is missing on this Debian machine (libvirt, QEMU)
	@hack/setup.sh

build: ## Build the binaries into bin/
	@hack/build.sh

demo: setup build ## Run the whole thing once, visibly, and clean up
	@bin/demo run

up: setup build ## Like demo, but the cluster stays up; prints its KUBECONFIG
	@bin/demo up

down: ## Stop what make up started
	@bin/demo down

# No root, no package of Debian's, no cluster. Tests that want libvirtd or recordings skip.
UNIT := ./agent/... ./pkg/... ./scheduler/... ./test/policy

unit: ## Run the tests that need nothing but Go; no root, no installed packages
	@go test -vet=off -timeout=$(TIMEOUT) $(UNIT)

# The scheduler's tests compile Kubernetes once more. What CI runs on each commit: make race RACE=./agent/...
RACE ?= $(UNIT)
race: ## Run the same tests under the race detector, with coverage; needs a C compiler
	@CGO_ENABLED=1 go test -race -cover -vet=off -timeout=$(TIMEOUT) $(RACE)

orphans: build ## Kill each suite in its middle, and count the processes that it leaves
	@hack/orphans.sh

fuzz: ## Run each fuzz target for half a minute, two at a time
	@hack/fuzz.sh 30s

presubmit: verify unit ## What a change has to pass before it is sent; CI runs the rest

# -vet=off: verify runs it; here it would go over all of Kubernetes a second time. -count=1: the suites run
# the binaries, of which go test's cache knows nothing.
test: setup build ## Run all tests; all that they print is in bin/test.log
	@hack/setup.sh test && hack/build.sh helm && COREPIN_BIN=$(BINARIES) COREPIN_REQUIRE_ALL=1 go run ./hack/testrun -log $(BINARIES)/test.log -- -vet=off -count=1 -cover -timeout=$(TIMEOUT) ./...

conformance: ## Compare 50,000 predictions with each kubelet's own code
	@hack/conformance.sh 50000 1

conformance-long: ## Compare 1,000,000, other ones each time, with kubelets 1.34 and 1.38, too; takes more than an hour
	@hack/conformance.sh 1000000 0 134 135 136 137 138

test-system: setup build ## Run the suite on real kubelets, in machines under QEMU (KUBELETS='1.34 1.35': others; LABELS=furnished: huge pages and devices); takes 30 minutes once they are built
	@hack/machine.sh
	@COREPIN_BIN=$(BINARIES) COREPIN_MACHINE=$(BINARIES)/machine go test -tags=system -vet=off -count=1 -timeout=95m -v ./test/system -ginkgo.v -ginkgo.no-color -ginkgo.timeout=90m -ginkgo.label-filter='$(or $(LABELS),!furnished && !quiet)'

# DIR is made by the user, who has a KubeVirt; what it holds is said where something is missing.
test-kubevirt: ## Run the suite beside the control plane of a real KubeVirt: make test-kubevirt KUBEVIRT=DIR
	@hack/test-kubevirt.sh "$(KUBEVIRT)"

LENGTH ?= 1h
SEED ?= 0
soak: setup build ## Run everything for LENGTH (1h) while it is killed, stopped, slowed and cut off at random by SEED (0: any)
	@go run ./test/soak -bin $(BINARIES) -length $(LENGTH) -seed $(SEED)

verify: ## Check format, lint, generated files, go.mod and manifests
	@hack/verify-all.sh

update: ## Rewrite what verify checks: format, generated files, go.mod
	@hack/update-all.sh

images: ## Build the OCI images of scheduler and agent into bin/images/
	@go run ./hack/images -out bin/images

release: ## Make all that a release ships in bin/release/: images, manifests, chart, kubectl plugin, SBOMs, checksums; KEY=key.pem signs them
	@go run ./hack/release -out bin/release -key "$(KEY)"

bench: ## Run the benchmarks, and keep their results in test/perf/results
	@hack/bench.sh

bench-agent: setup build ## Measure the agent: latency, idle CPU and memory, writes
	@go run ./hack/benchagent -bin $(BINARIES)

bench-pin: setup ## Start 50 guests at once: time until they are pinned, the agent's CPU and memory
	@go test -vet=off ./agent/libvirt -run '^$$' -bench FiftyGuests -benchtime 1x -v

bench-packing: ## Place VM traces with stock kube-scheduler and with corepin; tables and plots into bin/bench/; half an hour
	@go run ./test/perf/packing -seeds 3 -out $(BINARIES)/bench
	@go run ./test/perf/packing -seeds 3 -apart -out $(BINARIES)/bench/apart
	@go run ./test/perf/packing -seeds 3 -devices -out $(BINARIES)/bench/devices

bench-silence: setup build ## Time until a silent node is seen, with the shipped settings and 20 nodes; takes ten minutes
	@go run ./test/perf/silence -bin $(BINARIES)

bench-scale: build ## Measure PARTS (throughput, cycles, changes) beside stock kube-scheduler, and keep the tables in test/perf/results; takes an hour
	@hack/bench-scale.sh $(PARTS)

clean: ## Remove bin/
	@rm -rf bin
