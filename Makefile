# Each target makes what it needs: a virtual environment in .venv, again when the pins change.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-everywhere imports lint clean

demo: .venv/.run
	$(BIN)/unbackdoor demo

test: .venv/.dev lint
	$(BIN)/pytest --numprocesses=auto --dist=loadfile --cov --cov-report=term-missing:skip-covered
	for part in mesa triggers detectors verdict scanning repairing; do \
	  $(BIN)/coverage report --include="*/unbackdoor/$$part/*" --fail-under=90 --format=total \
	    || { echo "coverage of $$part is below 90 %"; exit 1; }; done

# The tests that compute, as on processors with fewer instructions and with one thread or two.
test-everywhere: .venv/.dev
	$(BIN)/python tests/everywhere.py $(EVERYWHERE)

# Which part of the code stands on which, and whether anything breaks the rules.
imports:
	@$(PYTHON) tests/imports.py

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Of a thousand modules a run imports few, so that they are compiled when they are imported.
.venv/.run: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --no-compile --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/.dev: .venv/.run
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	# What a run leaves to the first import is compiled at once: some tests limit time.
	$(BIN)/python -m compileall -qq -j 0 .venv/lib || true
	touch $@

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .coverage unbackdoor-demo
