"""The codec of the shipped checkpoint must play no fault that an ear hears: a round trip of a recording and of a band."""

import pytest
import torch
from band_like import band

from accompgen import audio
from accompgen.analysis import artefacts
from accompgen.tokens.decoder import round_trip
from accompgen.tokens.load import load_codec

CREST_DB = 1.5
# Of a mastered recording, whose limiter took the peaks that the decoder plays again; bursts would be far above it.
MASTERED_CREST_DB = 8.0


@pytest.fixture(scope="module")
def codec():
    return load_codec("pocket", "cpu")


@pytest.fixture
def recording(shared, codec):
    path = shared / "data" / "mixtures" / "slow_motion_dream_excerpt.mp3"
    if not path.is_file():
        pytest.skip(f"{path} is not beside the repository")
    wav, rate = audio.read(path)
    return audio.resample(audio.to_mono(wav), rate, codec[0].sample_rate)


def check(codec, mono, most_db):
    """Measure sound [T] at the tokenizer's rate and what its codes are played as."""
    tokenizer, decoder = codec
    truth = artefacts.measure(mono, tokenizer.sample_rate)
    assert artefacts.flags(truth) == [], "what goes in has the faults already"
    wav = round_trip(torch.from_numpy(mono), tokenizer, decoder).numpy()  # [C, T]
    played = artefacts.measure(wav, decoder.sample_rate)
    # codes are of one channel, so the peaks of the channels' sum are compared
    crest = artefacts.crest_factor(audio.to_mono(wav)) - truth["crest_db"]
    told = {name: round(played[name], 2) for name in ("frame_lock", "buzz_db", "clicks")}
    fine = played["frame_lock"] <= 1.2 and played["buzz_db"] <= 1.5 and -CREST_DB <= crest <= most_db
    assert fine, told | {"crest over the truth's": round(crest, 2)}


def test_a_recording_is_played_without_clicks(codec, recording):
    check(codec, recording, MASTERED_CREST_DB)


def test_a_band_is_played_without_clicks(codec):
    check(codec, band(10.0, codec[0].sample_rate, bpm=117.0), CREST_DB)
