# What there is to do here. `make run` needs Python 3.11 or newer (and what it installs itself), nothing else.

VENV := .venv
PYTHON_IN := $(VENV)/bin/python
RUNTIME := deploy/requirements.txt
BUILD := deploy/build-requirements.txt
DEVELOPMENT := .ci/requirements.txt
BENCH := bench/requirements.txt

.DEFAULT_GOAL := help
.PHONY: help run test check check-style check-types check-imports check-code check-configuration check-files check-deploy
.PHONY: check-security chaos fuzz mutations
.PHONY: bench bench-quick bench-guard bench-budget bench-setup lock clean runtime development

help: ## what there is to do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: runtime ## the sidecar between a sandbox Activity server and gateway, to look at in a browser
	@exec $(PYTHON_IN) -m proxy demo $(ARGS)

test: development ## all tests, with coverage; ARGS="-k breaker" for some
	@exec $(PYTHON_IN) -m pytest --cov --cov-report=term $(ARGS)

chaos: development ## the gateway breaks in every way, one by one and then STORM_SECONDS long (300) in an order of CHAOS_SEED
	@STORM_SECONDS=$${STORM_SECONDS:-300} CHAOS_SEED=$${CHAOS_SEED:-$$$$} $(PYTHON_IN) -m pytest tests/chaos $(ARGS)

mutations: development ## takes each mechanism of resilience away in turn, which tests must notice; ARGS=breaker for one
	@$(PYTHON_IN) -m tests.mutations $(ARGS)

bench: bench-setup ## measure beside its peers, about 15 minutes; ARGS="--cases ac --only sidecar,nginx" for some
	@exec bench/.venv/bin/python -m bench $(ARGS)

bench-quick: bench-setup ## the same, shorter: under 3 minutes
	@exec bench/.venv/bin/python -m bench --quick $(ARGS)

bench-guard: development ## instructions per request, held against bench/budget.json; needs valgrind
	@exec $(PYTHON_IN) -m bench.guard $(ARGS)

bench-budget: development ## make what a request costs now the budget
	@exec $(PYTHON_IN) -m bench.guard --renew $(ARGS)

fuzz: development ## the listener under raw fuzz, FUZZ_SECONDS long (60), by the dice of FUZZ_SEED; and all other fuzz
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-60} FUZZ_SEED=$${FUZZ_SEED:-$$$$} $(PYTHON_IN) -m pytest tests/fuzz $(ARGS)

check: check-style check-types check-imports check-code check-configuration check-files ## all that is quick: style, types, imports, configuration, locks

check-style: development
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check

check-types: development
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy $(wildcard .ci/*.py)

check-imports: development
	$(VENV)/bin/lint-imports --no-cache --no-logo

# What it finds is mended, or has its `# nosec` with the reason.
check-code: development
	@told=$$($(VENV)/bin/bandit --quiet --recursive proxy 2>&1) || { printf '%s\n' "$$told"; exit 1; }

check-security: check-code ## what bandit finds in the code, and known vulnerabilities of what is pinned
	@$(PYTHON_IN) .ci/audit.py

check-configuration: development
	$(PYTHON_IN) -m proxy check -c config/proxy.yaml
	$(PYTHON_IN) -m proxy.schema | cmp - config/schema.json
	$(PYTHON_IN) -m proxy.openapi | cmp - docs/openapi.yaml

check-files: development
	$(PYTHON_IN) .ci/check_locks.py
	$(PYTHON_IN) .ci/check_tree.py

check-deploy: development ## Dockerfile, compose file, manifests, Prometheus, and the wheel in a clean place
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" bash .ci/check_deploy
	@bash .ci/check_wheel $(PYTHON_IN)

lock: development ## pin anew what pyproject.toml and .ci/requirements.in ask for; UPGRADE=1 for newer versions
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" sh .ci/lock $(if $(UPGRADE),--upgrade)

clean: ## remove everything that was made here
	rm -rf $(VENV) bench/.venv bench/node_modules build dist .coverage .coverage.* .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find proxy tests bench .ci -name __pycache__ -prune -exec rm -rf {} +

runtime:
	@sh .ci/environment $(VENV) $(RUNTIME)

bench-setup:
	@sh .ci/environment bench/.venv $(BENCH) $(RUNTIME)
	@sh bench/setup

# Has the runtime's packages in the very same versions.
development:
	@sh .ci/environment $(VENV) $(DEVELOPMENT) $(RUNTIME)
