# Everything runs from .venv, which the targets make themselves; python3 (>= 3.11) and make suffice.
# Installs go through constraints.txt, so that a fresh clone gets the versions the tests ran with.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The stamps lie inside the environment: without it they are gone too.
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
DOCS := $(VENV)/.docs-installed

comma := ,

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint docs notebooks wheel study study-small study-forms scaling clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(RUNTIME) ## make 200 molecules with many rings: demo/molecules.csv and demo/molecules.png
	mkdir -p demo
	$(BIN)/moldiff generate qm9 -n 200 --target ring_count=high --scale 3 --seed 0 \
		--out demo/molecules.csv --grid demo/molecules.png

test: $(DEV) ## run the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4

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

# A run that is in runs/study is not repeated, so both go on where they stopped. The models have to be there
# (docs/study.md). STUDY_ARGS adds options, such as --device cuda; STUDY_HELDOUT is --heldout FILE.
STUDY_ARGS ?=
STUDY_HELDOUT ?=
STUDY_COMPARED ?= mdlm,remdm,proseco,remdm-proseco,udlm,self-correct,ar
STUDY_METHODS ?= ar,udlm,mdlm,remdm,proseco,remdm-proseco,self-correct
STUDY_GUIDANCE ?= cfg,cbg
STUDY_RUNS ?= runs/study-small

# Takes the steps, the samples and seeds of a run, and the folder.
define run_study
	for property in ring_count qed; do \
		$(BIN)/moldiff pareto --property $$property --methods $(STUDY_METHODS) --guidance $(STUDY_GUIDANCE) \
			--scales 1..5 --steps $(1) $(2) --published --protocol upstream --out $(3)/$$property $(STUDY_ARGS) || exit; \
	done
	$(BIN)/moldiff compare --methods $(STUDY_COMPARED) --property ring_count --guidance none,cfg --scales 2 \
		--steps 8,16,32,64,128 $(2) $(STUDY_HELDOUT) --out $(3)/compare $(STUDY_ARGS)
	$(BIN)/python benchmarks/study_page.py $(3)
endef

study: $(RUNTIME) ## the study on QM9, all of it: runs/study, docs/results/study.md
	$(call run_study,32$(comma)64$(comma)128,--num 1024 --seeds 5,runs/study)

study-small: $(RUNTIME) ## the same for 2 cores: 256 molecules, 3 seeds, T = 32 and 128
	$(call run_study,32$(comma)128,--num 256 --seeds 3,runs/study-small)

study-forms: $(RUNTIME) ## token choice beside the papers' classifier guidance: STUDY_RUNS/forms
	$(BIN)/moldiff pareto --settings benchmarks/study-forms.yaml --methods token,token-pruned,first-order \
		--guidance cbg --scales 0,1,3,5 --steps 32 --num 256 --seeds 3 --out $(STUDY_RUNS)/forms
	$(BIN)/moldiff pareto --settings benchmarks/study-forms.yaml --methods exact \
		--guidance cbg --scales 1,3 --steps 32 --num 64 --seeds 3 --out $(STUDY_RUNS)/forms-exact
	$(BIN)/python benchmarks/study_page.py $(STUDY_RUNS)

# The corpus of the text models is the reader's: make scaling TEXT=FILE.
TEXT ?=
scaling: $(RUNTIME) ## quality against steps, images and (with TEXT=corpus.txt) text: runs/scaling
	$(BIN)/python benchmarks/scaling.py --out runs/scaling $(if $(TEXT),--text $(TEXT),--only images)

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
