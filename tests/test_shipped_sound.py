"""The codec of the shipped checkpoint must play no fault that an ear hears: a round trip of a recording and of a band."""

import numpy as np
import pytest
import torch
from band_like import band

from accompgen import audio
from accompgen.analysis import artefacts
from accompgen.generation.pipeline import load_tokenizer

CREST_DB = 1.5


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("pocket", "acoustic", "cpu")


@pytest.fixture
def recording(shared, tokenizer):
    path = shared / "data" / "mixtures" / "slow_motion_dream_excerpt.mp3"
    if not path.is_file():
        pytest.skip(f"{path} is not beside the repository")
    wav, rate = audio.read(path)
    return audio.resample(audio.to_mono(wav), rate, tokenizer.sample_rate)


def round_trip(tokenizer, mono):
    """Sound [T] at the tokenizer's rate -> (wav [C, T'], rate) as its codes are played."""
    wav = tokenizer.decode(tokenizer.encode(torch.from_numpy(mono)[None]))[0].numpy()
    return np.atleast_2d(wav), tokenizer.sample_rate


def check(tokenizer, mono):
    truth = artefacts.measure(mono, tokenizer.sample_rate)
    assert artefacts.flags(truth) == [], "what goes in has the faults already"
    wav, rate = round_trip(tokenizer, mono)
    wav = wav[:, : round(len(mono) * rate / tokenizer.sample_rate)]
    played = artefacts.measure(wav, rate)
    # codes are of one channel: the peaks of their sum are compared
    crest = artefacts.crest_factor(audio.to_mono(wav)) - truth["crest_db"]
    told = {name: round(played[name], 2) for name in ("frame_lock", "buzz_db")} | {"crest": round(crest, 2)}
    assert played["frame_lock"] <= 1.2 and played["buzz_db"] <= 1.5 and abs(crest) <= CREST_DB, told


def test_a_recording_is_played_without_clicks(tokenizer, recording):
    check(tokenizer, recording)


def test_a_band_is_played_without_clicks(tokenizer):
    check(tokenizer, band(10.0, tokenizer.sample_rate, bpm=117.0))
