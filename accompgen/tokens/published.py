"""Which published weights there are, and where: `fetch` (fetch.py) brings them into the cache.

Where a sha256 is known it is pinned. Nobody printed one for HuBERT Large that two sources agree on,
and none is known of Vocos, MusicGen, T5 and the EnCodecs of 32 and 48 kHz.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One published file. `sha256` is None where none is known; `size_bytes` likewise.

    `beside` is the name of another one that belongs in the same folder and is fetched first.
    """

    name: str
    file: str
    url: str
    size_bytes: int | None
    sha256: str | None
    beside: str | None = None


# HuBERT Base: hash as in the checkpoint table of facebookresearch/textlesslib, the same on several
# mirrors. EnCodec: its name carries the first 8 digits of this hash; size and whole hash as several
# independent loaders print them. VGGish: the PyTorch port's own release. CLAP: the hash the model's
# page shows for the file. Beat This: its authors' share.
PUBLISHED = {
    row.name: row
    for row in (
        Published(
            "hubert-base",
            "hubert_base_ls960.pt",
            "https://dl.fbaipublicfiles.com/hubert/hubert_base_ls960.pt",
            1_136_468_879,
            "1703cf8d2cdc76f8c046f5f6a9bcd224e0e6caf4744cad1a1f4199c32cac8c8d",
        ),
        Published(
            "hubert-large",
            "hubert_large_ll60k.pt",
            "https://dl.fbaipublicfiles.com/hubert/hubert_large_ll60k.pt",
            None,  # about 3.8 GB
            None,
        ),
        Published(
            "encodec-24khz",
            "encodec_24khz-d7cc33bc.th",
            "https://dl.fbaipublicfiles.com/encodec/v0/encodec_24khz-d7cc33bc.th",
            93_171_529,
            "d7cc33bcf1aad7f2dad9836f36431530744abeace3ca033005e3290ed4fa47bf",
        ),
        Published(
            "encodec-48khz",
            "encodec_48khz-7e698e3e.th",
            "https://dl.fbaipublicfiles.com/encodec/v0/encodec_48khz-7e698e3e.th",
            None,
            None,  # it begins with 7e698e3e, which is checked when the file is read
        ),
        Published(
            "encodec-32khz",
            "musicgen/compression_state_dict.bin",
            "https://huggingface.co/facebook/musicgen-small/resolve/main/compression_state_dict.bin",
            None,
            None,
        ),
        Published(
            "musicgen-small",
            "musicgen/state_dict.bin",
            "https://huggingface.co/facebook/musicgen-small/resolve/main/state_dict.bin",
            None,
            None,
            beside="encodec-32khz",
        ),
        Published(
            "t5-base",
            "t5-base/model.safetensors",
            "https://huggingface.co/google-t5/t5-base/resolve/main/model.safetensors",
            None,  # about 0.9 GB
            None,
            beside="t5-base-pieces",
        ),
        Published(
            "t5-base-pieces",
            "t5-base/spiece.model",
            "https://huggingface.co/google-t5/t5-base/resolve/main/spiece.model",
            None,
            None,
        ),
        Published(
            "vocos-encodec-24khz",
            "vocos-encodec-24khz/pytorch_model.bin",
            "https://huggingface.co/charactr/vocos-encodec-24khz/resolve/main/pytorch_model.bin",
            None,
            None,
            beside="vocos-encodec-24khz-config",
        ),
        Published(
            "vocos-encodec-24khz-config",
            "vocos-encodec-24khz/config.yaml",
            "https://huggingface.co/charactr/vocos-encodec-24khz/resolve/main/config.yaml",
            None,
            None,
        ),
        Published(
            "vggish",
            "vggish-10086976.pth",
            "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
            None,
            None,  # it begins with 10086976, which is checked when the file is read
        ),
        Published(
            "clap-music",
            "larger_clap_music-5c289311.bin",
            "https://huggingface.co/laion/larger_clap_music/resolve/a0b4534a14f58e20944452dff00a22a06ce629d1/pytorch_model.bin",
            None,  # 776 MB
            "5c289311f4a030d768af7ffbfdecd01b008aa64824211899a4e59f4f9d154fd1",
        ),
        Published(
            "beat-this",
            "beat_this-final0.ckpt",
            "https://cloud.cp.jku.at/index.php/s/7ik4RrBKTS273gp/download?path=%2F&files=final0.ckpt",
            None,
            None,
        ),
    )
}

# what lies where no program can fetch it: name -> what a person does
_DRIVE = (
    "download {file} from STAGE's shared drive, "
    "drive.google.com/drive/folders/1tNZsN3OYC8PGVklCRPkebPvS5QGX1w1q, as the README of "
    "github.com/giorgioskij/stage says, keep its name, and give its path "
    "(size and sha256 are not published)"
)
BY_HAND = {
    name: _DRIVE.format(file=f"{name}.safetensors") for name in ("stage-drums", "stage-bass")
} | {
    "hafm": "HAFM's released stages (ckpt_best.pt) cannot be played: the code and the "
    "configuration that say what they are, models/ar_singsong, data.retokenize and "
    "configs/ar.yaml, are not in its repository"
}
