PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
# Tests run in so many processes of one thread each.
WORKERS ?= 2
INSTALL := $(PIP) install --quiet --constraint constraints.txt

# What does not wait for one another is made side by side.
MAKEFLAGS += --jobs=2

.PHONY: demo test test-package test-tl4 test-gpu test-brainscore fuzz kills soak browser lint notebooks docs findings clean

demo: $(VENV)/.runtime
	$(VENV)/bin/lensloc demo --overwrite

test: $(VENV)/.dev lint browser
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --nbmake \
	  -n $(WORKERS) --dist worksteal notebooks lensloc tests

# TransformerLens 4 stands in front of the other one, and everything else is shared. It has no
# HookedTransformer: what is run here is for bridges and plain models, or for any.
test-tl4: $(VENV)/.tl4
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/$(VENV)/tl4 \
	  $(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal -m "not hooked" \
	  tests/models/test_kinds.py tests/models/test_versions.py tests/lesions \
	  tests/tasks/test_decoding.py

test-gpu: $(VENV)/.dev
	CUDA_VISIBLE_DEVICES=$${CUDA_VISIBLE_DEVICES:-0} $(VENV)/bin/python -m pytest tests/test_gpu.py

# What docs/reliability.md tells of. One kind of file: make fuzz FUZZ='--only gguf'
fuzz: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python tests/fuzz --mutants 10000 $(FUZZ)

kills: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python tests/fuzz/kills.py --kills 100 --at-steps 50

soak: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python tests/fuzz/soak.py --rounds 1000

# brain-score needs older transformers and numpy than lensloc, so it has an environment of its own.
BRAINSCORE := .venv-brainscore
test-brainscore: $(VENV)/.runtime $(BRAINSCORE)/.installed
	$(VENV)/bin/python tests/brainscore/write_mask.py $(BRAINSCORE)/brainio
	BRAINIO=$(BRAINSCORE)/brainio $(BRAINSCORE)/bin/python tests/brainscore/read_mask.py

$(BRAINSCORE)/.installed:
	$(PYTHON) -m venv $(BRAINSCORE)
	$(BRAINSCORE)/bin/python -m pip --disable-pip-version-check install --quiet \
	  brainscore-language==2.3.0
	touch $@

# Pages are tested in Chromium, which Debian packages; without it, those tests are skipped.
browser:
	@if [ -n "$$(command -v chromium || command -v chromium-browser || command -v google-chrome)" ]; \
	then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	  echo "Installing Debian's chromium, for tests of pages"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	      --no-install-recommends chromium; } >/dev/null 2>&1 \
	    || echo "chromium could not be installed; tests of pages will be skipped"; \
	else echo "No Chromium or Chrome; tests of pages will be skipped"; fi

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# Runs the notebooks and keeps their outputs. Needs Chromium or Chrome, which draws the figures.
notebooks: $(VENV)/.dev
	$(INSTALL) --editable '.[png]' pillow
	OMP_NUM_THREADS=1 $(VENV)/bin/python notebooks/refresh.py

# The documentation as a site, which opens offline: site/index.html
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict

# The distributions, checked, and the wheel in an empty environment that has what it declares.
test-package: $(VENV)/.package
	rm -rf dist
	$(VENV)/bin/python -m build
	$(VENV)/bin/twine check --strict dist/*
	$(PYTHON) -m venv --clear $(VENV)/empty
	$(VENV)/empty/bin/python -m pip --disable-pip-version-check install --quiet \
	  --constraint constraints.txt dist/*.whl
	cd $(VENV) && empty/bin/lensloc stimuli list && empty/bin/lensloc models list pythia-70m
	cd $(VENV) && empty/bin/python -c "import lensloc as ll; print(ll.contrasts.language())"

# The figures of README and docs, printed again; takes hours. One section: make findings SECTIONS=published
findings: $(VENV)/.dev
	HF_HUB_OFFLINE=1 $(VENV)/bin/python tests/benchmarks/findings.py $(SECTIONS)

# Pages are made from what is written; nothing of lensloc is imported.
$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) mkdocs-jupyter mkdocs-material 'mkdocstrings[python]'
	touch $@

$(VENV)/.package: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) build twine
	touch $@

$(VENV)/.tl4: $(VENV)/.dev
	$(PIP) install --quiet --no-deps --upgrade --target $(VENV)/tl4 'transformer-lens>=4,<5'
	touch $@

clean:
	rm -rf $(VENV) $(BRAINSCORE)

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
