# Every target says what it is for: make help
.DEFAULT_GOAL := help
.PHONY: help demo test test-vm test-systemd test-systemd-orchrun check bench bench-drops bench-images bench-pulls bench-network bench-runtime bench-peers proto clean prepare format

# Programs start in half the time when compiled code is kept; some shells say that it is not to be.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

prepare: ## install what orch needs (Debian packages, .venv); every other target does it by itself
	@deploy/prepare.sh

demo: prepare ## a three-node cluster deploys, heals, rolls and canaries a web service (KEEP=1 leaves it up)
	@KEEP=$(KEEP) deploy/demo/demo.sh

test: ## all tests, with real kernels, etcd and registries
	@deploy/prepare.sh test
	@$(MAKE) --no-print-directory check
	$(PYTEST) -n 2 -m "root or etcd or registry or cluster"

test-vm: prepare ## the runtime's tests where cgroup v2 is all there is, in an emulated machine (TESTS= for others)
	@$(BIN)/python deploy/vm/test.py $(TESTS)

test-systemd: prepare ## the systemd units on an emulated machine: restarts, an upgrade and a reboot harm no container
	@$(BIN)/python deploy/vm/systemd.py

test-systemd-orchrun: prepare ## orchrun with systemd's cgroup manager on an emulated machine, cgroup v2 and v1
	@$(BIN)/python deploy/vm/orchrun.py

check: prepare ## the quick part: format, lint, types, imports, unit tests, simulation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(PYTEST) -n 2 -m "not root and not etcd and not registry and not cluster"

format: prepare ## put the code in its usual form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: prepare ## measure, print a table and write build/bench.json
	$(BIN)/python deploy/bench/bench.py

bench-runtime: prepare ## starts, rates and memory of the runtime beside crun, runc and orchrun (needs root, crun, runc)
	$(BIN)/python deploy/bench/runtime.py

bench-pulls: prepare ## many nodes pull one image at once, over narrow links (needs root)
	$(BIN)/python deploy/bench/pulls.py

bench-images: prepare ## pull, unpack and build images beside skopeo, umoci, podman and docker
	$(BIN)/python deploy/bench/images.py

bench-drops: prepare ## 20 replicas rolled 20 times at 1,000 requests a second: how many of them failed (10 minutes)
	$(BIN)/python deploy/bench/drops.py

bench-peers: prepare ## Docker Swarm and orch side by side on one node (needs docker.io), and how many times faster
	$(BIN)/python deploy/bench/peers.py

bench-network: prepare ## the service network beside the same machine without it, and how soon a change is everywhere (root)
	$(BIN)/python deploy/bench/network.py
	$(BIN)/python deploy/bench/endpoints.py

proto: prepare ## make the stubs from proto/ again
	$(BIN)/python hatch_build.py

clean: ## remove what was built, and the virtual environment
	rm -rf build dist .venv .mypy_cache .ruff_cache .hypothesis
	find . -name '*_pb2*.py*' -not -path './.venv/*' -delete
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
