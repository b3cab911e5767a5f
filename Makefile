# Where images come from: auto, official, or packages (built from Debian's packages)
IMAGES ?= auto
ROLE ?=
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)/tools
export MINIWEB_IMAGES := $(IMAGES)

.PHONY: help setup up down status test soak test-quick test-role lint unit bench bench-settings bench-tool bench-monitoring bench-transfers \
	dashboards docs screenshots clean-cache

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: .venv/ready  ## Create only the virtual environment, to deploy to your own server

up: .venv/ready  ## Start the sandbox server and deploy the whole system to it
	@$(BIN)/python -m sandbox up --source $(IMAGES)

down: .venv/ready  ## Remove every trace of the sandbox
	@$(BIN)/python -m sandbox down

status: .venv/ready  ## Show what is running
	@$(BIN)/python -m sandbox status

test: .venv/ready  ## Run every test: lint, unit, sanity, each role, the whole system
	@$(BIN)/python -m sandbox prepare --source $(IMAGES) --scenario role
	@$(BIN)/python -m pytest -v -n 2 --dist loadgroup --no-loadscope-reorder --durations=30 \
		tests/scenarios $(filter-out tests/scenarios,$(wildcard tests/*))

soak: .venv/ready  ## Run the long tests that `make test` leaves out, with the scenarios they belong to (about 90 minutes)
	@$(BIN)/python -m sandbox prepare --source $(IMAGES) --scenario role
	@MINIWEB_MARKS="soak or not soak" $(BIN)/python -m pytest -v -n 2 --dist loadgroup --no-loadscope-reorder --durations=30 \
		tests/scenarios/test_scenarios.py
	@cat .sandbox/memory

test-quick: .venv/ready  ## Run the tests that need no container, in about 4 minutes: linters, unit tests, alert rule tests
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal tests/lint/test_lint.py tests/unit tests/doubles tests/rules/test_cases.py

test-role: .venv/ready  ## Run one role's scenario: make test-role ROLE=nginx
	@test -n "$(ROLE)" || { echo "ROLE is empty: name a role, for example make test-role ROLE=nginx."; exit 2; }
	@$(BIN)/molecule test --scenario-name $(ROLE)

lint: .venv/ready  ## Run only the linters, ansible-test sanity and galaxy-importer
	@$(BIN)/python -m pytest tests/lint

unit: .venv/ready  ## Run only the unit tests
	@$(BIN)/python -m pytest tests/unit

bench: .venv/ready  ## Compare the application with a plain one under load (about 27 minutes)
	@$(BIN)/python -m bench --source $(IMAGES)

bench-settings: .venv/ready  ## Compare the role's settings for an application with fast and slow pages (about 10 minutes)
	@$(BIN)/python -m bench_settings --source $(IMAGES)

bench-tool: .venv/ready  ## Measure the playbooks beside a ping and docker compose; recreates the sandbox's services and data
	@$(BIN)/python -m bench_tool

dashboards: .venv/ready  ## Generate Grafana's dashboards from roles/*/dashboards
	@$(BIN)/python -m dashboards

docs: dashboards  ## Generate the dashboards and the tables of variables, roles and alerts
	@$(BIN)/python -m role_docs
	@$(BIN)/python -m monitoring_docs
	@$(BIN)/python -m changelog

bench-monitoring: .venv/ready  ## Measure what monitoring costs in the running sandbox (about 5 minutes)
	@$(BIN)/python -m bench_monitoring

bench-transfers: .venv/ready  ## Measure large uploads and downloads in the running sandbox (about 6 minutes)
	@$(BIN)/python -m bench_transfers

screenshots: .venv/ready  ## Take the screenshots in docs/screenshots from the running sandbox
	@$(BIN)/python -m screenshots

clean-cache:  ## Remove the cached images, so that the next run builds them from current packages
	rm -rf "$${MINIWEB_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/miniweb}"

.venv/ready: $(wildcard requirements*.txt files/webapp/requirements*.txt) roles/ec2_autoscale/files/requirements.txt tools/setup
	@tools/setup
