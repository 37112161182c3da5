"""Songs -> pairs -> token shards -> batches of aligned windows."""
