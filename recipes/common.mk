# Shared by all recipes: the dials, and the way from songs to a checkpoint. Targets are files; every rule is one call of accompgen.
#
# A recipe sets SONGS (its manifest) and includes this file, then evaluate.mk. What it may set before: SIZE, CONF, TOKENIZERS, ABOUT, ANNOTATED.

ROOT      := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/..)
VENV      ?= $(ROOT)/.venv
PYTHON    ?= $(VENV)/bin/python
# a fresh clone has no Python with accompgen yet: said where it is first wanted, so that `make help` works, and `make -n`,
# which runs nothing
DRY_RUN    = $(findstring n,$(filter-out --%,$(firstword -$(MAKEFLAGS))))
INSTALLED  = $(if $(DRY_RUN)$(shell command -v '$(PYTHON)'),,$(error there is no $(PYTHON): run `make develop` in $(ROOT) first, or give VENV=folder or PYTHON=path))
RUN        = $(INSTALLED)$(PYTHON)
ACCOMPGEN ?= $(RUN) -m accompgen

COMMA     := ,

# where and how much
SIZE     ?= pocket#  tiny | pocket | base: the folder of configurations
WORK     ?= work/$(SIZE)
DEVICE   ?= auto#    auto | cpu | cuda
SET      ?=#         more settings for the trainings, as key=value
PAUSE    ?=#         minutes after which make stops, everything saved; the same make goes on
# on what
EXECUTOR ?= local#   local | ray: who prepares and tokenises
WORKERS  ?= $(if $(filter ray,$(EXECUTOR)),,2)# processes that do; with ray, all of the cluster
GPUS     ?= 1#       processes a stage is trained by, on this machine or on each of HOSTFILE's
HOSTFILE ?=#         deepspeed's: one line a machine, such as "node1 slots=8"
# published tokenizers, where the size trains none of its own: a name that `accompgen fetch` knows, or a path
HUBERT   ?= hubert-base
LAYER    ?= 9
KMEANS   ?=#         published centres; without them, units are fitted to the training songs
ENCODEC  ?= encodec-24khz

# in make a space divides one file from the next
ifneq ($(words $(WORK)),1)
$(error WORK is '$(WORK)': make cannot write into a folder whose path has a space, or none; give another one)
endif

CONF       ?= conf/$(SIZE)
AUGMENT    ?= $(wildcard $(CONF)/augment.toml)# copies of the training songs, changed (docs/data.md)
# a shipped checkpoint that lends its tokenizers and its decoder, where a size has a file `base` with its name
BASE       ?= $(if $(wildcard $(CONF)/base),$(shell cat $(CONF)/base))
TOKENIZERS ?= $(if $(BASE),base,$(if $(wildcard $(CONF)/hubert.toml),own,published))
UNITS      := $(shell sed -n 's/^semantic_vocab *= *//p' $(CONF)/semantic.toml)

ifeq ($(TOKENIZERS),own)
SEMANTIC := $(WORK)/hubert/model
ACOUSTIC := $(WORK)/codec/model
# another decoder of the codec's codes, where a size has one
DECODER  := $(if $(wildcard $(CONF)/decoder.toml),$(WORK)/decoder/model)
else ifeq ($(TOKENIZERS),base)
SEMANTIC := $(ROOT)/checkpoints/$(BASE)/semantic_tokenizer
ACOUSTIC := $(ROOT)/checkpoints/$(BASE)/acoustic_tokenizer
DECODER  :=
else
SEMANTIC := $(WORK)/semantic_tokenizer
ACOUSTIC := $(WORK)/acoustic_tokenizer
DECODER  :=
endif
TOKENIZED  := $(SEMANTIC)/config.json $(ACOUSTIC)/config.json
DECODED    := $(addsuffix /config.json,$(DECODER))
SHARDS     := $(WORK)/shards/index.json
# the semantic stage's context encoder by itself, before the stage, where a size has one of its own
LISTENER   := $(if $(wildcard $(CONF)/listener.toml),$(WORK)/listener/model/config.json)
# what `generate --pulse` goes by, where the recipe's songs have annotated beats
BEATS      := $(if $(ANNOTATED),$(if $(wildcard $(CONF)/beat_tracker.toml),$(WORK)/beat_tracker/model/config.json))
# what divides captions and prompts into pieces, where a size has one
TEXT       := $(if $(wildcard $(CONF)/text_tokenizer.toml),$(WORK)/text_tokenizer/model/config.json)
STAGE_NAMES := $(foreach stage,chart semantic coarse fine,$(if $(wildcard $(CONF)/$(stage).toml),$(stage)))
# where a stage is told texts
TOLD       := $(if $(shell grep -ls '^text_vocab' $(CONF)/*.toml),$(TEXT))
STAGES     := $(foreach stage,$(STAGE_NAMES),$(WORK)/$(stage)/model/config.json)
# what the stages of a band make, one by one
STEMS      := $(if $(shell grep -ls '^graph *= *"band"' $(CONF)/*.toml),drums$(COMMA)bass$(COMMA)harmony,all)
CHECKPOINT := $(WORK)/checkpoint/config.json

ifneq ($(PAUSE),)
DEADLINE := $(shell awk "BEGIN { print $$(date +%s) + int(60 * $(PAUSE)) }")
LEFT      = $$(( $(DEADLINE) - $$(date +%s) ))
IN_TIME   = @[ $(LEFT) -gt 0 ] || { echo '$(PAUSE) minutes are over: the same make goes on from here' >&2; exit 75; }
SLICE     = timeout $(LEFT)
PAUSED    = --pause $$(awk "BEGIN { print $(LEFT) / 60 }")
endif
SPREAD    = --executor $(EXECUTOR) $(if $(WORKERS),--workers $(WORKERS))
ON_DEVICE = $(if $(filter cuda,$(DEVICE)),--device cuda)
LAUNCH    = $(if $(HOSTFILE),$(VENV)/bin/deepspeed --hostfile '$(HOSTFILE)' --num_gpus $(GPUS) --module accompgen,$(if \
	$(filter-out 1,$(GPUS)),$(PYTHON) -m torch.distributed.run --standalone --nproc-per-node $(GPUS) -m accompgen,$(ACCOMPGEN)))
TRAINING  = --run-dir $(WORK)/$* --set device=$(DEVICE) $(TRAIN_SET) $(OVERRIDES) $(PAUSED)
OVERRIDES = $(foreach s,$(SET),--set $(s))
# a training that was stopped has saved, and has not written model/: make must not go on with the next step
ENDED     = @[ -f $@ ] && touch $@ || { echo '$(WORK)/$* is not at its end yet: the same make goes on from here' >&2; exit 75; }

.DELETE_ON_ERROR:
# A component is written as a whole. Make would delete its config.json where Ctrl-C comes between that and the rule's end, and
# what is left of it is no component, which no verb replaces.
.PRECIOUS: $(TOKENIZED) $(DECODED) $(TEXT) $(LISTENER) $(STAGES) $(BEATS) $(CHECKPOINT)
.PHONY: help all songs tokenizers text decoder shards stages train beats checkpoint
.DEFAULT_GOAL := $(if $(CHOSEN),all,help)

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '!seen[$$1]++ {printf "  make %-12s %s\n", $$1, $$2}'
	@echo
	@echo '  dials: SIZE=$(SIZE) WORK=$(WORK) DEVICE=$(DEVICE) GPUS=$(GPUS) HOSTFILE=$(HOSTFILE) PAUSE=$(PAUSE)'
	@echo '         EXECUTOR=$(EXECUTOR) WORKERS=$(WORKERS) AUGMENT=$(AUGMENT) SET=$(SET)'
	@echo '         HUBERT=$(HUBERT) LAYER=$(LAYER) KMEANS=$(KMEANS) ENCODEC=$(ENCODEC)'

all: checkpoint evaluate  ## everything, from songs to the table of scores
songs: $(SONGS)  ## the songs and their manifest
tokenizers: $(TOKENIZED)  ## the semantic and the acoustic tokenizer
text: $(TEXT)  ## the text tokenizer of prompts, from the songs' captions
decoder: $(DECODED)  ## what plays the codes, where the size has another than the codec's own
shards: $(SHARDS)  ## the songs as tokens
stages: $(STAGES)  ## the transformers
train: stages  ## the same
beats: $(BEATS)  ## the beat tracker, which SET does not reach
checkpoint: $(CHECKPOINT)  ## the exported checkpoint directory

# ---- tokenizers: trained here, or published ----

OWN := $(foreach part,hubert codec decoder,$(WORK)/$(part)/model/config.json)
$(OWN): $(WORK)/%/model/config.json: $(CONF)/%.toml $(SONGS)
	$(IN_TIME)
	$(ACCOMPGEN) train $< $(TRAINING)
	$(ENDED)

$(OWN): TRAIN_SET = --set manifest=$(SONGS) $(if $(filter decoder,$*),--set codec=$(WORK)/codec/model)
$(WORK)/decoder/model/config.json: $(WORK)/codec/model/config.json

# it takes seconds, so it has no device and does not pause; SET is for networks
$(TEXT): $(CONF)/text_tokenizer.toml $(SONGS)
	$(IN_TIME)
	$(ACCOMPGEN) train $< --run-dir $(WORK)/text_tokenizer --set manifest=$(SONGS)
	@touch $@

ifeq ($(TOKENIZERS),published)
$(WORK)/semantic_tokenizer/config.json: $(if $(KMEANS),,$(SONGS))
	$(IN_TIME)
	$(SLICE) $(ACCOMPGEN) adopt hubert '$(HUBERT)' -o $(@D) --layer $(LAYER) $(if $(KMEANS),--kmeans '$(KMEANS)',--songs $(SONGS)) \
		--units $(UNITS) $(SPREAD) $(ON_DEVICE) --force
	@touch $@

$(WORK)/acoustic_tokenizer/config.json:
	$(IN_TIME)
	$(SLICE) $(ACCOMPGEN) adopt encodec '$(ENCODEC)' -o $(@D) --force
endif

# ---- tokens, stages, checkpoint ----

$(SHARDS): $(SONGS) $(TOKENIZED) $(AUGMENT)
	$(IN_TIME)
	$(SLICE) $(ACCOMPGEN) tokenize $(SONGS) -o $(@D) --semantic-tokenizer $(SEMANTIC) --acoustic-tokenizer $(ACOUSTIC) \
		--stems $(STEMS) --transposed-vocals $(SPREAD) $(ON_DEVICE) $(if $(AUGMENT),--augment '$(AUGMENT)')

$(STAGES) $(LISTENER): TRAIN_SET = --set shards=$(WORK)/shards --set semantic_tokenizer=$(SEMANTIC)/ \
	--set acoustic_tokenizer=$(ACOUSTIC)/ $(if $(TOLD),--set captions=$(SONGS) --set text_tokenizer=$(WORK)/text_tokenizer/model) \
	$(if $(LISTENER),$(if $(filter semantic,$*),--set start_from=$(WORK)/listener/model))
$(WORK)/semantic/model/config.json: $(LISTENER)
$(STAGES): $(TOLD)
$(STAGES) $(LISTENER): $(WORK)/%/model/config.json: $(CONF)/%.toml $(SHARDS)
	$(IN_TIME)
	$(LAUNCH) train $< $(TRAINING)
	$(ENDED)

$(BEATS): $(WORK)/%/model/config.json: $(CONF)/%.toml $(SHARDS)
	$(IN_TIME)
	$(ACCOMPGEN) train $< $(TRAINING)
	$(ENDED)
$(BEATS): TRAIN_SET = --set shards=$(WORK)/shards --set manifest=$(SONGS)
$(BEATS): OVERRIDES =#  SET is for stages

$(CHECKPOINT): $(TOKENIZED) $(DECODED) $(STAGES) $(BEATS) $(TOLD)
	$(ACCOMPGEN) export $(if $(BASE),--base $(ROOT)/checkpoints/$(BASE),$(patsubst %/model,%,$(SEMANTIC) $(ACOUSTIC) $(DECODER))) \
		$(patsubst %/model/config.json,%,$(STAGES) $(BEATS) $(TOLD)) -o $(@D) $(if $(filter all,$(STEMS)),--songs $(SONGS)) --force $(ABOUT)

.PHONY: figures
figures: $(CHECKPOINT)  ## the codec's and the stages' figures as a table
	$(RUN) $(ROOT)/tools/figures.py $(dir $(CHECKPOINT)) $(SONGS)
