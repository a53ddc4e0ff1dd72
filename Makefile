# Everything works on a fresh machine with Python 3.11 or newer: each target makes what it needs first.
#   PYTHON=python3.12 make demo     another Python
#   JOBS=8 make test                more processes for the tests
#   make test ARGS="-k cache"       what pytest is to do

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
JOBS ?= 2
ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
READY := .venv/.ready
READY_TO_TEST := .venv/.ready-to-test

# Two test processes share two cores; a torch that starts a thread per core in each of them is slower, not faster.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint types check format soak bench docs tiny-model clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(READY)  ## Repaint a sketch, enlarge it, sign it: offline, on the CPU, with the built-in model
	$(BIN)/darkroom run workflows/img2img_upscale.yaml

test: lint types  ## Run the linter, the type checker and every test that is not slow
	$(PYTEST) -n $(JOBS) -q $(ARGS)

check: lint types  ## Before a commit: linter, formatter, types and the tests of the architecture
	$(BIN)/ruff format --check --quiet .
	$(PYTEST) -q tests/test_floors.py tests/test_light_imports.py tests/test_packaging.py

lint: $(READY_TO_TEST)
	$(BIN)/ruff check --quiet .

types: $(READY_TO_TEST)
	$(BIN)/mypy

format: $(READY_TO_TEST)  ## Lay out the source and sort its imports
	$(BIN)/ruff check --quiet --select I --fix .
	$(BIN)/ruff format --quiet .

soak: $(READY_TO_TEST)  ## Run the slow tests
	$(PYTEST) -q -m slow $(ARGS)

bench: $(READY_TO_TEST)  ## Measure, and print the tables of benchmarks/
	@$(PIP) install --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(READY)  ## Write docs/nodes.md anew from the nodes
	$(BIN)/darkroom nodes --markdown > docs/nodes.md.new
	mv docs/nodes.md.new docs/nodes.md

tiny-model: $(READY_TO_TEST)  ## Train the built-in model anew (hours on a CPU)
	$(BIN)/python -m training $(ARGS)

clean:  ## Remove what was installed and built; outputs and the cache stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Darkroom needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { \
		rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment (on Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "installing Darkroom and what it needs into .venv (some minutes the first time)"
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(READY_TO_TEST): $(READY)
	@echo "installing what the tests need into .venv"
	@$(PIP) install --constraint constraints.txt --editable '.[test,check]'
	@# It asks for torch and another build of OpenCV; the tests need its transforms alone.
	@$(PIP) install --constraint constraints.txt --no-deps invisible-watermark
	@touch $@
