"""Tiny MusicXML and MIDI files, written tag by tag and byte by byte."""

import struct
import zipfile

DIVISIONS = 12  # of a quarter note


def pitch(midi):
    """<pitch> of a MIDI number, spelled with sharps."""
    step, alter = ("C0", "C1", "D0", "D1", "E0", "F0", "F1", "G0", "G1", "A0", "A1", "B0")[
        midi % 12
    ]
    return (
        f"<pitch><step>{step}</step><alter>{alter}</alter><octave>{midi // 12 - 1}</octave></pitch>"
    )


def note(midi, quarters, lyric="", tie="", chord=False, staff=1, voice=1):
    """A <note>; `midi` None is a rest, `tie` start, stop or both."""
    what = "<rest/>" if midi is None else pitch(midi)
    ties = "".join(f'<tie type="{kind}"/>' for kind in tie.split())
    text = f"<lyric><text>{lyric}</text></lyric>" if lyric else ""
    return (
        f"<note>{'<chord/>' if chord else ''}{what}"
        f"<duration>{round(quarters * DIVISIONS)}</duration>{ties}<voice>{voice}</voice><staff>{staff}</staff>{text}</note>"
    )


def grace(midi):
    return f"<note><grace/>{pitch(midi)}<type>eighth</type></note>"


def harmony(root, kind, *degrees, alter=0, bass="", text=None, offset=0):
    """A <harmony>; degrees are (type, value, alter), `bass` such as E or Bb."""
    names = f"<root><root-step>{root}</root-step><root-alter>{alter}</root-alter></root>"
    names += f"<kind{'' if text is None else f' text={text!r}'}>{kind}</kind>"
    if bass:
        alter = f"<bass-alter>{-bass.count('b')}</bass-alter>"
        names += f"<bass><bass-step>{bass[0]}</bass-step>{alter}</bass>"
    for change, value, by in degrees:
        names += (
            f"<degree><degree-value>{value}</degree-value><degree-alter>{by}</degree-alter>"
            f"<degree-type>{change}</degree-type></degree>"
        )
    return f"<harmony>{names}<offset>{offset * DIVISIONS}</offset></harmony>"


def tempo(bpm, words="Allegro"):
    return (
        f"<direction><direction-type><words>{words}</words></direction-type>"
        f'<sound tempo="{bpm}"/></direction>'
    )


def backup(quarters):
    return f"<backup><duration>{round(quarters * DIVISIONS)}</duration></backup>"


def attributes(metre="4/4", fifths=0, staves=1):
    beats, unit = metre.split("/")
    return (
        f"<attributes><divisions>{DIVISIONS}</divisions><key><fifths>{fifths}</fifths></key>"
        f"<time><beats>{beats}</beats><beat-type>{unit}</beat-type></time>"
        f"<staves>{staves}</staves></attributes>"
    )


def write_score(path, parts):
    """Write {part name: [what stands in each bar, ...]} as .xml, or in a container as .mxl."""
    names = "".join(
        f'<score-part id="P{k}"><part-name>{name}</part-name></score-part>'
        for k, name in enumerate(parts)
    )
    text = f'<?xml version="1.0"?><score-partwise version="3.1"><part-list>{names}</part-list>'
    for k, bars in enumerate(parts.values()):
        measures = "".join(
            f'<measure number="{n}">{bar}</measure>' for n, bar in enumerate(bars, 1)
        )
        text += f'<part id="P{k}">{measures}</part>'
    text += "</score-partwise>"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mxl":
        with zipfile.ZipFile(path, "w") as archive:
            # as in OpenEWLD, the title's ampersand is not escaped
            archive.writestr("META-INF/container.xml", '<container full-path="A & B.xml">')
            archive.writestr("A & B.xml", text)
    else:
        path.write_text(text, encoding="utf-8")
    return path


def write_midi(path, tracks, ticks=480):
    """Write a MIDI file of format 1: tracks of (tick, bytes) events, each by its time."""
    chunks = struct.pack(">4sIHHH", b"MThd", 6, 1, len(tracks), ticks)
    for events in tracks:
        data, now = b"", 0
        for tick, message in events:
            data += _variable(tick - now) + message
            now = tick
        data += b"\x00\xff\x2f\x00"
        chunks += struct.pack(">4sI", b"MTrk", len(data)) + data
    path.write_bytes(chunks)


def on(key, velocity=80):
    return bytes((0x90, key, velocity))


def off(key):
    return bytes((0x80, key, 0))


def track_name(name):
    return b"\xff\x03" + bytes((len(name),)) + name.encode()


def set_tempo(microseconds):
    return b"\xff\x51\x03" + microseconds.to_bytes(3, "big")


def _variable(number):
    """A MIDI variable-length number."""
    data = bytes((number & 0x7F,))
    while number := number >> 7:
        data = bytes((number & 0x7F | 0x80,)) + data
    return data
