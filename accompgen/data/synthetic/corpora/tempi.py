"""Tempo words -> the beats a minute that they usually mean, for scores without a number. Pure."""

from accompgen.data.synthetic.compose import TEMPI
from accompgen.data.synthetic.corpora.sheet import TempoRange

# the beginning of a word, or of words, in lower case -> quarter notes a minute; the longest that
# fits counts. Ranges as metronomes and music dictionaries print them, narrowed.
WORDS = {
    "sehr langsam": (40, 54), "sehr lebhaft": (132, 160), "sehr schnell": (152, 184),
    "sehr rasch": (152, 184), "très lent": (40, 54), "très vif": (152, 184),
    "très vite": (152, 184), "very slow": (40, 54), "very fast": (152, 184),
    "prestissimo": (184, 208), "presto": (168, 192), "vivac": (140, 168), "vivo": (140, 168),
    "allegretto": (100, 120), "allegro": (116, 152), "allegro mod": (104, 124),
    "moderat": (88, 112), "andantino": (80, 100), "andante": (72, 92), "andante mod": (80, 96),
    "larghetto": (56, 66), "largo": (42, 58), "largament": (46, 60), "lento": (46, 60),
    "adagi": (54, 72), "grave": (36, 50), "tranquil": (60, 80), "maestoso": (72, 92),
    "animato": (116, 144), "con moto": (92, 116), "langsam": (46, 62), "ruhig": (58, 76),
    "gehend": (72, 92), "mässig": (80, 100), "mäßig": (80, 100), "bewegt": (100, 126),
    "lebhaft": (116, 144), "schnell": (136, 168), "rasch": (136, 168), "innig": (60, 84),
    "munter": (112, 138), "leicht": (100, 126), "frisch": (112, 138), "feierlich": (58, 76),
    "zart": (60, 84), "lent": (46, 62), "modér": (80, 104), "anim": (112, 144), "vif": (136, 168),
    "vite": (136, 168), "calme": (58, 76), "slow": (50, 68), "quick": (126, 160),
    "fast": (136, 168), "lively": (116, 144), "gently": (66, 88), "waltz": (132, 180),
    "valse": (132, 180), "walzer": (132, 180), "march": (100, 126), "marcia": (100, 126),
}  # fmt: skip
SLOWER = 0.7  # a beat of a dotted quarter or a half note under the same word


def tempo_range(counting, words):
    """TempoRange for a bars.Counting from the texts at the start of a score, or the usual one of
    its metre.
    """
    slower = SLOWER if counting.beat > 1 else 1.0
    text = " ".join(" ".join(words).casefold().split())
    fitting = [(len(word), limits) for word, limits in WORDS.items() if f" {word}" in f" {text}"]
    if fitting:
        low, high = max(fitting)[1]
        return TempoRange(slower * low, slower * high)
    low, high = TEMPI[counting.metre]
    # the range of 6/8 is that of dotted quarters already
    slower = 1.0 if counting.metre == "6/8" else slower
    return TempoRange(slower * low, slower * high)
