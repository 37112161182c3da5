"""The speaking voices that singers are made of: what each is, its licence, what it needs.

A voice takes part only where its engine and its data are installed; which ones do is settled once,
when a folder of songs is begun.
"""

import importlib.util
import json
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
        what = f"{self.name} ({self.language}, {self.timbre}; {self.package})"
        return f"{what}: {self.credit}; {self.licence}"


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
        ("tohoku", "hts", "tohoku-f01-neutral", "Japanese", "woman",
         "tohoku-f01-neutral.htsvoice", _TOHOKU),
        ("tohoku-happy", "hts", "tohoku-f01-happy", "Japanese", "woman",
         "tohoku-f01-happy.htsvoice", _TOHOKU),
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
    if voice.engine == "hts":
        return _missing_hts(voice, hts_folder)
    flite = voice.engine == "flite" and shutil.which("flite")
    if flite or voice.model in _festival_voices():
        return None
    how = f"(Debian, Ubuntu: apt-get install {voice.package})"
    return f"voice {voice.name} needs the system package {voice.package} {how}"


def _missing_hts(voice, folder):
    if importlib.util.find_spec("pyopenjtalk") is None:
        return f"voice {voice.name} needs pyopenjtalk-plus: pip install 'accompgen[voices]'"
    if hts_file(voice.model, folder) is None:
        file = f"the file {voice.model}.htsvoice"
        return f"voice {voice.name} needs {file}: name the folder that holds it with --hts-voices"
    return None


def hts_file(model, folder=None):
    """Path of an .htsvoice file in `folder` or where the system or pyopenjtalk has it, or None.

    Raises FileNotFoundError where `folder` does not exist.
    """
    if folder and not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder} is no folder; expected one that holds .htsvoice files")
    spec = importlib.util.find_spec("pyopenjtalk")
    packages = spec.submodule_search_locations if spec else ()
    places = ([folder] if folder else []) + [_SYSTEM_HTS]
    places += [Path(package) / "htsvoice" for package in packages]
    found = (path for place in places for path in sorted(Path(place).rglob(f"{model}.htsvoice")))
    return next(found, None)


@cache
def _festival_voices():
    """Names of the voices that Festival finds; none where there is no Festival."""
    program = shutil.which("festival")
    if program is None:
        return frozenset()
    command = [program, "--batch", "(print (voice.list))"]
    listing = subprocess.run(command, capture_output=True, text=True)
    return frozenset(listing.stdout.strip().strip("()").split())


def take_part(folder, wanted=None, hts_folder=None):
    """Which voices sing in a folder of songs.

    Args:
        folder: of the songs. A bank that is there already stands for an installed voice.
        wanted: names of voices, `permissive` for all under no copyleft licence. None: those that
            the folder was begun with, for a new one all that are installed.
        hts_folder: where .htsvoice files lie.

    Returns: names in the order of VOICES, and what is not installed, a line each.
    Raises: ValueError (a name that does not exist), FileNotFoundError (none is left for training).
    """
    settings = Path(folder) / "settings.json"
    if not wanted and settings.exists():
        wanted = json.loads(settings.read_text()).get("voices")
    names = set(wanted or VOICES)
    if "permissive" in names:
        names = names - {"permissive"} | {name for name in VOICES if VOICES[name].permissive}
    for name in sorted(names):
        find(name)
    banks = {path.stem for path in (Path(folder) / "voices").glob("*.npz")}
    chosen = [VOICES[name] for name in VOICES if name in names]
    lacks = {v.name: None if v.name in banks else missing(v, hts_folder) for v in chosen}
    present = tuple(name for name, reason in lacks.items() if reason is None)
    left_out = {name: reason for name, reason in lacks.items() if reason}
    if not wanted and left_out:  # nobody asked for these: what is said of them is short
        shown = UNSEEN if present else next(iter(left_out))
        others = f"{len(left_out)} voices are not installed (docs/data.md lists all)"
        left_out = {"": others} | {name: left_out[name] for name in left_out if name == shown}
    if not set(present) - {UNSEEN}:
        alone = f"{UNSEEN} sings in validation alone; name another one, too"
        reasons = left_out.values() or [alone]
        raise FileNotFoundError(f"no voice is left to sing: {'; '.join(reasons)}")
    return present, list(left_out.values())


def licences(names):
    """The licences of some voices in one line, for a song that any of them may have sung."""
    found = dict.fromkeys(VOICES[name].licence for name in names)
    return f"voices {', '.join(found)}"
