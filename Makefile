# Each target is a line that calls a tool of the project's own environment, .venv, which the first one makes.
PYTHON ?= python3
PY := .venv/bin/python
export PARLEY_PORT ?= 4566

STAGE ?= dev
MINUTES ?= 30

.PHONY: up down reset logs test check mutants soak audit bench synth deploy

up: .venv/.ready        ## start the local AWS, deploy to it, say how to call it
	@$(PY) -m ops.local up

down: .venv/.ready      ## stop the local AWS, keep what it holds
	@$(PY) -m ops.local down

reset: .venv/.ready     ## stop the local AWS, wipe what it holds
	@$(PY) -m ops.local reset

logs: .venv/.ready      ## follow the functions' logs
	@.venv/bin/parley logs

test: .venv/.ready      ## everything: style, types, tests of functions, faults, histories, templates, an upgrade, end-to-end tests
	@$(PY) -m ops.check all

check: .venv/.ready     ## the same without the end-to-end run
	@$(PY) -m ops.check fast

mutants: .venv/.ready   ## known wrong versions of the code, each of which a test has to notice
	@$(PY) -m tests.mutants

soak: .venv/.ready      ## random histories and HTTP clients with containers killed, MINUTES=30 unless said otherwise
	@$(PY) -m ops.check soak --minutes $(MINUTES)

audit: .venv/.ready     ## what is known against the versions that the functions run on; needs a vulnerability service
	@$(PY) -m infra.audit

bench: .venv/.ready     ## measures cost, start-up, CPU, latency and growth; writes docs/benchmarks.md and its plots; less than 15 minutes
	@.venv/bin/uv run --frozen --group bench python -m ops.bench

synth: .venv/.ready     ## the CloudFormation template of a stage, STAGE=dev unless said otherwise, to cdk.out; needs no AWS account
	@$(PY) -m ops.cdk synth --quiet -c stage=$(STAGE)

deploy: .venv/.ready    ## the checks, then cdk deploy of a stage to the AWS of your profile
	@$(PY) -m ops.deploy $(STAGE)

.venv/.ready: uv.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) here; Parley needs Python 3.11 or newer: make up PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) ops/bootstrap.py
