# Where images come from: auto, official, or packages (built from Debian's packages)
IMAGES ?= auto
ROLE ?=
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MINIWEB_IMAGES := $(IMAGES)

.PHONY: help setup up down status test test-role lint unit bench bench-monitoring dashboards docs screenshots clean-cache

help:  ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: .venv/ready  ## Make the virtual environment alone, to deploy to a server of your own

up: .venv/ready  ## Start the sandbox server and deploy the whole system to it
	@PYTHONPATH=tools $(BIN)/python -m sandbox up --source $(IMAGES)

down: .venv/ready  ## Remove every trace of the sandbox
	@PYTHONPATH=tools $(BIN)/python -m sandbox down

status: .venv/ready  ## Say what runs
	@PYTHONPATH=tools $(BIN)/python -m sandbox status

test: .venv/ready  ## Run every test: lint, unit, sanity, each role, the whole system
	@PYTHONPATH=tools $(BIN)/python -m sandbox prepare --source $(IMAGES) --scenario role
	@$(BIN)/python -m pytest -v -n 2 --dist loadgroup --no-loadscope-reorder --durations=30 tests/scenarios tests

test-role: .venv/ready  ## Run one role's scenario: make test-role ROLE=nginx
	@test -n "$(ROLE)" || { echo "ROLE is empty: name a role, for example make test-role ROLE=nginx."; exit 2; }
	@$(BIN)/molecule test --scenario-name $(ROLE)

lint: .venv/ready  ## Run the linters alone
	@$(BIN)/python -m pytest tests/lint

unit: .venv/ready  ## Run the unit tests alone
	@$(BIN)/python -m pytest tests/unit

bench: .venv/ready  ## Compare the application with a plain one under load (about 12 minutes)
	@$(BIN)/python tools/bench.py --source $(IMAGES)

dashboards: .venv/ready  ## Write Grafana's dashboards from roles/*/dashboards
	@PYTHONPATH=tools $(BIN)/python -m dashboards

docs: dashboards  ## Write what is generated: dashboards, tables of variables, roles and alerts
	@$(BIN)/python tools/role_docs.py
	@PYTHONPATH=tools $(BIN)/python tools/monitoring_docs.py

bench-monitoring: .venv/ready  ## Say what monitoring costs in the running sandbox (about 5 minutes)
	@$(BIN)/python tools/bench_monitoring.py

screenshots: .venv/ready  ## Take the pictures in docs/screenshots from the running sandbox
	@$(BIN)/python tools/screenshots.py

clean-cache:  ## Remove the cached images, so that the next run builds them from today's packages
	rm -rf "$${MINIWEB_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/miniweb}"

.venv/ready: requirements.txt files/webapp/requirements.txt files/webapp/requirements-test.txt tools/setup
	@tools/setup
