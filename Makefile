# `make demo` and `make test` do all the set-up. Both create .venv if it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-fast check format clean

demo: $(STAMP)
	$(BIN)/selfstudy demo

test: $(STAMP)
	PATH="$(abspath $(BIN)):$$PATH" scripts/check
	$(BIN)/python -m pytest -q -m slow

test-fast: $(STAMP)
	$(BIN)/python -m pytest -q

check: $(STAMP)
	PATH="$(abspath $(BIN)):$$PATH" scripts/check

format: $(STAMP)
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,data,onnx]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) demo-output
