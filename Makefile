# Python 3.11+, pip and make are all that must be there. PYTHON chooses the interpreter: make PYTHON=python3.12 demo
PYTHON ?= python3
export PYTHON

RECORDINGS = $(sort $(foreach suffix,flac m4a mp3 ogg opus wav,$(wildcard examples/*.$(suffix))))

.PHONY: help demo test check bench venv clean

help:
	@echo "make demo    install, fetch the model base, transcribe the recordings in examples/"
	@echo "make test    install what the tests need and run them all"
	@echo "make check   lint, types and the import law; under a minute"
	@echo "make bench   error rates; BENCH=\"parity --help\" chooses another benchmark and its arguments"
	@echo "make venv    .venv with everything for work on sottovoce"
	@echo "make clean   remove what the others made; models stay in the user's cache"

# What an installation is made of. The second run finds the stamp newer and calls no pip: it works without a network
MADE_OF = pyproject.toml hatch_build.py $(wildcard src/sottovoce/engine/cpp/*.cpp src/sottovoce/engine/cpp/*.h)

.venv/.installed: $(MADE_OF)
	@scripts/install

.venv/.installed-dev: $(MADE_OF)
	@scripts/install dev

demo: .venv/.installed
	.venv/bin/sottovoce transcribe $(RECORDINGS) --model base --beam_size 1 --times --output_format srt --output_dir examples

venv: .venv/.installed-dev

test: venv
	@scripts/test

check: venv
	@scripts/check

BENCH ?= accuracy

bench: venv
	@scripts/bench $(BENCH)

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis $(addsuffix .srt,$(basename $(RECORDINGS)))
	find src tests bench scripts -name __pycache__ -prune -exec rm -rf {} +
