# Everything runs from .venv, which the targets make themselves; python3 (>= 3.11) and make suffice.
# Installs go through constraints.txt, so that a fresh clone gets the versions the tests ran with.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The stamps lie inside the environment: without it they are gone too.
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
DOCS := $(VENV)/.docs-installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint docs notebooks wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(RUNTIME) ## make 200 molecules with many rings: demo/molecules.csv and demo/molecules.png
	mkdir -p demo
	$(BIN)/moldiff generate qm9 -n 200 --target ring_count=high --scale 3 --seed 0 \
		--out demo/molecules.csv --grid demo/molecules.png

test: $(DEV) ## run the whole test suite
	$(BIN)/pytest

lint: $(DEV) ## ruff (rules and format) and mypy (strict)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(DOCS) ## build the site, build/site; every warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# A new kernel may take its time on a busy machine. Times of execution would differ at each run.
notebooks: $(DOCS) ## run the notebooks in examples/ and keep what they print
	$(BIN)/jupyter nbconvert --execute --to notebook --inplace --ExecutePreprocessor.startup_timeout=300 \
		--ExecutePreprocessor.record_timing=False examples/*.ipynb

wheel: $(DEV) ## build the sdist, and from it the wheel, into dist/
	$(BIN)/python -m build --no-isolation --outdir dist

clean: ## remove what the other targets wrote; .venv stays
	rm -rf build demo dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -type d -name __pycache__ -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"moldiff needs Python 3.11 or newer, this is " + sys.version.split()[0] + \
		": make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -c constraints.txt -e .
	touch $@

$(DEV): $(RUNTIME)
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@

$(DOCS): $(RUNTIME)
	$(BIN)/python -m pip install -c constraints.txt -e '.[docs]'
	touch $@
