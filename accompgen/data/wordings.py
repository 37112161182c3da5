"""What people call the things that a song's meta knows: instruments, styles, keys, ways of playing.

The first wording of each is the usual one. A wording may be wider than the thing (`piano` for a
grand), never another thing.
"""

INSTRUMENTS = {
    "acoustic grand piano": ("piano", "grand piano", "acoustic piano"),
    "bright acoustic piano": ("piano", "bright piano", "acoustic piano"),
    "electric piano": ("electric piano", "e-piano", "rhodes"),
    "FM electric piano": ("electric piano", "FM electric piano", "digital piano", "e-piano"),
    "harpsichord": ("harpsichord",),
    "vibraphone": ("vibraphone", "vibes"),
    "nylon-string guitar": (
        "acoustic guitar", "nylon-string guitar", "classical guitar", "nylon guitar", "guitar",
    ),
    "steel-string guitar": (
        "acoustic guitar", "steel-string guitar", "folk guitar", "guitar",
    ),
    "jazz guitar": ("jazz guitar", "mellow electric guitar", "electric guitar", "guitar"),
    "clean electric guitar": ("electric guitar", "clean electric guitar", "clean guitar", "guitar"),
    "harp": ("harp",),
    "acoustic bass": ("acoustic bass", "double bass", "upright bass", "bass"),
    "fingered electric bass": ("electric bass", "bass guitar", "fingered bass", "bass"),
    "picked electric bass": ("electric bass", "picked bass", "bass guitar", "bass"),
    "fretless bass": ("fretless bass", "bass"),
    "synth bass": ("synth bass", "bass"),
    "rubber synth bass": ("synth bass", "rubbery synth bass", "bass"),
    "drawbar organ": ("organ", "drawbar organ", "hammond organ"),
    "church organ": ("church organ", "pipe organ", "organ"),
    "string ensemble": ("strings", "string ensemble", "string section"),
    "slow strings": ("strings", "slow strings", "sustained strings"),
    "synth strings": ("synth strings",),
    "slow synth strings": ("synth strings", "slow synth strings"),
    "brass section": ("brass", "brass section", "horns"),
    "warm synth pad": ("warm pad", "synth pad", "pad"),
    "polysynth pad": ("synth pad", "polysynth", "pad"),
    "choir pad": ("choir", "choir pad", "pad"),
    "halo pad": ("airy pad", "synth pad", "halo pad", "pad"),
    "violin": ("violin",),
    "trumpet": ("trumpet",),
    "alto saxophone": ("saxophone", "alto sax", "sax"),
    "oboe": ("oboe",),
    "clarinet": ("clarinet",),
    "flute": ("flute",),
    "square synth lead": ("synth lead", "square lead", "lead synth"),
    "sawtooth synth lead": ("synth lead", "saw lead", "lead synth"),
    "standard drum kit": ("drums", "drum kit", "acoustic drums"),
    "room drum kit": ("drums", "roomy drums", "acoustic drums", "drum kit"),
    "power drum kit": ("drums", "big drums", "powerful drums", "drum kit"),
    "electronic drum kit": ("electronic drums", "drums"),
    "drum machine": ("drum machine", "electronic beat", "drums"),
    "jazz drum kit": ("jazz drums", "jazz kit", "drums", "acoustic drums"),
    "brushed drum kit": ("brushes", "brushed drums", "drums with brushes"),
}  # fmt: skip

# which class of the band a name belongs to; the part of a synthetic song, or the name of a stem
BASSES = ("bass", *(name for name in INSTRUMENTS if name.endswith("bass")))
KITS = ("drums", "percussion", "drum machine", *(n for n in INSTRUMENTS if n.endswith("drum kit")))
GUITARS = tuple(name for name in INSTRUMENTS if name.endswith("guitar"))
PIANOS = ("acoustic grand piano", "bright acoustic piano")
ACOUSTIC = (
    "acoustic grand piano", "bright acoustic piano", "harpsichord", "vibraphone", "harp",
    "nylon-string guitar", "steel-string guitar", "acoustic bass", "church organ",
    "string ensemble", "slow strings", "brass section", "violin", "trumpet", "alto saxophone",
    "oboe", "clarinet", "flute", "standard drum kit", "room drum kit", "jazz drum kit",
    "brushed drum kit",
)  # fmt: skip
ELECTRONIC = (
    "FM electric piano", "synth bass", "rubber synth bass", "synth strings", "slow synth strings",
    "warm synth pad", "polysynth pad", "choir pad", "halo pad", "square synth lead",
    "sawtooth synth lead", "electronic drum kit", "drum machine",
)  # fmt: skip
LOUD = (
    "power drum kit", "electronic drum kit", "drum machine", "brass section", "square synth lead",
    "sawtooth synth lead",
)  # fmt: skip
AIRY = ("halo pad", "warm synth pad", "choir pad", "slow strings", "slow synth strings")

# drum pattern -> tags, and nouns that a sentence can be built on; no `slow dance`, which is
# another thing than a slow beat to dance to
STYLES = {
    "pop": (("pop", "pop beat", "pop song"), ("pop song", "pop beat", "pop groove")),
    "rock": (("rock", "rock beat", "rock song"), ("rock song", "rock beat", "rock groove")),
    "ballad": (("ballad", "ballad beat"), ("ballad",)),
    "dance": (
        ("dance", "dance beat", "four on the floor"),
        ("dance beat", "dance track", "four-on-the-floor beat"),
    ),
    "half time": (
        ("half-time feel", "half time", "half-time beat"), ("half-time groove", "half-time beat"),
    ),
    "funk": (("funk", "funky", "funk groove"), ("funk groove", "funk song", "funky beat")),
    "waltz": (("waltz",), ("waltz",)),
    "pop waltz": (("pop waltz", "waltz", "pop in three"), ("pop waltz", "pop song in three")),
    "driving waltz": (("driving waltz", "waltz"), ("driving waltz",)),
    "slow six": (("six-eight", "6/8 feel"), ("six-eight groove", "6/8 groove")),
    "rolling six": (("rolling 6/8", "6/8 feel", "six-eight"), ("rolling 6/8 groove",)),
    "sparse six": (("sparse 6/8", "6/8 feel", "six-eight"), ("sparse 6/8 beat",)),
}  # fmt: skip
SIDE_STICK_STYLES = ("ballad", "waltz", "sparse six")
THREES = ("waltz", "pop waltz", "driving waltz")
SIXES = ("slow six", "rolling six", "sparse six")
SOFT_STYLES = ("ballad", "waltz", "slow six", "sparse six")
LIVELY_STYLES = ("pop", "rock", "dance", "funk", "driving waltz")
UNHURRIED_STYLES = ("ballad", "half time")  # never called fast, however many beats are counted

# highest BPM below which a word holds, and the words
TEMPI = (
    (60, ("very slow",)),
    (84, ("slow", "slow tempo")),
    (112, ("mid-tempo", "medium tempo", "moderate")),
    (144, ("fast", "up-tempo", "uptempo")),
    (1000, ("very fast",)),
)
NO_ADJECTIVES = ("slow tempo", "medium tempo")
METRES = {
    "3/4": ("in 3/4", "3/4 time", "three-four"), "6/8": ("in 6/8", "6/8 time", "six-eight"),
    "4/4": ("in 4/4", "4/4 time"),
}  # fmt: skip

# how the chords are played; {} is who plays them
COMPINGS = {
    "block": ("{} playing block chords", "sustained {} chords", "held {} chords"),
    "beats": ("{} chords on every beat", "{} on the beat", "steady {} chords"),
    "pulse": ("pulsing {} chords", "repeated {} chords", "pulsing {}"),
    "bass and chord": ("off-beat {} chords", "oom-pah {}", "boom-chick {}"),
    "arpeggio": ("arpeggiated {}", "{} arpeggios"),
    "broken": ("broken {} chords", "{} playing broken chords"),
}
# what a guitar's patterns are called as well
GUITAR_COMPINGS = (
    (("block", "beats", "pulse"), ("strummed {}",)),
    (("arpeggio", "broken"), ("fingerpicked {}", "picked {}")),
)
BASS_LINES = {
    "root pulse": ("pumping {}", "pulsing {}", "driving {}"),
    "root beats": ("{} on every beat", "steady {}"),
    "octaves": ("{} in octaves", "octave-jumping {}"),
    "root and fifth": ("{} on root and fifth", "root-fifth {}"),
    "long": ("{} on long notes", "sustained {}", "long {} notes"),
}

MODES = {
    "maj": "major", "min": "minor", "dor": "dorian", "mix": "mixolydian", "phr": "phrygian",
    "lyd": "lydian", "loc": "locrian", "": "major",
}  # fmt: skip
# tonics as musicians spell them, the usual one first
MINOR_TONICS = {
    "Db": ("C#", "Db"), "Eb": ("Eb", "D#"), "Gb": ("F#", "Gb"), "Ab": ("G#", "Ab"),
    "A#": ("Bb", "A#"), "D#": ("Eb", "D#"),
}  # fmt: skip
MAJOR_TONICS = {
    "C#": ("Db", "C#"), "D#": ("Eb", "D#"), "Gb": ("F#", "Gb"), "F#": ("F#", "Gb"),
    "G#": ("Ab", "G#"), "A#": ("Bb", "A#"),
}  # fmt: skip

MOODS = {
    "soft": ("soft", "gentle", "tender"),
    "energetic": ("energetic", "lively", "upbeat"),
    "calm": ("calm", "peaceful", "relaxed"),
    "sad": ("sad", "melancholic", "wistful"),
    "happy": ("happy", "cheerful", "joyful"),
    "dreamy": ("dreamy", "floating", "airy"),
    "powerful": ("powerful", "heavy"),
    "acoustic": ("acoustic", "unplugged"),
    "electronic": ("electronic", "synthetic"),
}
SECTIONS = ("intro", "verse", "chorus", "bridge", "instrumental", "outro")  # may be a noun
BANDS = {2: "duo", 3: "trio", 4: "quartet", 5: "five-piece band"}
NOUNS = {
    None: ("song", "accompaniment", "backing track", "piece"),
    "drums": ("drum part", "drum track"),
    "bass": ("bass line", "bass part"),
    "harmony": ("harmony part", "backing part", "chord part"),
}
SWINGS = {"swung": ("swung", "swing feel", "swinging"), "light": ("lightly swung", "light swing")}
LOUDNESS = {"louder": ("louder", "loud"), "softer": ("quieter", "quiet", "softer")}
BUILDS = ("builds up", "building up", "getting louder", "crescendo")
OPENERS = ("make it ", "play ", "I want ", "give me ", "something like ", "please play ")
