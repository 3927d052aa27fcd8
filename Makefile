# Each target does all of its own set-up, and a second run finds it done.

VENV ?= .venv
BENCH_VENV ?= .venv-bench
PYTEST_ARGS ?=
# Tests mostly wait, for processes and clocks; with three of them at once two cores are
# busy.  A class or a module stays in one process, with the servers that it starts.
TEST_JOBS ?= 3

# A caller's own Django project is none of the demo's business.
unexport DJANGO_SETTINGS_MODULE

# The shell finds programs in an environment without PATH, but Python not itself.
PATH ?= /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

BIN := $(abspath $(VENV))/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test coverage soak faults lint format types docs bench-quick bench-layers bench-settling bench-instructions demo-picture programs clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

demo: $(VENV)/made-run ## serve the example site on http://127.0.0.1:8000/
	@cd demo && $(BIN)/python manage.py migrate --verbosity 0
	@cd demo && exec $(BIN)/twistd --nodaemon --pidfile= chanserv --settings=demo_site.settings

test: programs ## run the tests (PYTEST_ARGS="-k name" for some of them)
	$(BIN)/python -m pytest --numprocesses=$(TEST_JOBS) --dist=loadscope $(PYTEST_ARGS)

coverage: programs ## run the tests and say which lines and branches they miss
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

soak: programs ## hold the load tests for a minute each, not for seconds
	CHANSERV_SOAK_SECONDS=60 $(BIN)/python -m pytest -m load -s $(PYTEST_ARGS)

faults: programs ## break the layers' stores under ten times the load, and print what it costs
	CHANSERV_FAULTS_FACTOR=10 $(BIN)/python -m pytest -s tests/faults $(PYTEST_ARGS)

# What the tests use besides Python's packages.  Redis' server is asked for by the name that
# it has in redis-tools: the package redis-server would also start it, on its well-known
# port.  The last line starts the program by which Playwright drives the browser; all that a
# bare Debian lacks for it is this library.  Proxies are unpacked and not installed: their
# packages would start them, too.
programs: $(VENV)/made-test $(VENV)/made-third-party $(VENV)/made-checkers
	@tools/need-programs chromium curl wrk
	@command -v h2load >/dev/null || tools/need-packages "the tests load HTTP/2" nghttp2-client
	@tools/unpack-programs $(abspath $(VENV))/programs haproxy nginx
	@command -v systemd-analyze >/dev/null && command -v systemd-socket-activate >/dev/null || \
		tools/need-packages "the tests let systemd read its units" systemd
	@command -v redis-server >/dev/null || command -v redis-check-rdb >/dev/null || \
		tools/need-packages "the tests start Redis servers" redis-tools
	@$(BIN)/playwright --version >/dev/null 2>&1 || \
		tools/need-packages "Playwright's driver does not start" libatomic1

lint: $(VENV)/made-dev ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/made-dev ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/made-dev ## mypy, strict
	$(BIN)/mypy

docs: $(VENV)/made-dev ## build the documentation into docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench-quick: $(VENV)/made-run $(BENCH_VENV)/made-bench ## compare with uvicorn and gunicorn, in under three minutes
	@$(BIN)/python -m benchmarks.quick --peers $(abspath $(BENCH_VENV))/bin

bench-layers: $(VENV)/made-run $(BENCH_VENV)/made-bench ## compare the channel layers with each other, in under three minutes
	@tools/need-programs redis-server
	@$(BIN)/python -m benchmarks.layers --peers $(abspath $(BENCH_VENV))/bin/python

bench-settling: $(VENV)/made-run ## what the order of a socket's events costs, in two minutes
	@$(BIN)/python -m benchmarks.settling

bench-instructions: $(VENV)/made-run ## what one request takes, counted by valgrind, in two minutes
	@command -v valgrind >/dev/null || tools/need-packages "instructions are counted by it" valgrind
	@$(BIN)/python -m benchmarks.instructions

demo-picture: programs ## take the picture in the README anew
	$(BIN)/python -m tests.demo.picture

clean: ## remove everything that make made
	rm -rf $(VENV) $(BENCH_VENV) build dist chanserv.egg-info docs/_build demo/var
	rm -rf .tox .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*

# One stamp for each set of packages; a set is installed again when its list changes.

$(VENV)/bin/pip:
	@tools/make-venv $(VENV)

$(VENV)/made-run: setup.py | $(VENV)/bin/pip
	$(INSTALL) --editable .
	@touch $@

$(VENV)/made-test: setup.py | $(VENV)/bin/pip
	$(INSTALL) --editable .[test]
	@touch $@ $(VENV)/made-run

# The layers of the old stack, in a folder of their own.
$(VENV)/made-third-party: tests/layers/third_party/requirements.txt $(VENV)/made-test
	$(BIN)/python -m tests.layers.third_party.folder
	@touch $@

# What reads the files for operators, likewise.
$(VENV)/made-checkers: tests/deploy/requirements.txt $(VENV)/made-test
	$(BIN)/python -m tests.deploy.checkers
	@touch $@

$(VENV)/made-dev: setup.py | $(VENV)/bin/pip
	$(INSTALL) --editable .[dev]
	@touch $@ $(VENV)/made-run $(VENV)/made-test

$(BENCH_VENV)/made-bench: benchmarks/quick/requirements.txt
	@tools/make-venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
