# Everything here works on a fresh clone: what a target needs it installs into .venv first.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
SUITE ?= default
PROFILE ?= quick
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1

# Whatever the stages came to, what is recorded is ranked.
define repro
status=0; dvc repro $(1) || status=$$?; suite=$$(sed -n 's/^  name: //p' params.yaml | head -1); \
if [ -e results/$$suite/suite.json ]; then python -m benchmark leaderboard $$suite || status=$$?; fi; \
exit $$status
endef

.PHONY: help
help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

$(BIN)/activate:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "Python 3.11 or newer is needed: make setup PYTHON=python3.11, or a later one" >&2; exit 2; }
	$(PYTHON) -m venv .venv

# The stamp holds what was installed, so that a changed pin is installed again.
.venv/installed: $(BIN)/activate pyproject.toml constraints.txt
	@if ! command -v nvidia-smi >/dev/null && ! ls -d .venv/lib/*/site-packages/torch >/dev/null 2>&1; then \
	echo "No NVIDIA GPU is seen here, and on Linux torch usually brings gigabytes of CUDA. Without them:"; \
	echo "  PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make setup"; fi
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	@touch $@

.PHONY: setup
setup: .venv/installed ## install into .venv, versions as in constraints.txt

# Flower wants older versions of what others want newer: it and Ray lie in front of the rest.
.venv-flower/installed: .venv/installed bench/peers/constraints.txt
	$(PYTHON) -m venv .venv-flower
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' > \
	  "$$(.venv-flower/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/rest.pth"
	.venv-flower/bin/python -m pip install --disable-pip-version-check -q -c bench/peers/constraints.txt 'flwr[simulation]'
	@touch $@

.PHONY: test-flower
test-flower: .venv-flower/installed ## test Flower's strategies, in a real simulation
	FLWR_TELEMETRY_ENABLED=0 .venv-flower/bin/python -m pytest -p no:cacheprovider tests/flower

# Ray, which few need, lies in front of the rest.
.venv-ray/installed: .venv/installed
	$(PYTHON) -m venv .venv-ray
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' > \
	  "$$(.venv-ray/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/rest.pth"
	.venv-ray/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt ray
	@touch $@

.PHONY: test-ray
test-ray: .venv-ray/installed ## test what runs cells and rounds on Ray, on a cluster of this machine
	OMP_NUM_THREADS=1 .venv-ray/bin/python -m pytest -p no:cacheprovider -n 2 --dist loadscope \
	  tests/run/test_ray_executor.py tests/engine/test_ray.py

.PHONY: benchmark
benchmark: setup ## partition, run the default suite, rank: resumes where it stopped
	@$(call repro,leaderboard)

.PHONY: tune
tune: setup ## tune the attacker against the defenses of params.yaml, rank again: resumes too
	@$(call repro,tune leaderboard)

.PHONY: partition
partition: setup ## divide the data of params.yaml among users, as a DVC stage
	dvc repro partition

.PHONY: leaderboard
leaderboard: setup ## rank what the suite has recorded (SUITE=name)
	python -m benchmark leaderboard $(SUITE)

.PHONY: params
params: setup ## write params.yaml from conf/
	python -m benchmark params $(SUITE)

.PHONY: reproduce
reproduce: setup ## run the paper's experiments and judge its claims (PROFILE=quick, qmnist or paper)
	python -m benchmark reproduce $(PROFILE)

REPORT := docs/reproduction
.PHONY: reproduction-report
reproduction-report: setup ## write docs/reproduction.md and .html again, from the committed records
	python -m benchmark report $(REPORT)/qmnist.json.gz --discussion $(REPORT)/discussion.md --out docs

.PHONY: ui
ui: setup ## open the MLflow UI on what was recorded, at 127.0.0.1:5000
	@echo "open http://127.0.0.1:$${PORT:-5000}/#/experiments/1?workflowType=machine_learning"
	mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" --host 127.0.0.1 --port $${PORT:-5000}

STORAGE := sqlite:///results/tuning.db
.PHONY: dashboard
dashboard: setup ## open optuna-dashboard on the studies, at 127.0.0.1:8080 (PORT=..., STORAGE=URL)
	@if [ "$(STORAGE)" = sqlite:///results/tuning.db ] && [ ! -e results/tuning.db ]; then \
	echo "no study yet: make tune, or python -m benchmark tune attack" >&2; exit 2; fi
	optuna-dashboard "$(patsubst journal:///%,%,$(STORAGE))" --host 127.0.0.1 --port $${PORT:-8080}

.PHONY: test
test: setup ## the quick tests, about 6 minutes on 2 cores
	OMP_NUM_THREADS=1 pytest -n auto --dist loadfile

.PHONY: test-slow
test-slow: setup ## the tests marked slow: science, kill-and-resume, browser
	OMP_NUM_THREADS=1 pytest -m slow -n 2 --dist loadfile --no-loadscope-reorder \
	  $$(grep -rl "mark\.slow" --include="test_*.py" tests)

.PHONY: bench
bench: setup ## time the engines, and what a round costs around them: about half an hour on 2 cores
	python -m bench

PEERS := bench/peers/.venv
$(PEERS)/installed: bench/peers/constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --disable-pip-version-check -q -c $< 'pfl[pytorch]' 'flwr[simulation]'
	$(PEERS)/bin/python -m pip install --disable-pip-version-check -q -c $< --no-deps byzfl
	@touch $@

.PHONY: bench-peers
bench-peers: setup $(PEERS)/installed ## time pfl and flwr beside our engine, on the same work
	python -m bench.peers.compare

.PHONY: lint
lint: setup ## ruff: lint and format; import-linter: the layers of the house
	ruff check .
	ruff format --check .
	lint-imports

.PHONY: typecheck
typecheck: setup ## mypy
	mypy

.PHONY: clean
clean: ## remove caches; results, data and tracking stay
	rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -not -path '*/.venv/*' -prune -exec rm -rf {} +
