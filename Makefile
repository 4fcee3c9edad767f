# `make help` lists the targets. One that is not listed there is not supported.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PY := .venv/bin/python
ARGS ?=

# Directories of tests in the order in which a failure says most: quick and exact first, whole machine last.
QUICK := tests/style tests/unit tests/model tests/cext
SLOW := tests/conformance tests/interop tests/integration

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  ARGS="..." is handed to pytest or to the demo; PYTHON=... names the interpreter of .venv.'

setup: ## Debian packages, .venv with pinned versions, the C extension; does nothing the second time
	@.ci/setup

build: setup ## the C extension (part of setup)

check: setup lint ## lint, style, unit, model and C tests: no root, under two minutes; what each commit passes
	$(PY) -m pytest -n auto -m "not minutes" $(QUICK) $(ARGS)

lint: setup ## ruff and mypy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: setup ## ruff rewrites what it can
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

demo: setup ## three tenants share two cards, with every refusal explained; build/demo/report.json
	$(PY) -m tests.demo --out build/demo $(ARGS)

test: setup lint ## every test there is, in one run; skips are listed with their condition
	$(PY) -m pytest $(QUICK) $(SLOW) $(ARGS)

test-style: setup ## layers, doors, documents, exit codes, C warnings
	$(PY) -m pytest tests/style $(ARGS)

test-unit: setup ## one module at a time
	$(PY) -m pytest tests/unit $(ARGS)

test-model: setup ## the proofs of docs/model.md at their smaller scopes: under three minutes
	$(PY) -m pytest -n auto --dist worksteal tests/model tests/cext $(ARGS)

test-cext: setup ## the card word in C: every interleaving of its steps, and threads
	$(PY) -m pytest tests/cext $(ARGS)

prove: setup ## every proof of docs/model.md at its whole scope: under an hour
	VECD_PROVE=1 $(PY) -m pytest -n auto --dist worksteal tests/model tests/cext $(ARGS)

figures: setup ## make the generated parts of docs/ anew
	$(PY) -m tests.model.generate

test-conformance: setup ## one behaviour suite, run against every card driver
	$(PY) -m pytest tests/conformance $(ARGS)

test-integration: setup ## over the real processes
	$(PY) -m pytest tests/integration $(ARGS)

bench-quick: setup ## what the card costs beside the same cipher in process, what a rule and the monitor cost: JSON lines
	$(PY) -m bench.pump --seconds 0.3 $(ARGS)
	$(PY) -m bench.rules --seconds 0.3
	$(PY) -m bench.monitor --seconds 0.3

clean: ## remove build/, the C extension and caches; .venv stays
	rm -rf build vecd/_*.so .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

.PHONY: help setup build check lint format figures demo test test-style test-unit test-model test-cext prove \
	test-conformance test-integration bench-quick clean
