# Every target does its own set-up. `make help` lists them.
SHELL := /bin/bash
VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PROFILE ?= minikube-py
UP_FLAGS ?=
REAL := apiserver or docker or etcd or cluster or netns
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

.PHONY: help up down test check lint unit nodes e2e labs bench clean setup system wheels compose-up compose-down
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## create .venv and install what the code needs
$(STAMP): pyproject.toml hack/setup.sh
	@hack/setup.sh $(VENV)

system:
	@hack/system.sh

up: setup ## start a three-node cluster with a sample (sudo or root)
	@$(PY) -m minikube_py.cli.main up --sample -p $(PROFILE) $(UP_FLAGS)

down: setup ## remove everything `make up` made
	@$(PY) -m minikube_py.cli.main down -p $(PROFILE)

wheels: setup
	@hack/wheels.sh $(VENV)

compose-up: ## the same cluster as containers, with etcd (docker compose or docker-compose)
	@mkdir -p build/wheels && $(COMPOSE) up -d --build
	@echo "kubectl --kubeconfig .compose/kubeconfig get nodes"

compose-down: ## remove the compose cluster and its pods
	@$(COMPOSE) stop && $(COMPOSE) --profile cleanup run --rm cleanup && $(COMPOSE) down -v --remove-orphans

check: setup ## the fast gate: lint, types, import layers, pure tests
	@$(MAKE) --no-print-directory -j2 lint unit

lint: setup
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check -q .
	@$(VENV)/bin/mypy --strict minikube_py apiserver kubelet controllers tests
	@$(VENV)/bin/lint-imports >/dev/null || $(VENV)/bin/lint-imports

unit: setup
	@$(PY) -m pytest -q -n 2 -m "not ($(REAL))"

test: setup system ## the whole suite, real etcd, Docker and kubectl included (sudo or root)
	@$(MAKE) --no-print-directory check
	@$(PY) -m pytest -q -n 2 --dist loadfile -m "$(REAL)" --ignore tests/e2e --ignore tests/labs --ignore tests/kubelet
	@$(MAKE) --no-print-directory nodes
	@$(MAKE) --no-print-directory -j2 e2e labs

nodes: setup system # a process and an API server per file: kubelets in one process would see each other's leftovers
	@ls tests/kubelet/test_*.py | xargs -P 2 -n 1 sh -c '$(PY) -m pytest -q -m "$(REAL)" $$0; code=$$?; [ $$code = 5 ] || exit $$code'

e2e: setup system
	@$(PY) -m pytest -q -m "$(REAL)" tests/e2e

labs: setup system
	@$(PY) -m pytest -q -m "$(REAL)" tests/labs

bench: setup system ## measure start-up, memory, API, pods and failover
	@$(PY) -m bench $(BENCH)

clean: ## remove .venv and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
