# Shared by all recipes: the dials, and the way from token shards to a checkpoint and its figures.
# A recipe sets SONGS (its manifest) and includes this file. Targets are files; every rule is one call of accompgen.

ROOT      := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/..)
VENV      ?= $(ROOT)/.venv
ACCOMPGEN ?= $(VENV)/bin/accompgen

SIZE    ?= pocket#     tiny | pocket: the folder conf/SIZE
DEVICE  ?= auto#       auto | cpu | cuda
WORKERS ?= 2#          processes that render and tokenise
SET     ?=#            more settings for the trainings, as key=value
WORK    ?= work/$(SIZE)
CONF    := conf/$(SIZE)

RUNS       := $(WORK)/hubert $(WORK)/codec $(WORK)/semantic $(WORK)/coarse $(WORK)/fine
SEMANTIC   := $(WORK)/hubert/model/config.json
ACOUSTIC   := $(WORK)/codec/model/config.json
SHARDS     := $(WORK)/shards/index.json
STAGES     := $(foreach stage,semantic coarse fine,$(WORK)/$(stage)/model/config.json)
CHECKPOINT := $(WORK)/checkpoint/config.json

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help all songs tokenizers shards stages checkpoint

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '!seen[$$1]++ {printf "  make %-12s %s\n", $$1, $$2}'
	@echo
	@echo '  dials: SIZE=$(SIZE) DEVICE=$(DEVICE) WORKERS=$(WORKERS) WORK=$(WORK)'

all: checkpoint  ## everything, from songs to the checkpoint
songs: $(SONGS)  ## the songs and their manifest
tokenizers: $(SEMANTIC) $(ACOUSTIC)  ## the semantic and the acoustic tokenizer
shards: $(SHARDS)  ## the songs as tokens
stages: $(STAGES)  ## the three transformers
checkpoint: $(CHECKPOINT)  ## the exported checkpoint directory

$(WORK)/%/model/config.json: $(CONF)/%.toml
	$(ACCOMPGEN) train $< --run $(WORK)/$* --set device=$(DEVICE) $(TRAIN_SET) $(foreach s,$(SET),--set $(s))

$(SEMANTIC) $(ACOUSTIC): $(SONGS)
$(SEMANTIC) $(ACOUSTIC): TRAIN_SET = --set manifest=$(SONGS)
$(STAGES): $(SHARDS)
$(STAGES): TRAIN_SET = --set shards=$(WORK)/shards --set semantic_tokenizer=$(dir $(SEMANTIC)) --set acoustic_tokenizer=$(dir $(ACOUSTIC))

$(SHARDS): $(SONGS) $(SEMANTIC) $(ACOUSTIC)
	$(ACCOMPGEN) tokenize $(SONGS) -o $(@D) --semantic-tokenizer $(dir $(SEMANTIC)) --acoustic-tokenizer $(dir $(ACOUSTIC)) \
		--workers $(WORKERS)

$(CHECKPOINT): $(SEMANTIC) $(ACOUSTIC) $(STAGES)
	$(ACCOMPGEN) export $(RUNS) -o $(@D) --force $(ABOUT)

.PHONY: figures
figures: $(CHECKPOINT)  ## the codec's and the stages' figures as a table
	$(VENV)/bin/python $(ROOT)/tools/figures.py $(dir $(CHECKPOINT)) $(SONGS)
