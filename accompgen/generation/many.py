"""One accompaniment for each of many vocals: a job for data/executors.py. A stopped run goes on where it was.

A song is finished if its three files are there and its report says that they were made from the same vocal, seed, settings,
weights and faders; files made otherwise are replaced only by force. What else a checkpoint's config.json says, its own settings
for one, does not count: a report has the settings that were used.
"""

import json
from dataclasses import asdict, dataclass, field, replace

from accompgen import CHECKPOINT, audio
from accompgen.chart_input import ChartRequest
from accompgen.generation import single_stage, song
from accompgen.generation.mixdown import BALANCE_LU, faders_in
from accompgen.generation.report import asked_for
from accompgen.generation.sampling import PUBLISHED, Sampling
from accompgen.generation.settings import check_settings
from accompgen.generation.vocal import read_vocal


@dataclass(frozen=True)
class GenerateJob:
    """What every song of a folder is made with: see `pipeline.load`, `Accompanist.accompany` and `Song.save`."""

    directory: str
    checkpoint: str = CHECKPOINT
    device: str = "auto"
    seed: int = 0
    sampling: dict[str, Sampling] = field(default_factory=dict, hash=False)  # by stage; else the checkpoint's own
    balance: float = BALANCE_LU
    noise: float | None = None  # the model's own
    loudness: float | None = None
    stems: tuple[str, ...] | None = None  # all that the checkpoint makes
    prompts: tuple[str, ...] = ()
    chart: ChartRequest | None = None
    click: bool = False
    format: str = "wav"
    bit_depth: str = "24"
    rate: int | None = None
    channels: int | None = None
    force: bool = False
    engine: str = "auto"

    def __post_init__(self):
        check_settings(self.balance, self.noise or 0.0, self.loudness, self.rate, self.channels)

    def load(self):
        return single_stage.load_any(self.checkpoint, self.device, engine=self.engine)

    def work(self, model, name: str, path) -> dict:
        """Make one song -> {"paths", "made", "error"}: an error of one vocal does not stop the others."""
        try:
            vocal = replace(read_vocal(path), name=name)
            made = not self._finished(model, vocal)
            paths = self._make(model, vocal) if made else self._paths(model, name, force=True)
        except ValueError as error:  # what our own errors are
            return {"paths": [], "made": False, "error": str(error)}
        return {"paths": [str(path) for path in paths.values()], "made": made, "error": None}

    def _make(self, model, vocal):
        # there while the files of this song may be some but not all
        begun = self._report(model, vocal.name).with_suffix(".begun")
        begun = begun.with_name(f".{begun.name}")
        force = self.force or begun.exists()
        self._paths(model, vocal.name, force)
        channels = self.channels or max(len(vocal.wav), model.decoder.channels)
        song.format_of(self.rate or vocal.rate, channels, self.format, self.bit_depth)
        made = model.accompany(
            vocal, self.seed, sampling=self.sampling, balance=self.balance, noise=self._noise(model), loudness=self.loudness,
            stems=self.stems, prompt=list(self.prompts), chart=self.chart, rate=self.rate, channels=self.channels,
            **({"click": True} if self.click else {}),
        )  # fmt: skip
        audio.make_folder(self.directory)
        begun.touch()
        paths = made.save(self.directory, self.format, self.bit_depth, force)
        begun.unlink(missing_ok=True)
        return paths

    def _noise(self, model):
        return model.noise if self.noise is None else self.noise

    def _parts(self, model):
        return song.parts_of(self._stems(model), model.has_chart)

    def _stems(self, model):
        return model.check_stems(self.stems, list(self.prompts))

    def _paths(self, model, name, force):
        return song.output_paths(self.directory, name, self.format, force, *self._parts(model))

    def _report(self, model, name):
        """Where the report of a song goes: long names are cut."""
        return self._paths(model, name, force=True)["report"]

    def _finished(self, model, vocal):
        if self.force or not song.has_outputs(self.directory, vocal.name, self.format, *self._parts(model)):
            return False
        report = self._report(model, vocal.name)
        try:
            found = json.loads(report.read_text(encoding="utf-8"))
            if not isinstance(found, dict):
                raise ValueError(f"it holds a {type(found).__name__}, expected an object")
        except ValueError as error:
            raise ValueError(
                f"{report} is no report of a song: {error}; choose another folder, or force to replace it"
            ) from error
        sampling = model.settings(self.sampling)
        settings = asked_for(
            sampling, self.balance, self._noise(model), self.loudness, self.prompts, self.chart, self.rate, self.channels,
            self.click,
        )  # fmt: skip
        asked = {"vocal": vocal.sha256, "seed": self.seed, "settings": settings, "checkpoint": model.about["sha256"]}
        was = {"seed": found.get("seed"), "settings": dict(found.get("settings") or {})}
        for stage in set(was["settings"]) & set(model.sampling):  # an older report lacks what was no setting yet
            was["settings"][stage] = asdict(PUBLISHED) | was["settings"][stage]
        was |= {name: found.get(name, {}).get("sha256") for name in ("vocal", "checkpoint")}
        stems = self._stems(model)
        asked["faders"] = {stem: model.faders.get(stem, 0.0) for stem in stems}
        was["faders"] = faders_in(found.get("levels", {}), stems)
        other = [name for name in asked if asked[name] != was[name]]
        if other:
            raise ValueError(
                f"{report}: what made this song differs in {' and '.join(other)}; choose another folder, "
                "or force to replace it"
            )
        return True
