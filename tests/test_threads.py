"""How many threads what gets, and that a vocal's remark tells a voice from a band."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny import sing

from accompgen import threads
from accompgen.generation.solo import bass_share, remark_on


def test_steps_of_a_small_stage_have_one_thread_and_give_it_back(two_threads):
    with threads.step_threads(1000):
        assert torch.get_num_threads() == 1
    with threads.step_threads(threads.SMALL_STEP):
        assert torch.get_num_threads() == 2
    with pytest.raises(KeyError), threads.step_threads(1000):
        raise KeyError
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("given, expected", [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_sleep_unless_the_user_says_otherwise(given, expected):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": given} if given else {}
    code = "import accompgen, os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [expected, "False"]


def test_a_band_is_told_from_a_voice():
    rate, time = 22_050, np.arange(4 * 22_050) / 22_050
    voice, bass = sing(4.0, rate), 0.2 * np.sin(2 * np.pi * 55 * time, dtype=np.float32)[None]
    assert bass_share(voice, rate) < 0.05 and remark_on(voice, rate) is None
    assert bass_share(voice + bass, rate) > 0.9 and "no solo voice" in remark_on(voice + bass, rate)
    assert remark_on((voice + bass)[:, :rate], rate) is None, "too short to tell"
