"""Shards -> weights: the loop, the DeepSpeed engine, the loss, and whether the model listens."""
