"""Integers -> logits: attention, the transformer, and the language model of a stage. Nothing here knows where ids come from."""
