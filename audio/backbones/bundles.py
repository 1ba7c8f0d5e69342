"""The pretrained models that torchaudio publishes: what they are, and fetching their weights."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from graftwork.audio.backbones.architecture import Architecture, from_torchaudio
from graftwork.core.errors import DownloadError, MissingPackageError

DOWNLOADS = "https://download.pytorch.org/torchaudio/models/"
TIMEOUT_S = 10


@dataclass(frozen=True)
class Bundle:
    """One of torchaudio.pipelines. `parameters` counts the backbone without a CTC head."""

    file: str
    parameters: int
    licence: str
    note: str


# torchaudio and the authors' repository say the first; the cards on the Hugging Face hub point to the second.
WAVLM_LICENCE = "MIT (hub card: CC BY-SA 3.0)"
BASE, LARGE, LARGE_LV60K = 94_370_944, 315_427_968, 315_437_696

BUNDLES = {
    "WAV2VEC2_BASE": Bundle("wav2vec2_fairseq_base_ls960.pth", BASE, "MIT", "English, 960 h"),
    "WAV2VEC2_LARGE": Bundle("wav2vec2_fairseq_large_ls960.pth", LARGE, "MIT", "English, 960 h"),
    "WAV2VEC2_LARGE_LV60K": Bundle("wav2vec2_fairseq_large_lv60k.pth", LARGE_LV60K, "MIT", "English, 60 000 h"),
    "WAV2VEC2_XLSR53": Bundle("wav2vec2_fairseq_large_xlsr53.pth", LARGE_LV60K, "MIT", "53 languages, 56 000 h"),
    "WAV2VEC2_XLSR_300M": Bundle("wav2vec2_xlsr_300m.pth", LARGE_LV60K, "MIT", "128 languages, 436 000 h"),
    "WAV2VEC2_XLSR_1B": Bundle("wav2vec2_xlsr_1b.pth", 962_496_128, "MIT", "128 languages, 436 000 h"),
    "WAV2VEC2_XLSR_2B": Bundle("wav2vec2_xlsr_2b.pth", 2_159_257_728, "MIT", "128 languages, 436 000 h"),
    "WAV2VEC2_ASR_BASE_960H": Bundle(
        "wav2vec2_fairseq_base_ls960_asr_ls960.pth", BASE, "MIT", "English, tuned to transcribe"
    ),
    "WAV2VEC2_ASR_LARGE_960H": Bundle(
        "wav2vec2_fairseq_large_ls960_asr_ls960.pth", LARGE, "MIT", "English, tuned to transcribe"
    ),
    "WAV2VEC2_ASR_LARGE_LV60K_960H": Bundle(
        "wav2vec2_fairseq_large_lv60k_asr_ls960.pth", LARGE_LV60K, "MIT", "English, tuned to transcribe"
    ),
    "HUBERT_BASE": Bundle("hubert_fairseq_base_ls960.pth", BASE, "MIT", "English, 960 h"),
    "HUBERT_LARGE": Bundle("hubert_fairseq_large_ll60k.pth", 315_434_112, "MIT", "English, 60 000 h"),
    "HUBERT_XLARGE": Bundle("hubert_fairseq_xlarge_ll60k.pth", 962_492_544, "MIT", "English, 60 000 h"),
    "HUBERT_ASR_LARGE": Bundle(
        "hubert_fairseq_large_ll60k_asr_ls960.pth", 315_434_112, "MIT", "English, tuned to transcribe"
    ),
    "HUBERT_ASR_XLARGE": Bundle(
        "hubert_fairseq_xlarge_ll60k_asr_ls960.pth", 962_492_544, "MIT", "English, tuned to transcribe"
    ),
    "WAVLM_BASE": Bundle("wavlm_base.pth", 94_381_168, WAVLM_LICENCE, "English, 960 h"),
    "WAVLM_BASE_PLUS": Bundle("wavlm_base_plus.pth", 94_381_168, WAVLM_LICENCE, "English, 94 000 h"),
    "WAVLM_LARGE": Bundle("wavlm_large.pth", 315_452_096, WAVLM_LICENCE, "English, 94 000 h"),
}
"""By the name torchaudio has for them. Licences as torchaudio's documentation states them."""


def cached_file(name: str) -> Path:
    """Where torch keeps (or would keep) the weights of a bundle."""
    return Path(torch.hub.get_dir()) / "checkpoints" / BUNDLES[name].file


def architecture_of(name: str) -> tuple[Architecture, bool]:
    """The network's shape, and whether it was trained on clips of zero mean and unit variance."""
    try:
        import torchaudio
    except ImportError as error:
        raise MissingPackageError("audio backbones need torchaudio: pip install 'graftwork[audio]'") from error
    bundle = getattr(torchaudio.pipelines, name)
    return from_torchaudio(bundle._model_type, bundle._params), bool(bundle._normalize_waveform)


def fetch(name: str) -> Path:
    """The file of weights, downloaded unless torch's cache holds it.

    Raises DownloadError, saying which file was wanted, from where, and what to do without a network.
    """
    file, url = cached_file(name), DOWNLOADS + BUNDLES[name].file
    if file.is_file():
        return file
    try:
        _download(url, file)
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(
            f"torchaudio:{name} needs {file.name}, which could not be fetched from {url} ({reason}). "
            f"Fetch it where there is a network, then put it at {file} or give it with --weights FILE"
        ) from error
    return file


def _download(url: str, file: Path) -> None:
    """Whole or not at all. Raises OSError (of which urllib's errors are)."""
    from urllib.request import Request, urlopen

    # torch's own download knows no time limit: ask first, so that a dead network is noticed at once.
    with urlopen(Request(url, method="HEAD"), timeout=TIMEOUT_S) as answer:
        expected = int(answer.headers.get("Content-Length", 0))
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        partial = Path(folder) / file.name
        torch.hub.download_url_to_file(url, str(partial))
        if expected and partial.stat().st_size != expected:
            raise OSError(f"the connection ended after {partial.stat().st_size} of {expected} bytes")
        os.replace(partial, file)
