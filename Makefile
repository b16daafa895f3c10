# Every target makes the environment it needs. `make demo` and `make test` work on a fresh machine.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Real data for the tests and the committed records: a folder with coco/, lvis/, bsds500/, ...
DATA ?= $(or $(LITESAM_BENCH_DATA),$(wildcard ../shared/data))

.PHONY: help demo test lint types bench tables clean

help: ## this text
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

# Pinned versions (constraints.txt) make a fresh environment the tested one.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# FastSAM and YOLOv8 are tested too, which no other target installs.
$(VENV)/.ready-to-test: $(VENV)/.ready
	@echo "for the tests of FastSAM and YOLOv8: installing ultralytics, which is AGPL-3.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ultralytics]'
	touch $@

demo: $(VENV)/.ready ## zero-shot table of every weightless system and Lite-SAM on embedded scenes
	$(BIN)/litesam-bench zeroshot --results build/demo

test: $(VENV)/.ready-to-test ## all tests; those that need real data, weights or a GPU skip with a reason
	LITESAM_BENCH_DATA=$(DATA) $(BIN)/python -m pytest -n auto

lint: $(VENV)/.ready ## ruff: lint and format check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready ## mypy, strict
	$(BIN)/mypy

bench: $(VENV)/.ready ## speeds as ratios against a peer in the same run
	$(BIN)/python -m litesam_bench.bench

tables: $(VENV)/.ready ## regenerate every table and figure from the records
	$(BIN)/litesam-bench report

clean: ## remove the environment and build products
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
