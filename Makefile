# Two commands do everything: `make demo` and `make test`. Both make their own environment in .venv;
# `make PYTHON=python3.12 test` picks another interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: install demo docs test test-long fuzz gpu lint types audit sbom clean

install: $(READY)

# Reinstalled only when what is to be installed has changed.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/python examples/demo.py --out demo-output

# The documentation as HTML in docs/_build; a warning is an error.
docs: $(READY)
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build

test: lint types
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "not long"

# What takes a minute or so each: the demo, the documentation, runs that are ended and begun again, processes started anew.
test-long: $(READY)
	$(BIN)/python -m pytest -q -m long

# Damaged files of every format, each read or refused by name; 500 of them are in `make test`. About ten minutes.
fuzz: $(READY)
	$(BIN)/python -m tests.fuzz.run --cases 20000

# Everything that a GPU is for, in one call of a few minutes; without one, a small rehearsal on the CPU.
gpu: $(READY)
	$(BIN)/python examples/benchmarks/gpu.py --out gpu.json

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# mypy cannot follow the editable install's mapping of the root folders into the namespace; links can.
types: $(READY)
	mkdir -p $(VENV)/types/graftwork
	ln -sfn $(CURDIR)/core $(CURDIR)/imaging $(CURDIR)/audio $(VENV)/types/graftwork/
	MYPYPATH=$(VENV)/types $(BIN)/python -m mypy

# Known vulnerabilities of what is installed; asks the package index.
audit: $(READY)
	@$(BIN)/python -m pip_audit --version >/dev/null 2>&1 || \
	  { echo "pip-audit is not here: $(BIN)/python -m pip install pip-audit" >&2; exit 1; }
	$(BIN)/python -m pip_audit --skip-editable || \
	  { echo "vulnerabilities were found, or the index could not be asked: see above" >&2; exit 1; }

# What is installed, as a CycloneDX bill of materials.
sbom: $(READY)
	@$(BIN)/python -m cyclonedx_py --version >/dev/null 2>&1 || \
	  { echo "cyclonedx-bom is not here: $(BIN)/python -m pip install cyclonedx-bom" >&2; exit 1; }
	$(BIN)/python -m cyclonedx_py environment $(BIN)/python --output-format JSON --output-file sbom.json

clean:
	rm -rf $(VENV) demo-output docs/_build
