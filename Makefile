# Every target does its own set-up. `make help` lists them.
SHELL := /bin/bash
VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PROFILE ?= minikube-py
UP_FLAGS ?=
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

.PHONY: help up down test check bench clean setup system wheels compose-up compose-down
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## create .venv and install what the code needs
$(STAMP): pyproject.toml hack/setup.sh
	@hack/setup.sh $(VENV)

system:
	@hack/system.sh

up: setup  ## start a three-node cluster with a sample (sudo or root)
	@$(PY) -m minikube_py.cli.main up --sample -p $(PROFILE) $(UP_FLAGS)

down: setup  ## remove everything `make up` made
	@$(PY) -m minikube_py.cli.main down -p $(PROFILE)

wheels: setup
	@hack/wheels.sh $(VENV)

compose-up: ## the same cluster as containers, with etcd (docker compose or docker-compose)
	@mkdir -p build/wheels && $(COMPOSE) up -d --build
	@echo "kubectl --kubeconfig .compose/kubeconfig get nodes"

compose-down: ## remove the compose cluster and its pods
	@$(COMPOSE) stop && $(COMPOSE) --profile cleanup run --rm cleanup && $(COMPOSE) down -v --remove-orphans

check: setup  ## the fast gate: lint, types, import layers, pure tests
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check -q .
	@$(VENV)/bin/mypy --strict minikube_py apiserver kubelet controllers tests
	@$(VENV)/bin/lint-imports
	@$(PY) -m pytest -q -m "not apiserver and not docker and not etcd and not cluster and not netns"

test: setup system  ## the whole suite, real etcd, Docker and kubectl included (sudo or root)
	@$(MAKE) --no-print-directory check
	@$(PY) -m pytest -q -m "apiserver or docker or etcd or cluster or netns"

bench: setup system  ## measure start-up, memory, API, pods and failover
	@$(PY) -m bench $(BENCH)

clean:  ## remove .venv and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
