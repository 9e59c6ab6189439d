# Two commands for a fresh clone with Python ≥ 3.11 and make: `make demo` and `make test`. Each makes what it needs and does its whole job.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test lint docs benchmarks clean

demo: $(VENV)/core
	$(BIN)/steelyard demo --output report.html

test: $(VENV)/full lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations 15

lint: $(VENV)/full
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/full
	$(BIN)/python docs/build.py
	$(BIN)/mkdocs build --strict

benchmarks: $(VENV)/full
	for name in apply_speed label_model_speed dawid_skene_speed memory import_time student_throughput causal_throughput accuracy parity ner_accuracy dependencies calibration \
	  joint_models verifiers end_to_end weak_to_strong_accuracy weak_to_strong_sweep scale frechet_speed; do \
	  $(BIN)/python benchmarks/$$name.py || exit 1; \
	done

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "steelyard needs Python 3.11 or newer; say which with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/core: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/full: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[torch,vision,spacy,ray,spark,dev]"
	touch $(VENV)/core $@

clean:
	rm -rf $(VENV) site report.html .mypy_cache .ruff_cache .pytest_cache .hypothesis
