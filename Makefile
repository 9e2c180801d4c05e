# Every developer verb. `make help` prints them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

ROOT := $(CURDIR)
NODE := $(ROOT)/node_modules/.bin/node
export PATH := $(ROOT)/node_modules/.bin:$(PATH)
JEST := $(NODE) --disable-warning=ExperimentalWarning --experimental-vm-modules node_modules/jest/bin/jest.js
API ?= real
LEAF ?= bird
# Without an API server nothing of Kubernetes is needed.
LAB_TOOLS := gobgp $(if $(filter files,$(API)),,control-plane)
LAB ?= lab

# The headers of the Node that runs it: N-API, and libuv for uv_poll.
NODE_HEADERS = $(firstword $(wildcard node_modules/node-linux-*/include/node))
BPF_SOURCES := $(wildcard agent/bpf/*.bpf.c)
BPF_HEADERS := $(wildcard agent/bpf/lib/*.h)
BPF_OBJECTS := $(BPF_SOURCES:agent/bpf/%.bpf.c=build/bpf/%.bpf.o)
TEST_OBJECTS := $(BPF_SOURCES:agent/bpf/%.bpf.c=build/bpf/test/%.bpf.o)
# Names of folders would make every clone build other bytes.
SAME_PATHS := -ffile-prefix-map=$(ROOT)=.
BPF_CFLAGS := -O2 -g $(SAME_PATHS) --target=bpf -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -Iagent/bpf -I/usr/include/$(shell uname -m)-linux-gnu

##@ The front door
.PHONY: demo lab lab-down test help
demo: build $(LAB_TOOLS) ## The rack lab end to end, with a verdict table (API=files: without an API server)
	tools/run-lab.sh demo --api=$(API) --leaf=$(LEAF)

lab: build $(LAB_TOOLS) ## The same lab, left running; prints what to try
	tools/run-lab.sh up --api=$(API) --leaf=$(LEAF)

lab-down: ## Ends the lab and cleans up
	tools/run-lab.sh down

test: build tools ## Everything CI runs: check, unit, kernel and end-to-end tests
	tools/run-tests.sh all

##@ Building
.PHONY: build deps ts proto native bpf cni lab-helper tools crds
build: deps proto native bpf cni lab-helper ts ## Everything but the control plane

deps: build/.deps node_modules/.stamp ## Debian packages and npm packages
build/.deps: tools/apt-packages.txt tools/install-packages.sh
	tools/install-packages.sh tools/apt-packages.txt
	@mkdir -p build && touch $@
node_modules/.stamp: package.json package-lock.json
	npm ci --no-progress
	@test -x $(NODE) || { echo "Node 24 was not installed by npm ci: optional packages are missing" >&2; exit 1; }
	@touch $@

proto: build/.proto ## Code from our .proto and from GoBGP's (read from its pinned module)
build/.proto: proto/stentor/v1/session.proto $(wildcard tools/gen/*) tools/gobgp/go.mod | node_modules/.stamp
	tools/gen/proto.sh
	@mkdir -p build && touch $@

native: build/stentor.node ## The N-API addon
build/stentor.node: $(wildcard bpf-native/src/*.c bpf-native/src/*.h) | node_modules/.stamp
	@mkdir -p build
	cc -std=gnu11 -O2 -g $(SAME_PATHS) -fPIC -shared -fvisibility=hidden -Wall -Wextra -Werror \
	  -isystem $(NODE_HEADERS) $(wildcard bpf-native/src/*.c) -lbpf -o $@

bpf: $(BPF_OBJECTS) $(TEST_OBJECTS) ## The datapath, and its test build
build/bpf/%.bpf.o: agent/bpf/%.bpf.c $(BPF_HEADERS)
	@mkdir -p $(@D)
	clang-19 $(BPF_CFLAGS) -c $< -o $@
	llvm-strip-19 -g $@
build/bpf/test/%.bpf.o: agent/bpf/%.bpf.c $(BPF_HEADERS)
	@mkdir -p $(@D)
	clang-19 $(BPF_CFLAGS) -DSTENTOR_TEST -c $< -o $@

cni: build/stentor-cni ## The CNI plugin
build/stentor-cni: agent/cni/plugin/stentor-cni.c
	@mkdir -p build
	cc -std=gnu11 -O2 -static -Wall -Wextra -Werror $< -o $@

lab-helper: build/lab-helper ## Echo server, probes and relay of the lab
build/lab-helper: $(wildcard e2e/harness/helper/*.c e2e/harness/helper/*.h)
	@mkdir -p build
	cc -std=gnu11 -O2 -static -pthread -Wall -Wextra -Werror $(filter %.c,$^) -o $@

.PHONY: bench-tools
bench-tools: build/bench/rr
build/bench/rr: e2e/bench/rr.c
	@mkdir -p $(@D)
	cc -std=gnu11 -O2 -Wall -Wextra -Werror $< -o $@

ts: | proto ## TypeScript to dist/
	tsc -p .
	@mkdir -p dist/proto && rm -rf dist/proto/gen && cp -r proto/gen dist/proto/gen
	@mkdir -p build/bin bin && for name in stentorctl cilium; do ln -sf ../../cli/stentorctl.sh build/bin/$$name && ln -sf ../cli/stentorctl.sh bin/$$name; done

crds: ts ## crds/*.yaml from the schemas in crds/
	node dist/crds/render.js crds

tools: control-plane gobgp ## Control plane and gobgpd, from PATH, the cache or their pinned Go modules

.PHONY: control-plane gobgp
control-plane:
	tools/control-plane.sh
gobgp:
	tools/gobgp.sh

##@ Checking
.PHONY: check test-unit nightly test-kernel e2e bench bench-policy clean
check: build ## Types, lint, import walls, tidy, map layouts
	oxlint --type-aware
	$(JEST) --testPathPatterns 'dist/tools/'

test-unit: build ## Pure code and scripts on fakes
	$(JEST) --maxWorkers=2 --testPathPatterns 'dist/(lib|operator|agent|cli|crds)/' --testPathIgnorePatterns kernel.test.js

nightly: build tools ## Long runs: 5,000 policy worlds, 50,000 mutated policies, 10,000 histories of LB-IPAM and of PodCIDRs, 2,000 walks of clusters, 20 kills under traffic
	STENTOR_WORLDS=5000 STENTOR_MUTATIONS=50000 STENTOR_LBIPAM_HISTORIES=10000 STENTOR_IPAM_HISTORIES=10000 STENTOR_WALKS=2000 $(JEST) --runInBand --testPathPatterns 'dist/(lib/policy/reference|lib/lbipam/histories|operator/model/decode/fuzz|operator/compile/(walk|pod-cidrs))'
	STENTOR_KILLS=20 $(JEST) --runInBand --testPathPatterns 'dist/e2e/scenarios/never-open'

test-kernel: build ## Tests that load BPF programs and open namespaces (root)
	$(JEST) --runInBand --testPathPatterns 'kernel.test.js'

e2e: build tools ## End to end: real control plane, kernel, routers
	$(JEST) --runInBand --testPathPatterns 'dist/e2e/'

bench: build tools bench-tools ## Ratios measured in one run, printed as a table
	tools/run-lab.sh bench

bench-policy: build ## The policy engine's workloads W1, W2, P2, W6, W7, W10 and policy validate, in CPU time of one thread
	node --expose-gc --max-old-space-size=4096 dist/e2e/bench/policy/main.js

clean: ## What was built here (not the cache of the control plane)
	rm -rf build dist proto/gen

help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {print "\n" substr($$0, 5)} /^[a-z][a-z0-9-]*:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile
