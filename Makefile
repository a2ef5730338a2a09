# hepswitch. Needs Python 3.11 or newer, a C compiler and make; everything else comes into .venv.

PYTHON ?= python3
COUNT ?= 100000
BIN := .venv/bin
CORE := $(shell find src/hepswitch -name '*.pyx' -o -name '*.pxd')
CHECKED := src tests benchmarks examples docs tools fuzz setup.py

.PHONY: help build run demo test lint docs screenshots site bench mustshow sanitize clean

help:
	@echo 'make demo        a switch, a bundled capture of real calls, the books and a ladder'
	@echo 'make run         the switch with zero configuration: HEP on 127.0.0.1:9060, a lake in ./captures'
	@echo 'make build       .venv with hepswitch and its tools'
	@echo 'make test        everything that must pass'
	@echo 'make lint        the part of it that runs no tests'
	@echo 'make bench       measure against a bare forwarder, write docs/performance.md and the table in docs/scaling.md'
	@echo 'make mustshow    the promises under load: nothing lost, nothing doubled'
	@echo 'make sanitize    fuzz the core built with AddressSanitizer and UBSan (COUNT=$(COUNT))'
	@echo 'make docs        write the generated reference pages again'
	@echo 'make screenshots take the pictures of docs/tutorial.md again (chromium, pngquant)'
	@echo 'make site        the documentation as a site, in build/site'
	@echo 'make clean       remove what was built'

# The environment: made again when its inputs change.
.venv/.installed: pyproject.toml tools/venv.sh
	@PYTHON='$(PYTHON)' sh tools/venv.sh

# The Cython core, in place: only what changed is compiled.
.venv/.built: .venv/.installed setup.py $(CORE)
	@echo 'building the core …'
	@mkdir -p build && $(BIN)/python setup.py --quiet build_ext --inplace --parallel $$(nproc) >build/core.log 2>&1 || { cat build/core.log; exit 1; }
	@touch $@

build: .venv/.built

run: build
	@exec $(BIN)/hepswitch run

demo: build
	@exec $(BIN)/python examples/demo.py

lint: build
	@$(BIN)/ruff check --quiet $(wildcard $(CHECKED))
	@$(BIN)/ruff format --check --quiet $(wildcard $(CHECKED)) || { $(BIN)/ruff format --check $(wildcard $(CHECKED)); exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache >build/imports.log || { cat build/imports.log; exit 1; }

# The sources are compiled once: else each of the hundreds of processes that the tests start may do it again.
test: lint
	@sh tools/debian.sh
	@$(BIN)/python -m compileall -q src
	@$(BIN)/pytest -q -n auto --dist loadfile --no-loadscope-reorder --reruns 1

docs: build
	@$(BIN)/python docs/generate.py

screenshots: build
	@PYTHONPATH=examples $(BIN)/python docs/screenshots.py

site: build
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bench: build
	@$(BIN)/python benchmarks/run.py
	@$(BIN)/python benchmarks/stores.py
	@$(BIN)/python benchmarks/streams.py

mustshow: build
	@$(BIN)/python benchmarks/mustshow.py

sanitize: build
	@COUNT='$(COUNT)' sh fuzz/sanitize.sh

clean:
	@rm -rf .venv build dist src/*.egg-info src/build .bench .demo .sanitize .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find src -name '*.so' -delete -o -name '__pycache__' -prune -exec rm -rf {} +
	@for source in $$(find src -name '*.pyx'); do rm -f "$${source%.pyx}.c"; done
