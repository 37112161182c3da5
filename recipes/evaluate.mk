# Shared by the recipes: a checkpoint's accompaniments, the baselines, and their table. Every rule is one call of accompgen.
# A recipe sets, before it includes this file:
#   SCORED     the checkpoint, a name or a folder        SCORES      the folder for everything made here
#   READY      a file that stands once the songs do      VOCALS      folder of vocals     VOCAL_FILES  which of its files
#   REFERENCE  folder of the true accompaniments         ANNOTATIONS folder of NAME.json, or nothing
#   SEPARATED_READY, SEPARATED_VOCALS                    the same for separated vocals, or nothing

EMBEDDING ?= pocket#   pocket | vggish | clap | path; pocket is for development only
WINDOW    ?= 10#       seconds
SEED      ?= 0
CACHE     ?=#          folder of what was worked out of each file; default: the user's cache
SEAMS     ?=#          borders of the generator's windows to listen to, FIRST[:STEP] in seconds, as in 20:10 6.4
GENERATE  ?=#          more options for accompgen generate
ROWS      ?= truth codec shuffled retrieval random silence click noise

ISOLATED  := $(SCORES)/isolated/.done
SEPARATED := $(if $(SEPARATED_VOCALS),$(SCORES)/separated/.done)
BASELINES := $(SCORES)/baselines/.done
RESULTS   := $(SCORES)/evaluation/results.json
# the checkpoint made here is made first; any other stands already, in its folder or under its name
WEIGHTS   := $(if $(filter $(patsubst %/,%,$(dir $(CHECKPOINT))),$(SCORED)),$(CHECKPOINT),$(firstword \
	$(wildcard $(SCORED)/config.json $(ROOT)/checkpoints/$(SCORED)/config.json)))
# what an earlier checkpoint played is removed; what a stopped call made is kept
ANEW       = $(if $(wildcard $@),rm -r $(@D))
PLAY       = -o $(@D) --checkpoint '$(SCORED)' --seed $(SEED) --device $(DEVICE) --skip-existing $(GENERATE)

$(ISOLATED): $(READY) $(WEIGHTS)
	$(IN_TIME)
	$(ANEW)
	$(SLICE) $(ACCOMPGEN) generate $(VOCALS)/$(VOCAL_FILES) $(PLAY)
	@touch $@

$(SCORES)/separated/.done: $(SEPARATED_READY) $(WEIGHTS)
	$(IN_TIME)
	$(ANEW)
	$(SLICE) $(ACCOMPGEN) generate $(SEPARATED_VOCALS)/*.wav $(PLAY)
	@touch $@

$(BASELINES): $(READY) $(WEIGHTS)
	$(IN_TIME)
	$(ANEW)
	$(SLICE) $(ACCOMPGEN) baselines --vocals $(VOCALS) --reference $(REFERENCE) -o $(@D) --rows $(ROWS) --checkpoint '$(SCORED)' \
		--seed $(SEED) $(if $(ANNOTATIONS),--annotations $(ANNOTATIONS))
	@touch $@

$(RESULTS): $(ISOLATED) $(SEPARATED) $(BASELINES)
	$(IN_TIME)
	$(SLICE) $(ACCOMPGEN) evaluate --vocals $(VOCALS) --reference $(REFERENCE) -o $(@D) \
		--system isolated=$(SCORES)/isolated $(if $(SEPARATED),--system separated=$(SCORES)/separated --delta isolated separated) \
		$(foreach row,$(ROWS),--system $(row)=$(SCORES)/baselines/$(row)) --embedding '$(EMBEDDING)' --window $(WINDOW) --seed $(SEED) \
		--device $(DEVICE) $(if $(SEAMS),--seams $(SEAMS)) $(if $(ANNOTATIONS),--annotations $(ANNOTATIONS)) $(if $(CACHE),--cache '$(CACHE)')
