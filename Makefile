# One short command per intention. Needs Python 3.11 or newer and make; everything else it installs into .venv,
# pinned and checked by the hashes of constraints.txt.

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt --build-constraints constraints.txt
PIN := $(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-annotate \
	--custom-compile-command "make constraints"
COMPILE := $(PIN) --all-extras --group build --group lint --group test --group bench --group examples

# Where this is set, each of the many processes that tests start would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## What there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-12s %s\n", $$1, $$2 }'

.PHONY: demo
demo: $(VENV)/stack ## See it work: start everything, submit handwritten digits, show the answers, stop
	@$(BIN)/python examples/demo.py

.PHONY: up
up: $(VENV)/stack ## Start everything and leave it running; Ctrl-C stops it
	@$(BIN)/penstock up

# Two processes share the tests, which mostly wait; mypy takes the time that they leave: alone, since workers of its own
# must be there within 3 s, which beside tests they are not.
.PHONY: test
test: lint ## Everything CI checks: rules, types, all tests
	@$(MAKE) --no-print-directory --jobs 2 types all-tests

.PHONY: check
check: lint ## The quick part of it, for each commit: rules, types, unit tests, contracts
	@$(MAKE) --no-print-directory --jobs 2 types quick-tests

.PHONY: all-tests quick-tests
all-tests quick-tests: PYTEST := $(BIN)/python -m pytest --numprocesses 2 --no-loadscope-reorder
all-tests: $(VENV)/everything $(VENV)/javascript/node_modules
	$(PYTEST)

quick-tests: $(VENV)/everything
	$(PYTEST) --hypothesis-profile quick tests/contracts tests/unit

.PHONY: chaos
chaos: $(VENV)/everything ## Kill everything, piece by piece, under 50,000 jobs, and count what is lost: nothing
	$(BIN)/python -m tests.acceptance.chaos $(CHAOS)

.PHONY: soak
soak: $(VENV)/everything ## Beset a gateway with silent, slow and greedy clients, and see how honest ones fare
	$(BIN)/python -m tests.acceptance.soak $(SOAK)

.PHONY: outage
outage: $(VENV)/everything ## Have Kafka, Postgres and Valkey hang for a minute each, under 100 submits a second
	$(BIN)/python -m tests.acceptance.chaos.outage $(OUTAGE)

.PHONY: lint
lint: $(VENV)/everything ## Ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: format
format: $(VENV)/everything ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: types
types: $(VENV)/everything ## mypy, strict, tests included
	$(BIN)/mypy .

.PHONY: bench
bench: $(VENV)/everything .penstock/models/minilm .penstock/peers ## Measure, and write benchmarks/README.md; AGAINST=PATH, an older checkout beside it
	$(BIN)/python -m benchmarks --minilm .penstock/models $(if $(AGAINST),--against $(AGAINST)) --write

.PHONY: docs
docs: $(VENV)/everything ## Write the generated pages of docs/ anew
	$(BIN)/python -m tools.configuration
	$(BIN)/python -m tools.metrics

.PHONY: constraints
constraints: $(BIN)/uv ## Pin all dependencies anew; UPGRADE=--upgrade takes newer versions
	$(COMPILE) $(UPGRADE) --output-file constraints.txt pyproject.toml
	$(PIN) $(UPGRADE) --output-file benchmarks/peers/requirements.txt benchmarks/peers/requirements.in

.PHONY: wheel
wheel: $(BIN)/uv ## Build the wheel, into dist/
	@rm -rf dist
	@$(BIN)/uv build --quiet --wheel --build-constraints constraints.txt

.PHONY: clean
clean: ## Remove what was installed and built
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What the main road needs: all roles, ONNX Runtime, the embedded services. No torch.
$(VENV)/stack: pyproject.toml constraints.txt | $(BIN)/uv
	@echo "Installing what the stack needs (once)"
	@$(INSTALL) --compile-bytecode --editable '.[stack]'
	@touch $@

# The rest: torch with its CUDA libraries (5 GB), tests, lints, benchmarks.
$(VENV)/everything: $(VENV)/stack
	@echo "Installing torch and the development tools (once; 5 GB)"
	@$(INSTALL) --editable '.[stack,torch,text,sklearn,export]' --group build --group lint --group test --group bench --group examples
	@touch $@

# What npm brings for tests: clients that nobody here wrote. Where it cannot, the tests say so.
$(VENV)/javascript/node_modules: $(addprefix tests/javascript/,package.json package-lock.json) | $(BIN)/python
	@mkdir -p $(@D) && cp $^ $(@D)
	@if command -v npm > /dev/null; then npm ci --prefix $(@D) --loglevel=error --no-audit --no-fund > /dev/null || rm -rf $@; fi

.penstock/models/minilm: examples/minilm/build.py examples/minilm/model.yaml | $(VENV)/everything
	$(BIN)/python -m examples.minilm.build .penstock/models

# The systems that ours is measured beside, in an environment of their own.
.penstock/peers: benchmarks/peers/requirements.txt | $(BIN)/uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $@
	$(BIN)/uv pip install --quiet --python $@/bin/python --require-hashes -r $<
	@touch $@

$(BIN)/uv: constraints.txt | $(BIN)/python
	@sed -n '/^uv==/,/[^\\]$$/p' constraints.txt > $(VENV)/uv-requirement.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv-requirement.txt
	@touch $@

$(BIN)/python:
	@for python in python3.11 python3.12 python3.13 python3.14 python3 python; do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			exec $$python -m venv $(VENV); \
		fi; \
	done; \
	echo "Penstock needs Python 3.11 or newer" >&2; exit 1
