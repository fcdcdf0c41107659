PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
# Tests run in so many processes of one thread each.
WORKERS ?= 2
INSTALL := $(PIP) install --quiet --constraint constraints.txt

.PHONY: demo test test-gpu lint clean

demo: $(VENV)/.runtime
	$(VENV)/bin/lensloc demo

test: $(VENV)/.dev lint
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal

test-gpu: $(VENV)/.dev
	CUDA_VISIBLE_DEVICES=$${CUDA_VISIBLE_DEVICES:-0} $(VENV)/bin/python -m pytest tests/test_gpu.py

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

clean:
	rm -rf $(VENV)

# A stamp is written only after its installation succeeded, so an interrupted one is done again.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "lensloc needs Python 3.10 or newer; set PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# torch first: what comes later is then satisfied by it and fetches no other build.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --upgrade pip
	$(INSTALL) torch
	$(INSTALL) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(INSTALL) --editable '.[dev]'
	touch $@
