# Is a checkpoint worth hearing? The figures it must reach, the sweep of its sampling, what each choice is worth, the examples to hear. The Makefile includes it.
#
#   make judge    SIZE=pocket SCORED=pocket CORPUS=path/to/POP909     JUDGE_SONGS=20 for a first look
#   make chart    SIZE=pocket SCORED=pocket CORPUS=path/to/POP909     does it play its chart, its stems, its prompt?
#   make sweep    SIZE=pocket SCORED=pocket CORPUS=path/to/POP909
#   make ablations SIZE=pocket CORPUS=path/to/POP909
#   make examples SIZE=pocket SCORED=pocket

JUDGE_SONGS   ?= 67#                   test songs of 30 s: 201 windows of 10 s
JUDGE_METRICS ?= rhythm harmony band sanity artefacts# add fad kad apa for the distances, which cost most
JUDGE_SEAMS   ?= 20:10 6.4:4.28 6.4#   where windows of the semantic, coarse and fine stage meet: first border and step in seconds
LONG_SONGS    ?= 2#                    test songs of LONG_SECONDS, measured minute by minute; 0: none
LONG_SECONDS  ?= 180
SEPARATOR     ?= $(wildcard $(WORK)/separator.safetensors)# demucs weights (a file, a folder, a name on the hub): a row of separated vocals; `make separator`
VOICE         ?= $(wildcard $(ROOT)/../shared/data/vocadito/vocadito_1.wav)# a person's singing, beside NAME_notesA1.csv
VOICE_SEEDS   ?= 0 1 2
TEST          ?= $(WORK)/test#         the test songs, rendered apart from the training set
LONG          ?= $(WORK)/long
JUDGED        ?= $(WORK)/judge/$(notdir $(SCORED))-$(JUDGE_SONGS)

FIRST      := $(TEST)/first-$(JUDGE_SONGS).jsonl
PLAY_ALL    = --checkpoint '$(SCORED)' --device $(DEVICE) $(if $(WORKERS),--workers $(WORKERS)) $(GENERATE)
# also weights that are found by their name
HEARD      := $(WEIGHTS)
JUDGE_ROWS  = --system system=$(JUDGED)/system $(if $(SEPARATOR),--system separated=$(JUDGED)/separated) --system swapped=$(JUDGED)/swapped

$(FIRST):
	$(ACCOMPGEN) synthesize -o $(@D) --count 0 --validation 0 --test $(JUDGE_SONGS) --seconds 30 $(IN_CORPUS)
	head -n $(JUDGE_SONGS) $(@D)/manifest.jsonl > $@

$(LONG)/manifest.jsonl:
	$(ACCOMPGEN) synthesize -o $(@D) --count 0 --validation 0 --test $(LONG_SONGS) --seconds $(LONG_SECONDS) $(IN_CORPUS)

$(JUDGED)/played/.done: $(FIRST) $(HEARD)
	$(ANEW)
	$(ACCOMPGEN) generate --manifest $< -o $(@D) --seed $(SEED) $(PLAY_ALL)
	@touch $@

$(JUDGED)/long/played/.done: $(LONG)/manifest.jsonl $(HEARD)
	$(ANEW)
	$(ACCOMPGEN) generate --manifest $< -o $(@D) --seed $(SEED) $(PLAY_ALL)
	@touch $@

$(JUDGED)/voice/.done: $(HEARD)
	$(foreach seed,$(VOICE_SEEDS),$(ACCOMPGEN) generate '$(VOICE)' -o $(@D)/$(seed) --seed $(seed) --checkpoint '$(SCORED)' \
		--device $(DEVICE) --force $(GENERATE) &&) touch $@

$(JUDGED)/rows.done: $(JUDGED)/played/.done
	$(PYTHON) $(ROOT)/tools/judge.py rows $(TEST)/songs $(<D) -o $(@D) --count $(JUDGE_SONGS) --seed $(SEED)
	@touch $@

# the same songs as a listener has them: the voice out of a mixture, with what separation leaves of the band in it
$(JUDGED)/mixtures/.done: $(JUDGED)/rows.done
	$(PYTHON) $(ROOT)/tools/judge.py mixtures $(<D)/songs -o $(@D)
	@touch $@

$(JUDGED)/separated-vocals/.done: $(JUDGED)/mixtures/.done $(wildcard $(SEPARATOR))
	$(ANEW)
	$(PYTHON) $(ROOT)/tools/separate.py $(<D) -o $(@D) --model '$(SEPARATOR)'
	@touch $@

$(JUDGED)/separated/.done: $(JUDGED)/separated-vocals/.done $(HEARD)
	$(ANEW)
	$(ACCOMPGEN) generate $(<D)/*.wav -o $(@D) --seed $(SEED) $(PLAY_ALL)
	@touch $@

.PHONY: separator
separator: $(SONGS)  ## a small demucs for these songs, for the row of separated vocals
	$(PYTHON) $(ROOT)/tools/train_separator.py $< -o $(WORK)/separator.safetensors --seed $(SEED)

$(JUDGED)/long/rows.done: $(JUDGED)/long/played/.done
	$(PYTHON) $(ROOT)/tools/judge.py rows $(LONG)/songs $(<D) -o $(@D) --count $(LONG_SONGS) --seed $(SEED)
	@touch $@

$(JUDGED)/baselines/.done: $(JUDGED)/rows.done
	$(ANEW)
	$(ACCOMPGEN) baselines --vocals $(<D)/songs --reference $(<D)/songs --annotations $(<D)/songs -o $(@D) --rows $(ROWS) \
		--checkpoint '$(SCORED)' --seed $(SEED)
	@touch $@

$(JUDGED)/evaluation/results.json: $(JUDGED)/baselines/.done $(if $(SEPARATOR),$(JUDGED)/separated/.done)
	$(ACCOMPGEN) evaluate --vocals $(JUDGED)/songs --reference $(JUDGED)/songs --annotations $(JUDGED)/songs -o $(@D) $(JUDGE_ROWS) \
		$(foreach row,$(ROWS),--system $(row)=$(<D)/$(row)) --metrics $(JUDGE_METRICS) --embedding '$(EMBEDDING)' \
		$(if $(JUDGE_SEAMS),--seams $(JUDGE_SEAMS)) \
		$(if $(SEPARATOR),--delta system separated) \
		--window $(WINDOW) --seed $(SEED) $(if $(CACHE),--cache '$(CACHE)')

$(JUDGED)/long/evaluation/results.json: $(JUDGED)/long/rows.done
	$(ACCOMPGEN) evaluate --vocals $(<D)/songs --reference $(<D)/songs --annotations $(<D)/songs -o $(@D) --system system=$(<D)/system \
		--system truth=$(<D)/songs --metrics rhythm harmony band sanity --window $(WINDOW) --seed $(SEED) $(if $(CACHE),--cache '$(CACHE)')

JUDGE_LONG  := $(if $(filter-out 0,$(LONG_SONGS)),$(JUDGED)/long/evaluation/results.json)
JUDGE_VOICE := $(if $(VOICE),$(JUDGED)/voice/.done)

.PHONY: judge
judge: $(JUDGED)/evaluation/results.json $(JUDGE_LONG) $(JUDGE_VOICE)  ## the figures that SCORED must reach, beside its goals
	$(PYTHON) $(ROOT)/tools/judge.py table $(JUDGED) --checkpoint '$(SCORED)' $(if $(JUDGE_LONG),--long $(JUDGED)/long) \
		$(if $(JUDGE_VOICE),--voice '$(VOICE)' --notes '$(VOICE:.wav=_notesA1.csv)' --played $(VOICE_SEEDS:%=$(JUDGED)/voice/%))

# ---- charts, stems and prompts ----

PROBES      ?= $(WORK)/probes#         which kind a band is, and what a stem holds; learnt from the training songs and their stems
PROBE_STEPS ?= 600
CHART_OPTIONS ?=#                      such as --distances
# songs of each part and, of those that are many, seconds: with the annotated charts, with --bpm, --chords, --prompt; 0 songs: not
GIVEN_SONGS  ?= $(JUDGE_SONGS)
TEMPO_SONGS  ?= 40
ASKED_SONGS  ?= 20
PROMPT_SONGS ?= 40
PART_SECONDS ?= 16
CHART_PARTS   = $(foreach part,given:$(GIVEN_SONGS) tempo:$(TEMPO_SONGS) asked:$(ASKED_SONGS) prompts:$(PROMPT_SONGS),$(if \
	$(filter-out %:0,$(part)),$(firstword $(subst :, ,$(part)))))

$(JUDGED)/given/.done:   PLAY = --count $(GIVEN_SONGS)
$(JUDGED)/tempo/.done:   PLAY = --count $(TEMPO_SONGS) --seconds $(PART_SECONDS)
$(JUDGED)/asked/.done:   PLAY = --count $(ASKED_SONGS) --seconds $(PART_SECONDS)
$(JUDGED)/prompts/.done: PLAY = --count $(PROMPT_SONGS) --seconds $(PART_SECONDS)
$(foreach part,given tempo asked prompts,$(JUDGED)/$(part)/.done): $(FIRST) $(HEARD)
	$(ANEW)
	$(PYTHON) $(ROOT)/tools/judge.py play $(notdir $(@D)) --songs $(TEST)/songs --checkpoint '$(SCORED)' --device $(DEVICE) \
		--seed $(SEED) $(PLAY) -o $(@D)
	@touch $@

$(PROBES)/probes.md: $(SONGS)
	$(PYTHON) $(ROOT)/tools/judge.py probes $(dir $(SONGS))songs -o $(@D) --steps $(PROBE_STEPS) --seed $(SEED) \
		$(if $(CACHE),--cache '$(CACHE)')

.PHONY: chart
chart: $(JUDGED)/played/.done $(CHART_PARTS:%=$(JUDGED)/%/.done) $(PROBES)/probes.md $(JUDGE_VOICE)  ## does SCORED play its chart, its stems and its prompt?
	$(PYTHON) $(ROOT)/tools/judge.py chart --songs $(TEST)/songs --alone $(<D) $(foreach part,$(CHART_PARTS),--$(part) $(JUDGED)/$(part)) --probes $(PROBES) \
		-o $(JUDGED)/chart --count $(JUDGE_SONGS) --seed $(SEED) --embedding '$(EMBEDDING)' $(if $(CACHE),--cache '$(CACHE)') \
		$(if $(JUDGE_VOICE),--notes '$(VOICE:.wav=_notesA1.csv)' --played $(VOICE_SEEDS:%=$(JUDGED)/voice/%)) $(CHART_OPTIONS)

# ---- sampling, chosen on validation songs ----

SWEEP_SONGS   ?= 8
SWEEP_SECONDS ?= 10
SWEEP_STAGES  ?= semantic coarse
SWEEP_OPTIONS ?=#                      such as --values guidance=1,3 temperature=0.8,0.9 --into pocket
SWEEP_FROM    ?= $(SONGS)#             a manifest with validation songs
SWEPT         ?= $(WORK)/sweep/$(notdir $(SCORED))

.PHONY: sweep
sweep: $(SWEEP_FROM) $(HEARD)  ## temperature, top-k and guidance of each stage, on validation songs
	$(PYTHON) $(ROOT)/tools/sweep.py $< -o $(SWEPT) --checkpoint '$(SCORED)' --songs $(SWEEP_SONGS) --seconds $(SWEEP_SECONDS) \
		--stages $(SWEEP_STAGES) --seed $(SEED) $(if $(WORKERS),--workers $(WORKERS)) $(SWEEP_OPTIONS)

# ---- what each choice is worth, at equal training ----

ABLATED         ?= $(WORK)/ablations
ABLATION_STEPS  ?= semantic=600 coarse=300 targets=250
ABLATION_PARTS  ?= semantic coarse targets
ABLATION_WINDOWS ?= 60#                validation windows that each stage generates
ABLATION_OPTIONS ?=#                   such as --set semantic.compile=false

.PHONY: ablations
ablations: $(SONGS) $(SHARDS)  ## variants of the stages and of the semantic tokenizer's targets, one table
	$(PYTHON) $(ROOT)/tools/ablations.py $(SONGS) $(dir $(SHARDS)) -o $(ABLATED) --conf $(CONF) --semantic-tokenizer $(SEMANTIC)/ \
		--acoustic-tokenizer $(ACOUSTIC)/ --parts $(ABLATION_PARTS) --steps $(ABLATION_STEPS) --windows $(ABLATION_WINDOWS) \
		--seed $(SEED) $(ABLATION_OPTIONS)

# ---- examples to hear: composed by rule, so that no melody is anybody's ----

EXAMPLES        ?= 12
# the last of them: so many with the chart that they were written with, behind them so many with a prompt; for a band
EXAMPLE_GIVEN   ?= 0
EXAMPLE_PROMPTS ?= 0
# a recording of a person, which comes first, and who sang it under which licence; docs/ has none, for no recording is kept here
EXAMPLE_VOICE   ?=
EXAMPLE_CREDIT  ?=
EXAMPLE_SECONDS ?= 12
EXAMPLE_SEED    ?= 1#                  of the songs: none of them was trained on
EXAMPLE_SONGS   ?= $(WORK)/examples/songs-$(EXAMPLE_SEED)
EXAMPLE_PLAYED  := $(WORK)/examples/$(notdir $(SCORED))
EXAMPLE_PAGE    ?= $(ROOT)/docs/examples

$(EXAMPLE_SONGS)/manifest.jsonl:
	$(ACCOMPGEN) synthesize -o $(@D) --count 0 --validation 0 --test $(EXAMPLES) --seconds $(EXAMPLE_SECONDS) --seed $(EXAMPLE_SEED) \
		$(if $(WORKERS),--workers $(WORKERS)) $(if $(VOICES),--voices $(VOICES))

EXAMPLE_PLAY = $(PYTHON) $(ROOT)/tools/judge.py play --songs $(EXAMPLE_SONGS)/songs --checkpoint '$(SCORED)' --device $(DEVICE) --seed $(SEED)

$(EXAMPLE_PLAYED)/.done: $(EXAMPLE_SONGS)/manifest.jsonl $(HEARD)
	$(ANEW)
	$(ACCOMPGEN) generate --manifest $< -o $(@D) --seed $(SEED) $(PLAY_ALL)
	$(if $(filter-out 0,$(EXAMPLE_GIVEN)),$(EXAMPLE_PLAY) given --count $(EXAMPLE_GIVEN) -o $(@D)/given \
		--skip $$(($(EXAMPLES) - $(EXAMPLE_GIVEN) - $(EXAMPLE_PROMPTS))) && mv $(@D)/given/* $(@D))
	$(if $(filter-out 0,$(EXAMPLE_PROMPTS)),$(EXAMPLE_PLAY) prompts --count $(EXAMPLE_PROMPTS) -o $(@D)/prompts \
		--skip $$(($(EXAMPLES) - $(EXAMPLE_PROMPTS))) && mv $(@D)/prompts/* $(@D))
	$(if $(EXAMPLE_VOICE),$(ACCOMPGEN) generate '$(EXAMPLE_VOICE)' -o $(@D) --seed $(SEED) --checkpoint '$(SCORED)' --device $(DEVICE) $(GENERATE))
	@touch $@

.PHONY: examples
examples: $(EXAMPLE_PLAYED)/.done  ## docs/examples: songs to hear
	$(PYTHON) $(ROOT)/tools/examples.py $(EXAMPLE_SONGS)/songs $(<D) -o $(EXAMPLE_PAGE) --count $(EXAMPLES) \
		$(if $(EXAMPLE_VOICE),--voice '$(EXAMPLE_VOICE)' --credit '$(EXAMPLE_CREDIT)')
