# Shared by the recipes that score a checkpoint: generation, baselines and evaluation. Every rule is one call of accompgen.
# A recipe sets, before it includes this file:
#   SCORED     the checkpoint, a name or a folder        SCORES      the folder for everything made here
#   READY      a file that stands once the songs do      VOCALS      folder of vocals     VOCAL_FILES  which of its files
#   REFERENCE  folder of the true accompaniments         ANNOTATIONS folder of NAME.json, or nothing
#   SEPARATED_READY, SEPARATED_VOCALS                    the same for separated vocals, or nothing

EMBEDDING ?= pocket#   pocket | vggish | clap | path; pocket is for development only
WINDOW    ?= 10#       seconds
SEED      ?= 0
DEVICE    ?= auto
CACHE     ?=#          folder of what was worked out of each file; default: the user's cache
GENERATE  ?=#          more options for accompgen generate
ROWS      ?= truth codec shuffled retrieval random silence click noise

ISOLATED  := $(SCORES)/isolated/.done
SEPARATED := $(if $(SEPARATED_VOCALS),$(SCORES)/separated/.done)
BASELINES := $(SCORES)/baselines/.done
RESULTS   := $(SCORES)/evaluation/results.json

$(ISOLATED): $(READY)
	$(ACCOMPGEN) generate $(VOCALS)/$(VOCAL_FILES) -o $(@D) --checkpoint '$(SCORED)' --seed $(SEED) --device $(DEVICE) --skip-existing $(GENERATE)
	@touch $@

$(SCORES)/separated/.done: $(SEPARATED_READY)
	$(ACCOMPGEN) generate $(SEPARATED_VOCALS)/*.wav -o $(@D) --checkpoint '$(SCORED)' --seed $(SEED) --device $(DEVICE) --skip-existing $(GENERATE)
	@touch $@

$(BASELINES): $(READY)
	$(ACCOMPGEN) baselines --vocals $(VOCALS) --reference $(REFERENCE) -o $(@D) --rows $(ROWS) --checkpoint '$(SCORED)' --seed $(SEED) \
		$(if $(ANNOTATIONS),--annotations $(ANNOTATIONS))
	@touch $@

$(RESULTS): $(ISOLATED) $(SEPARATED) $(BASELINES)
	$(ACCOMPGEN) evaluate --vocals $(VOCALS) --reference $(REFERENCE) -o $(@D) \
		--system isolated=$(SCORES)/isolated $(if $(SEPARATED),--system separated=$(SCORES)/separated --delta isolated separated) \
		$(foreach row,$(ROWS),--system $(row)=$(SCORES)/baselines/$(row)) --embedding '$(EMBEDDING)' --window $(WINDOW) --seed $(SEED) \
		--device $(DEVICE) $(if $(ANNOTATIONS),--annotations $(ANNOTATIONS)) $(if $(CACHE),--cache '$(CACHE)')
