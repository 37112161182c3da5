"""What a stage is conditioned on: context streams as rows of its embedding table, and as frames that sound together.

Three kinds of condition meet in a stage. *Aligned* streams are summed at each target step where they sound; a stage with
`context = "prefix"` reads the same streams as one causal sequence before its target. What holds for all of a window (the stem,
a text) stands in a short *prefix* of the decoder's sequence. Whatever is not known, or is dropped in training and in guidance,
is the row NULL: an id below 0, stream by stream, or a span of the whole context.
"""

from accompgen.layout import NULL, Layout, frames_within, quickest, sounding
from accompgen.stages import Stream


def context_rows(layout: Layout, context: dict, drop=None) -> list:
    """Rows of the embedding table and places of each context stream.

    Args:
        context: stream name -> LongTensor [B, Q, T]; ids below 0 are not known.
        drop: bool [B], rows of the batch that hear nothing; or [B, K], where in K equal parts of them; None: none.

    Returns:
        of each context stream (rows [B, T * Q], interleaved; layout.Places).
    """
    parts = []
    for index, stream in enumerate(layout.context):
        grid = context[stream.name]
        rows = layout.table_rows(index, grid)
        if drop is not None:
            dropped = drop.view(len(drop), -1)  # [B, K]
            rows = rows.masked_fill(dropped.repeat_interleave(rows.shape[1] // dropped.shape[1], dim=1), NULL)
        parts.append((rows, layout.places(index, grid.shape[-1], grid.device)))
    return parts


def masked_prefix_rows(layout: Layout, prefix_ids: dict | None, batch: int, drop=None, device=None):
    """Rows of the embedding table [B, P] of the ids of the prefix, name -> [B, length]. NULL where all is dropped."""
    rows = layout.prefix_rows(prefix_ids or {}, batch, device)
    if drop is not None:
        rows = rows.masked_fill(drop.view(len(drop), -1).all(1, keepdim=True), NULL)
    return rows


def frame_sums(embedded: list, streams: tuple[Stream, ...]):
    """Embeddings of interleaved streams, each [B, T * Q, D] -> summed where they sound together [B, T, D].

    At the rate of the quickest stream, T as far as all reach: of a slower one the frame that sounds.
    """
    at = quickest(streams)
    grids = [x.unflatten(1, (-1, stream.codebooks)).sum(2) for x, stream in zip(embedded, streams)]  # [B, T, D]
    frames = min(frames_within(stream, x.shape[1], at) for x, stream in zip(grids, streams))
    total = 0
    for x, stream in zip(grids, streams):
        same = stream.ticks == at.ticks
        total = total + (x[:, :frames] if same else x[:, sounding(at, frames, stream, x.device)])
    return total
