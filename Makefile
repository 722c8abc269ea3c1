# make demo, make test: each sets up all it needs in .venv; a second run installs nothing again.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test test-lowest check chaos hub bench mutate docs embedded clean

demo: $(INSTALLED)
	$(BIN)/posemill demo --out demo-output

test: check
	$(BIN)/python -m pytest -n 3 --dist loadfile

test-lowest: $(INSTALLED)
	$(BIN)/python -m tools.lowest

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

chaos: $(INSTALLED)
	$(BIN)/python -m tests.chaos

hub: $(INSTALLED)
	$(BIN)/python -m pytest -m long tests/acceptance/test_hub.py

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks $(FIGURE)

mutate: $(INSTALLED)
	$(BIN)/python -m tools.mutation

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

embedded: $(INSTALLED)
	$(BIN)/python -m tools.embedded train

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[workers,dwpose,embedded,export,docs,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt rtmlib
	touch $(INSTALLED)

clean:
	rm -rf .venv build demo-output
