# accompgen: `make` lists what there is. Needs Python 3.11 to 3.13 and nothing else.

VENV   ?= .venv
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info[:2] <= (3,13))' 2>/dev/null && { echo $$p; break; }; done)
VOCAL  ?= recipes/synthetic/sample/vocal.flac
OUT    ?= demo
TESTS  ?= tests
WORKERS ?= 2
RECIPE ?= synthetic
PORT   ?= 7860
CHECKPOINT ?= band
PIP    := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help:  ## list the targets
	@echo 'accompgen: a band for a singing voice'
	@echo
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo
	@echo '  make demo VOCAL=path/to/singing.wav   the same for your own recording (OUT=folder, default demo/)'
	@echo '  make train SIZE=base GPUS=8           the stages of a recipe (RECIPE=synthetic), by 8 processes'
	@echo '  make -C recipes/synthetic             how to train everything from scratch'

$(VENV)/bin/python:
	@test -n '$(PYTHON)' || { echo 'no Python 3.11, 3.12 or 3.13 on PATH; install one, or give PYTHON=path' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch comes first and by its pinned version, so that no other package chooses another build of it
$(VENV)/.installed: setup.cfg constraints.txt | $(VENV)/bin/python
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -e '.[fast,eval]'
	@touch $@

# musicnn is installed without its dependencies: it asks for TensorFlow and NumPy 1.16, and its weights alone are read
# (`--embedding musicnn`).
$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e '.[fast,train,eval,reference,web,dev]'
	$(PIP) --no-deps musicnn
	@touch $@

.PHONY: install
install: $(VENV)/.installed  ## make a virtual environment and install accompgen into it

.PHONY: develop
develop: $(VENV)/.installed-dev  ## install what training and the tests need, too

.PHONY: demo
demo: $(VENV)/.installed  ## sing with a band: VOCAL=path for your own recording
	$(VENV)/bin/python tools/demo.py '$(VOCAL)' -o '$(OUT)' $(if $(filter demo,$(OUT)),--force)

$(VENV)/.installed-web: $(VENV)/.installed
	$(PIP) -e '.[fast,eval,web]'
	@touch $@

.PHONY: web
web: $(VENV)/.installed-web  ## a page to sing into: PORT=7860 CHECKPOINT=band (stems on a chart) or pocket (one track)
	$(VENV)/bin/python -m accompgen web --checkpoint $(CHECKPOINT) --port $(PORT) --open

.PHONY: test
test: $(VENV)/.installed-dev  ## run the tests (TESTS=tests/test_layout.py for some of them, by WORKERS=2)
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile $(TESTS)

.PHONY: bench
bench: $(VENV)/.installed-dev  ## measure its speed, beside peers (WHAT='decode song training start busy', QUICK=1); docs/speed.md
	$(VENV)/bin/python tools/bench.py $(WHAT) $(if $(QUICK),--quick) -o 'bench'

.PHONY: examples
examples: $(VENV)/.installed-dev  ## docs/examples: songs to hear, by band
	$(MAKE) -C recipes/synthetic examples SIZE=band SCORED=band EXAMPLE_GIVEN=3 EXAMPLE_PROMPTS=3 VENV='$(abspath $(VENV))'

.PHONY: train
train: $(VENV)/.installed-dev  ## train a recipe's stages: RECIPE=synthetic SIZE=pocket GPUS=1
	$(MAKE) -C recipes/$(RECIPE) train VENV='$(abspath $(VENV))'

OWN     ?= own
HELD_OUT ?= 1#  songs to validate with
SEPARATOR ?=#   demucs's name, where DATA has mixtures
MINUTES ?= 20
RATE    ?= 1e-4
POCKET  := checkpoints/pocket
ACCOMPGEN = $(VENV)/bin/python -m accompgen

.PHONY: own
own: $(VENV)/.installed-dev  ## pocket goes on with your songs: DATA=folder OWN=own MINUTES=20 RATE=1e-4; docs/finetune.md
	@test -n '$(DATA)' || { echo 'make own needs your songs: DATA=folder (docs/finetune.md)' >&2; exit 2; }
	$(ACCOMPGEN) prepare '$(DATA)' -o '$(OWN)/songs' --validation $(HELD_OUT) $(if $(SEPARATOR),--separator '$(SEPARATOR)')
	$(ACCOMPGEN) tokenize '$(OWN)/songs/manifest.jsonl' -o '$(OWN)/shards' --transposed-vocals \
		--semantic-tokenizer $(POCKET)/semantic_tokenizer --acoustic-tokenizer $(POCKET)/acoustic_tokenizer
	$(ACCOMPGEN) train recipes/synthetic/conf/pocket/coarse.toml --run-dir '$(OWN)/coarse' --set shards='$(OWN)/shards' \
		--set start_from=$(POCKET)/coarse --set minutes=$(MINUTES) --set learning_rate=$(RATE) --set compile=false \
		--set warmup_steps=10 --set ema_decay=0.9 --set dtype=float32 --set validate_every=50 --set validation_windows=16
	$(ACCOMPGEN) export '$(OWN)/coarse' --base $(POCKET) -o '$(OWN)/checkpoint' --about name=own \
		--about 'data=pocket, whose coarse stage went on with songs of its own' --force
	$(ACCOMPGEN) generate '$(VOCAL)' --checkpoint '$(OWN)/checkpoint' -o '$(OWN)/out' --force

# what a run of the MUSDB18 recipe needs, in small; a path has no spaces here
LIKE := $(abspath build/musdb18-like)

.PHONY: recipes
recipes: $(VENV)/.installed-dev  ## both recipes from data to the table of scores, at SIZE=tiny
	@command -v flite >/dev/null || { echo 'the synthetic recipe needs voices, a synthesizer and soundfonts:' \
		'apt-get install flite libfluidsynth3 fluid-soundfont-gm csound-soundfont' >&2; exit 1; }
	$(MAKE) -C recipes/synthetic SIZE=tiny VENV='$(abspath $(VENV))'
# its checkpoint alone: the table is the same one, and the tests play bands
	$(MAKE) -C recipes/synthetic checkpoint SIZE=tiny-band SONGS=work/tiny/songs/manifest.jsonl VENV='$(abspath $(VENV))'
	rm -rf $(LIKE) && $(VENV)/bin/python tests/musdb18_like.py $(LIKE)
	$(MAKE) -C recipes/musdb18 SIZE=tiny VENV='$(abspath $(VENV))' WORK=$(LIKE)/work DATA=$(LIKE)/data MORE=$(LIKE)/more \
		HUBERT=$(LIKE)/hubert LAYER=2 ENCODEC=$(LIKE)/encodec SEPARATOR=$(LIKE)/separator.safetensors

.PHONY: lint
lint: $(VENV)/.installed-dev  ## ruff
	$(VENV)/bin/ruff check .

.PHONY: clean
clean:  ## remove the virtual environment and what the tools wrote into the repository
	rm -rf $(VENV) demo build bench *.egg-info .pytest_cache .ruff_cache
