"""The speaking voices that singers are made of: what each is, its licence, and whether it is installed.

A voice takes part only where its engine and its data are installed; which ones do is settled once,
when a folder of songs is begun.
"""

import importlib.util
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SYSTEM_HTS = Path("/usr/share/hts-voice")


@dataclass(frozen=True)
class Voice:
    """A voice of speech synthesis.

    engine: flite, festival or hts; model: the voice's name there; timbre: woman, man or boy;
    package: what to install; licence: of the voice's data; credit: whom its licence names.
    """

    name: str
    engine: str
    model: str
    language: str
    timbre: str
    package: str
    licence: str
    credit: str

    @property
    def speaker(self):
        """The person: one may speak in several styles, `mei` and `mei-happy`."""
        return self.name.partition("-")[0]

    @property
    def permissive(self):
        """Whether the licence asks for no more than to be named: it is no copyleft licence."""
        return "GPL" not in self.licence

    @property
    def sentence(self):
        """Who made the voice and under what licence, for the card of a model that heard it."""
        return f"{self.name} ({self.language}, {self.timbre}; {self.package}): {self.credit}; {self.licence}"


_CMU = ("CMU licence (BSD-style)", "Carnegie Mellon University")
_CSTR = ("CSTR licence (BSD-style)", "CSTR, University of Edinburgh, 1997")
_SHMYREV = ("BSD-style licence", "Nickolay V. Shmyrev, 2005")
_ITALIAN = ("GPL-2.0+", "ISTC-SPFD CNR and ITC-irst, Italian Festival modules, 2008")
_FINNISH = ("LGPL-2.0+", "Universities of Helsinki and Joensuu, Suopuhe, 2000-2003")
_CZECH_2, _CZECH_3 = (("GPL-2.0+", "Brailcom, 2005"), ("GPL-3.0+", "Brailcom, 2005-2011"))
_CATALAN = ("LGPL-2.1+", "Universitat Politècnica de Catalunya, FestCat, 2007-2016")
_TELUGU = ("GPL-2.0+", "Chaitanya Kamisetty and DONLab, IIT Madras, 2006")
_MEI = ("CC-BY-3.0", "HTS voice Mei, Nagoya Institute of Technology, MMDAgent, 2009-2013")
_TOHOKU = ("CC-BY-4.0", "HTS voice tohoku-f01, Tohoku University, Ito-Nose Laboratory, 2015")
# A speaker stands here with one timbre. Left out as speakers that are here already: Festival's
# kal_diphone (kal16), us_slt_arctic_hts (slt), and its Hindi and Marathi voice (nsk).
VOICES = {
    row[0]: Voice(*row[:-1], *row[-1])
    for row in (
        ("slt", "flite", "slt", "English", "woman", "flite", _CMU),
        ("rms", "flite", "rms", "English", "man", "flite", _CMU),
        ("awb", "flite", "awb", "English", "man", "flite", _CMU),
        ("kal16", "flite", "kal16", "English", "man", "flite", _CMU),
        ("ked", "festival", "ked_diphone", "English", "man", "festvox-kdlpc16k", _CSTR),
        ("lp", "festival", "lp_diphone", "Italian", "woman", "festvox-italp16k", _ITALIAN),
        ("pc", "festival", "pc_diphone", "Italian", "man", "festvox-itapc16k", _ITALIAN),
        ("lj", "festival", "suo_fi_lj_diphone", "Finnish", "woman", "festvox-suopuhe-lj", _FINNISH),
        ("mv", "festival", "hy_fi_mv_diphone", "Finnish", "man", "festvox-suopuhe-mv", _FINNISH),
        ("ph", "festival", "czech_ph", "Czech", "man", "festvox-czech-ph", _CZECH_2),
        ("dita", "festival", "czech_dita", "Czech", "woman", "festvox-czech-dita", _CZECH_3),
        ("machac", "festival", "czech_machac", "Czech", "man", "festvox-czech-machac", _CZECH_3),
        ("krb", "festival", "czech_krb", "Czech", "boy", "festvox-czech-krb", _CZECH_3),
        ("ona", "festival", "upc_ca_ona_hts", "Catalan", "woman", "festvox-ca-ona-hts", _CATALAN),
        ("nsh", "festival", "msu_ru_nsh_clunits", "Russian", "man", "festvox-ru", _SHMYREV),
        ("nsk", "festival", "telugu_NSK_diphone", "Telugu", "man", "festvox-te-nsk", _TELUGU),
        ("mei", "hts", "mei_normal", "Japanese", "woman", "pyopenjtalk-plus", _MEI),
        ("mei-happy", "hts", "mei_happy", "Japanese", "woman", "mei_happy.htsvoice", _MEI),
        ("tohoku", "hts", "tohoku-f01-neutral", "Japanese", "woman", "tohoku-f01-neutral.htsvoice", _TOHOKU),
        ("tohoku-happy", "hts", "tohoku-f01-happy", "Japanese", "woman", "tohoku-f01-happy.htsvoice", _TOHOKU),
    )
}  # fmt: skip
# The voice that training never draws. No other voice has its speaker or its language.
UNSEEN = "nsk"


def find(name):
    """The voice of that name; ValueError that lists the names for any other."""
    if name not in VOICES:
        raise ValueError(f"voice {name!r} is none of {', '.join(VOICES)}")
    return VOICES[name]


def missing(voice, hts_folder=None):
    """What has to be installed before `voice` can speak, in one line; None where nothing has."""
    needs = f"voice {voice.name} needs"
    if voice.engine == "flite":
        found = shutil.which("flite")
    elif voice.engine == "festival":
        found = voice.model in _festival_voices()
    elif importlib.util.find_spec("pyopenjtalk") is None:
        return f"{needs} the package pyopenjtalk-plus: pip install 'accompgen[voices]'"
    else:
        found = hts_file(voice.model, hts_folder)
        needs += f" the file {voice.model}.htsvoice in the folder of HTS voices; download it and name the folder"
        return None if found else needs + " with --hts-voices DIR"
    package = (
        f"the system package {voice.package} (Debian, Ubuntu: apt-get install {voice.package})"
    )
    return None if found else f"{needs} {package}"


def hts_file(model, folder=None):
    """Path of an .htsvoice file: in `folder`, else where the system or pyopenjtalk has it; or None."""
    folders = [Path(folder)] if folder else []
    spec = importlib.util.find_spec("pyopenjtalk")
    folders += [
        _SYSTEM_HTS,
        *(Path(p) / "htsvoice" for p in (spec and spec.submodule_search_locations or ())),
    ]
    found = (path for place in folders for path in sorted(place.rglob(f"{model}.htsvoice")))
    return next(found, None)


@cache
def _festival_voices():
    """Names of the voices that Festival finds; none where there is no Festival."""
    program = shutil.which("festival")
    if program is None:
        return frozenset()
    listing = subprocess.run(
        [program, "--batch", "(print (voice.list))"], capture_output=True, text=True
    )
    return frozenset(listing.stdout.strip().strip("()").split())


def settle(wanted=None, hts_folder=None, built=()):
    """Which voices take part in a folder of songs.

    Args:
        wanted: names of voices, `permissive` for those under no copyleft licence; None for all.
        hts_folder: where .htsvoice files lie.
        built: names of voices that need no installation, since their banks exist already.

    Returns: names in the order of VOICES, and one line for each voice that is left out.
    Raises: ValueError (a name that does not exist), FileNotFoundError (no voice for training).
    """
    names = set(wanted or VOICES)
    if "permissive" in names:
        names = names - {"permissive"} | {
            voice.name for voice in VOICES.values() if voice.permissive
        }
    chosen = [VOICES[name] for name in VOICES if name in {find(name).name for name in names}]
    reasons = {v.name: None if v.name in built else missing(v, hts_folder) for v in chosen}
    present = tuple(name for name, reason in reasons.items() if reason is None)
    if not set(present) - {UNSEEN}:
        raise FileNotFoundError(
            f"no voice can sing: {'; '.join(filter(None, reasons.values()))}"
            if any(reasons.values())
            else f"voice {UNSEEN} is for validation alone; name at least one other"
        )
    return present, [reason for reason in reasons.values() if reason]
