# `make run` and `make test` need Python 3.11 or newer and nothing else: all is put into .venv.

VENV := .venv
PY := $(VENV)/bin/python
# Checks read the settings; what these write must not end up in var/.
CHECKS := ROLLCALL_DATA=$(CURDIR)/$(VENV)/checks
TEMPLATES = $(shell find templates -name '*.html' 2>/dev/null)

# One file more at once than there are processors, since some wait for browsers and workers; a
# file's tests together, the files as tests/conftest.py orders them. `make test PYTEST=` runs them
# one by one.
PYTEST ?= -n $(shell expr $$(nproc 2>/dev/null || echo 2) + 1) --dist loadfile --no-loadscope-reorder
FAST := not browser and not processes and not thorough

.DEFAULT_GOAL := help
.PHONY: help run test test-fast lint lint-types lint-rules lint-browser test-browser-code format mutation bench secrets clean distclean
.DELETE_ON_ERROR:

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1	\2/' | expand -t 16

run: $(VENV)/.run ## Set everything up and serve on 127.0.0.1:$PORT (8000) until Ctrl-C
	@$(PY) manage.py migrate --verbosity 0
	@$(PY) manage.py collectstatic --noinput --verbosity 0
	@$(PY) manage.py seed_demo
	@exec $(PY) manage.py up

test: lint ## All checks, then the suite: on SQLite and files, and on PostgreSQL and Redis where they are
	@if [ -z "$$DATABASE_URL" ] || [ -z "$$REDIS_URL" ]; then \
	  echo "PostgreSQL and Redis: skipped (DATABASE_URL and REDIS_URL are not both set)"; fi
	@$(MAKE) --no-print-directory test-browser-code
	env -u DATABASE_URL -u REDIS_URL $(PY) -m pytest $(PYTEST)
	@if [ -n "$$DATABASE_URL" ] && [ -n "$$REDIS_URL" ]; then \
	  echo "$(PY) -m pytest --services-only $(PYTEST)   # on PostgreSQL and Redis"; \
	  exec $(PY) -m pytest --services-only $(PYTEST); fi

test-fast: $(VENV)/.dev ## What is quick: no browser, no processes, nothing thorough, on SQLite alone
	env -u DATABASE_URL -u REDIS_URL $(PY) -m pytest -m "$(FAST)" $(PYTEST)

lint: $(VENV)/.dev ## All checks that run no test
	@$(MAKE) --no-print-directory -j 2 lint-types lint-rules
	@$(MAKE) --no-print-directory lint-browser

# It takes as long as all the others.
lint-types:
	@mkdir -p $(VENV)/checks
	$(CHECKS) $(PY) -m mypy

lint-rules:
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	@if [ -n "$(TEMPLATES)" ]; then echo djade --check; \
	  $(VENV)/bin/djade --target-version 5.2 --check $(TEMPLATES); fi
	$(VENV)/bin/lint-imports --no-cache --no-logo
	@mkdir -p $(VENV)/checks
	$(CHECKS) $(PY) manage.py makemigrations --check --dry-run
	$(CHECKS) ROLLCALL_SECRET_KEY=$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(48))') \
	  ROLLCALL_AUDIT_KEY=$$($(PY) -c 'import secrets; print(secrets.token_hex(32))') \
	  ROLLCALL_HTTPS=1 ROLLCALL_HOSTS=rollcall.example.org \
	  $(PY) manage.py check --deploy --fail-level WARNING

# Pages run without Node: it only checks their scripts. Where there is none, that is said.
NODE := $(shell node -e 'process.exit(+(process.versions.node.split(".")[0] < 20))' 2>/dev/null \
  && command -v npm >/dev/null && echo yes)

lint-browser: $(if $(NODE),node_modules/.done)
ifeq ($(NODE),yes)
	npx --no-install eslint --max-warnings 0 static/js tests/js
	npx --no-install tsc
else
	@echo "ESLint and tsc for static/js: skipped (there is no Node 20 with npm)"
endif

test-browser-code:
ifeq ($(NODE),yes)
	node --test --test-reporter=dot tests/js/*.test.js
else
	@echo "Unit tests of static/js: skipped (there is no Node 20 with npm)"
endif

node_modules/.done: package.json package-lock.json
	npm ci --silent --ignore-scripts
	@touch $@

format: $(VENV)/.dev ## Lay out code and templates
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .
	@if [ -n "$(TEMPLATES)" ]; then $(VENV)/bin/djade --target-version 5.2 $(TEMPLATES) || true; fi

mutation: $(VENV)/.mutation ## Change the code in one place at a time, and see whether a test fails
	$(PY) bench/mutation.py

bench: $(VENV)/.bench ## Measure the recogniser, beside dlib
	$(PY) bench/engine.py

secrets: ## The secrets that docker-compose.yml wants, made up, in secrets/
	@sh deploy/make-secrets.sh

clean: ## Remove what tools left behind; data and .venv stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## Remove .venv and node_modules as well
	rm -rf $(VENV) node_modules

# --- The environment. A stamp is written when an install is complete, so one that was cut off is
# --- done again; a .venv without a working pip is made anew.

# Runs in the recipe's shell: prints the first Python that is new enough and can make environments.
FIND_PYTHON = for python in $$PYTHON python3.13 python3.12 python3.11 python3 python; do \
	    if "$$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
	      2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "Rollcall needs Python 3.11 or newer with its venv module, and found none." >&2; \
	    echo "Install it (Debian, Ubuntu: apt install python3 python3-venv), or say which: make PYTHON=/path/to/python3" >&2; \
	    exit 1; fi

ENSURE_VENV = if ! $(PY) -m pip --version >/dev/null 2>&1; then \
	  found=; $(FIND_PYTHON); echo "Making $(VENV) with $$found"; \
	  "$$found" -m venv --clear $(VENV) || exit 1; fi

INSTALL = $(PY) -m pip install -qq --disable-pip-version-check --editable

export PYTHON

$(VENV)/.run: pyproject.toml
	@if [ ! -e $(VENV)/.dev ] || [ pyproject.toml -nt $(VENV)/.dev ]; then \
	  $(ENSURE_VENV); echo "Installing (once; a few minutes at most)"; $(INSTALL) . || exit 1; fi
	@touch $@

$(VENV)/.dev: pyproject.toml
	@$(ENSURE_VENV); echo "Installing, with what the tests need"; $(INSTALL) '.[dev]'
	@touch $@ $(VENV)/.run

$(VENV)/.mutation: pyproject.toml
	@$(ENSURE_VENV); echo "Installing, with what mutation testing needs"; $(INSTALL) '.[dev,mutation]'
	@touch $@ $(VENV)/.dev $(VENV)/.run

$(VENV)/.bench: pyproject.toml
	@$(ENSURE_VENV); echo "Installing, with what the measurements need"; $(INSTALL) '.[dev,bench]'
	@touch $@ $(VENV)/.dev $(VENV)/.run
