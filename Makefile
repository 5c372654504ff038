# Each target does its own set-up: Python 3.11 or later with venv, make and a package index are all it needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
TESTS  ?= tests
# What the tests of a file share is made once: they stay in one process, in the order of `tests/conftest.py`.
SPREAD := -n auto --dist loadfile --no-loadscope-reorder
SECONDS ?= 60
MINUTES ?= 10
# Of the tests hundreds of processes begin: without bytecode, each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check

# Both check every file's digest. uv takes seconds where pip takes a minute, but knows nothing of how pip is set up. What
# its cache unpacked before it would take as it is, and share with every other environment.
define install
@$(BIN)/uv pip install -q --no-cache --compile-bytecode --python $(BIN)/python --require-hashes $(1) 2>/dev/null || $(PIP) --require-hashes $(1)
endef

.PHONY: image image-demo boots demo test check style covered again compilers bench evaluation components docs fuzz saturation lock clean help

help:
	@echo "make demo        three organisations, one guest, real data, on this machine"
	@echo "make test        the default test suite"
	@echo "make check       what CI runs: style, types, import contracts, tests with coverage"
	@echo "make bench       what it costs, as ratios measured in one run"
	@echo "make evaluation  the paper's benchmarks, natively and in both layers; REDUCED=1, LABEL=snp"
	@echo "make components  build the example components again and compare the bytes"
	@echo "make image       the guest's image, from locked packages, into build/image"
	@echo "make image-demo  the demo, with the guest in a machine that is booted here (QEMU)"
	@echo "make boots       what takes a boot of the machine for each case: resets in every state, clocks, devices, ... (up to an hour)"
	@echo "make fuzz        every parser, for SECONDS=60"
	@echo "make saturation  two replicas of the verifier at saturation, with failures, for MINUTES=10"

demo: $(VENV)/.run
	@$(BIN)/twocvm demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(SPREAD) $(TESTS)

check: style covered

style: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

covered: $(VENV)/.dev
	rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run -m pytest $(SPREAD) $(TESTS) || { [ $$? = 1 ] && $(MAKE) --no-print-directory again; }
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m tools.coverage_floors

# A shared machine pauses where a test does not expect it. What failed is said, and has to hold by itself. Where pytest
# ended with anything but 1, tests were never run, and there is no second time.
again:
	@echo "run once more, each by itself: what failed above"
	$(BIN)/python -m coverage run -m pytest --last-failed --last-failed-no-failures none $(TESTS)

# In one process: resets follow each other in one machine.
boots: $(VENV)/.dev
	TWOCVM_BOOTS=all $(BIN)/python -m pytest tests/attack/test_machine_host.py tests/integration/test_machine_boots.py \
		tests/integration/test_machine_devices.py

bench: $(VENV)/.dev
	$(BIN)/python -m bench

# What builds components of each language.
compilers: $(VENV)/.dev
	$(call install,--no-deps -r tools/components/requirements.txt)

# Whatever cannot be had leaves its columns empty, with the reason.
evaluation: $(VENV)/.dev
	$(call install,--no-deps -r tools/components/requirements.txt) || true
	$(BIN)/python -m bench.evaluation run $(if $(REDUCED),--reduced) $(if $(LABEL),--label $(LABEL))

components: compilers
	$(BIN)/python -m tools.build_components
	git diff --exit-code -- examples

image: $(VENV)/.run
	$(BIN)/twocvm image build --out build/image --cache build/image/packages
	@for variant in production development; do $(BIN)/twocvm image list --check build/image/$$variant || exit; done

image-demo: image
	$(BIN)/twocvm demo --image build/image/development

docs: $(VENV)/.dev
	$(BIN)/python -m tools.codes_page
	$(BIN)/python -m tools.settings_table
	$(BIN)/python -m tools.session_diagram
	$(BIN)/python -m tools.session_model

# atheris is in no lock; where it cannot be had, nothing is fuzzed, and that is said.
fuzz: $(VENV)/.dev
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install -q --disable-pip-version-check atheris || true
	$(BIN)/python -m tools.fuzz --seconds $(SECONDS)

# Needs haproxy and a Redis.
saturation: $(VENV)/.dev
	$(BIN)/python -m tools.saturation --minutes $(MINUTES)

# The locks are universal (Python 3.11 to 3.14) and carry every file's hash.
lock: $(VENV)/.dev
	$(BIN)/python -m pip install -q uv
	echo uv | $(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --no-annotate - -o requirements/uv.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --extra all --group run pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --extra all --group dev -c requirements/run.txt pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile -q --python-version 3.11 --python-platform x86_64-manylinux_2_36 --no-annotate --generate-hashes --no-header --group image -c requirements/run.txt -o guest/twocvm_guest/image/lock/wheels.txt
	$(BIN)/python -m tools.lock_image wheels

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python has no venv here; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --no-deps --only-binary :all: --require-hashes -r requirements/uv.txt 2>/dev/null || true

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing the locked packages ..."
	$(call install,-r requirements/run.txt)
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo "installing the locked development packages ..."
	$(call install,-r requirements/dev.txt)
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
