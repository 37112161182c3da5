"""Vocal -> accompaniment: sampling, the decoding loop of one stage, the three stages in order, and wave to wave."""
