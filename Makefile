# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
.PHONY: demo test lint install containers
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin

demo: install
	$(RUN)/python examples/demo.py

test: install
	$(RUN)/python -m pytest -n 2 --dist loadfile $(TESTS)

# Needs root, podman, buildah, crun, netavark, aardvark-dns, iptables, mmdebstrap and iproute2; says what is missing, and skips.
containers: install
	$(RUN)/python -m pytest -m containers tests/containers

lint: install
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports

install: $(VENV)/.installed

# The lock names every package with its hash; --no-deps keeps out what two packages ask for and nothing here needs.
$(VENV)/.installed: requirements-development.lock pyproject.toml scripts/check_python.py
	$(PYTHON) scripts/check_python.py
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-development.lock
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
