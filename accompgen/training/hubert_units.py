"""The end of the small HuBERT's training: features -> k-means -> units, and the layer whose units tell most of the music."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import torch

from accompgen import audio
from accompgen.data.pairs import read_mix
from accompgen.data.tracks import ACCOMPANIMENT
from accompgen.stages import VOICE
from accompgen.tokens import kmeans
from accompgen.tokens.hubert import SAMPLE_RATE, Hubert
from accompgen.tokens.semantic import SemanticTokenizer
from accompgen.training import hubert_probe as probe
from accompgen.training import hubert_targets as targets

PARTS = (VOICE, ACCOMPANIMENT)


def read_sound(*paths) -> torch.Tensor:
    """The sum of sound files as mono at 16 kHz: [T] float32."""
    wav, rate = read_mix(paths)
    return torch.from_numpy(np.ascontiguousarray(audio.resample(audio.to_mono(wav), rate, SAMPLE_RATE), dtype=np.float32))


def spaced(songs: list, count: int) -> list:
    """At most `count` songs, evenly spaced over the list."""
    return [songs[i] for i in sorted({round(x) for x in np.linspace(0, len(songs) - 1, min(count, len(songs)))})]


def choose_tokenizer(config, hubert: Hubert, songs: dict, described: tuple, log) -> SemanticTokenizer:
    """Cluster the features of each probed layer; the tokenizer of the layer whose units tell most.

    Args:
        config: the HubertTrainConfig of the training.
        hubert: the trained network, in evaluation mode.
        songs: "train" and "validation" -> songs as dicts: part -> files that sum to it, and "meta".
        described: mean, deviation and centres of the targets, whose own figures come first.
        log: called with the figures of the targets and of each layer.
    """
    learned, held_out = spaced(songs["train"], config.cluster_songs), spaced(songs["validation"], config.probe_songs)
    mean, deviation, centres = described

    def target_units(wav):
        return kmeans.assign(targets.describe(wav, mean, deviation, config.chroma_weight), centres)

    units = {part: [target_units(read_sound(*song[part])) for song in learned] for part in PARTS}
    log(**_probe(f"targets (MFCC + {config.chroma_weight:g} x chroma)", target_units, learned, units, held_out, config.units))
    best, best_score = None, -1.0
    for layer in config.probe_layers:
        tokenizer = SemanticTokenizer(hubert, layer, torch.zeros(config.units, config.model.width))
        features = {part: _features(config, tokenizer, learned, part) for part in PARTS}
        found = kmeans.fit(torch.cat([*features[VOICE], *features[ACCOMPANIMENT]]), config.units, seed=config.seed)
        tokenizer = SemanticTokenizer(hubert, layer, found)
        units = {part: [kmeans.assign(rows, found) for rows in features[part]] for part in PARTS}
        figures = _probe(f"layer {layer}", partial(_units, tokenizer), learned, units, held_out, config.units)
        log(**figures)
        score = figures["sung_pitch_class"] + figures["chord_root"]
        if score > best_score:
            best, best_score = tokenizer, score
    log(f"layer {best.layer} it is")
    return best


def _features(config, tokenizer, songs, part):
    """Features [S, D] of each song, every other one heard through noise: units are wanted that do not mind it."""
    generator, rows = torch.Generator().manual_seed(config.seed), []
    for index, song in enumerate(songs):
        wav = read_sound(*song[part])
        if index % 2:
            wav = wav + config.noise * torch.randn(wav.shape, generator=generator)
        rows.append(tokenizer.features(wav[None])[0].cpu())
    return rows


def _units(tokenizer, wav):
    return tokenizer.encode(wav[None])[0].cpu()


def _probe(name, encode, learned, learned_units, held_out, vocab):
    """Figures of units on held-out songs: what they tell, how smoothly they run, how many are in use, what noise changes."""
    held = {part: [encode(read_sound(*song[part])) for song in held_out] for part in PARTS}
    noise, same = torch.Generator().manual_seed(0), []
    for song, units in zip(held_out, held[VOICE]):
        wav = read_sound(*song[VOICE])
        same.append((encode(wav + 0.01 * torch.randn(wav.shape, generator=noise)) == units).float().mean().item())
    accuracy = []
    for part, truth in zip(PARTS, (probe.sung_classes, probe.chord_roots)):
        pairs = [
            [(units, truth(_meta(song), len(units))) for song, units in zip(songs, rows)]
            for songs, rows in ((learned, learned_units[part]), (held_out, held[part]))
        ]
        accuracy.append(probe.lookup_accuracy(*pairs, vocab))
    return {
        "units_of": name, "sung_pitch_class": accuracy[0], "chord_root": accuracy[1],
        "vocal_repeats": probe.repeat_share(held[VOICE]),
        "accompaniment_repeats": probe.repeat_share(held[ACCOMPANIMENT]),
        "units_used": len(torch.cat([*held[VOICE], *held[ACCOMPANIMENT]]).unique()),
        "unit_kept_under_noise": sum(same) / len(same),
    }  # fmt: skip


def _meta(song):
    return json.loads(Path(song["meta"]).read_text(encoding="utf-8"))
