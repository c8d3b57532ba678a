# Torchyard: `make help` names every target.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# onnxruntime's wheel would report its use to its maker.
export ORT_DISABLE_TELEMETRY := 1

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# torch stays out of the locks: its CPU build comes from a local folder of wheels where there is
# one, else pip takes what the configured index has.
TORCH := torch==2.13.0
WHEELS ?= $(wildcard ../shared/wheels)
FIND_LINKS := $(if $(WHEELS),--find-links $(WHEELS))

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Setting up ---------------------------------------------------------------------------------

.PHONY: venv
venv: $(VENV)/.installed ## Install everything that development needs into .venv

$(VENV)/.installed: pyproject.toml locks/dev.txt Makefile
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is missing: apt-get install python3 python3-venv, or set PYTHON"; exit 1; }
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer with venv is needed: apt-get install python3-venv, or set PYTHON"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement locks/dev.txt
	$(BIN)/pip install --quiet $(FIND_LINKS) $(TORCH)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: lock
lock: venv ## Compile pyproject.toml into the hashed locks (needs uv)
	sh locks/update.sh

## Checking -----------------------------------------------------------------------------------

SOURCES := operator images/trainer images/server cluster demo tests

.PHONY: fmt
fmt: venv ## Format the code
	$(BIN)/ruff check --quiet --fix $(SOURCES)
	$(BIN)/ruff format --quiet $(SOURCES)

.PHONY: lint
lint: venv ## Check style, types and the direction of imports
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check --quiet $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: manifests
manifests: venv ## Generate the CRDs from the models
	$(BIN)/python -m torchyard.api.crd crds charts/torchyard/files/crds

.PHONY: test-unit
test-unit: venv ## Pure tests, seconds to a few minutes
	$(BIN)/pytest tests/unit

.PHONY: test-chart
test-chart: venv ## The rendered chart
	$(BIN)/pytest tests/chart

.PHONY: test-integration
test-integration: venv ## The operator as a process against a real API server, pods played by a script
	$(BIN)/pytest tests/integration

.PHONY: test-cluster
test-cluster: venv ## Pods on a real node (root, Debian 12); brings the cluster up if it is not
	$(BIN)/pytest tests/cluster

.PHONY: test
test: lint ## Everything: lint, then all four suites
	$(BIN)/pytest tests/unit tests/chart tests/integration tests/cluster

## A real cluster on this machine ----------------------------------------------------------------

.PHONY: cluster-up
cluster-up: ## Bring up a single-node Kubernetes (root, Debian 12); its kubeconfig is build/kubeconfig
	$(PYTHON) -m cluster build
	$(PYTHON) -m cluster up

.PHONY: cluster-down
cluster-down: ## Remove the cluster; caches and built images stay
	$(PYTHON) -m cluster down

.PHONY: images
images: ## Build the images and push them to the cluster's registry; digests in build/images.json
	$(PYTHON) -m cluster images

.PHONY: demo
demo: venv cluster-up images ## Train, register, serve, train better, roll over: the whole chain on a real cluster
	$(BIN)/python -m demo

.PHONY: clean
clean: ## Remove what builds and tests left in this folder
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
