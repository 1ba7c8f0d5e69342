"""The pretrained models that torchaudio publishes: what they are, and fetching their weights."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from graftwork.audio.backbones.architecture import Architecture
from graftwork.core.errors import DownloadError

DOWNLOADS = "https://download.pytorch.org/torchaudio/models/"
TIMEOUT_S = 10


@dataclass(frozen=True)
class Bundle:
    """One of torchaudio.pipelines. `parameters` counts the backbone without a CTC head. Those whose convolutions are
    normalised over channels were trained on normalised clips."""

    file: str
    shape: Architecture
    parameters: int
    licence: str
    note: str


# torchaudio and the authors' repository say the first; the cards on the Hugging Face hub point to the second.
WAVLM_LICENCE = "MIT (hub card: CC BY-SA 3.0)"
BASE, LARGE, LARGE_LV60K = 94_370_944, 315_427_968, 315_437_696

CNN = ((512, 10, 5), *((512, 3, 2),) * 4, *((512, 2, 2),) * 2)
BASE_SHAPE = Architecture(
    "wav2vec2", "group", CNN, False, 768, 12, 12, 3072, 128, 16, norm_first=False, projection_dropout=0.1,
    attention_dropout=0.1, hidden_dropout=0.1, layer_drop=0.05,
)  # fmt: skip
LARGE_SHAPE = replace(BASE_SHAPE, hidden=1024, layers=24, heads=16, feed_forward=4096, hidden_dropout=0.0,
                      layer_drop=0.2)  # fmt: skip
LV60K_SHAPE = replace(LARGE_SHAPE, cnn_norm="layer", cnn_bias=True, norm_first=True, layer_drop=0.0)
XLSR_SHAPE = replace(LV60K_SHAPE, projection_dropout=0.0, attention_dropout=0.0)
XLSR_1B_SHAPE = replace(LV60K_SHAPE, hidden=1280, layers=48, feed_forward=5120, attention_dropout=0.0)
XLSR_2B_SHAPE = replace(XLSR_1B_SHAPE, hidden=1920, feed_forward=7680)
HUBERT_SHAPE = replace(XLSR_SHAPE, cnn_bias=False)
HUBERT_XL_SHAPE = replace(HUBERT_SHAPE, hidden=1280, layers=48, feed_forward=5120)
TUNED: dict[str, Any] = {"activation_dropout": 0.1, "layer_drop": 0.1}
WAVLM_LARGE_SHAPE = replace(LV60K_SHAPE, family="wavlm", cnn_bias=False, hidden_dropout=0.1, layer_drop=0.05)

BUNDLES = {
    "WAV2VEC2_BASE": Bundle("wav2vec2_fairseq_base_ls960.pth", BASE_SHAPE, BASE, "MIT", "English, 960 h"),
    "WAV2VEC2_LARGE": Bundle("wav2vec2_fairseq_large_ls960.pth", LARGE_SHAPE, LARGE, "MIT", "English, 960 h"),
    "WAV2VEC2_LARGE_LV60K": Bundle(
        "wav2vec2_fairseq_large_lv60k.pth", LV60K_SHAPE, LARGE_LV60K, "MIT", "English, 60 000 h"
    ),
    "WAV2VEC2_XLSR53": Bundle(
        "wav2vec2_fairseq_large_xlsr53.pth", XLSR_SHAPE, LARGE_LV60K, "MIT", "53 languages, 56 000 h"
    ),
    "WAV2VEC2_XLSR_300M": Bundle("wav2vec2_xlsr_300m.pth", XLSR_SHAPE, LARGE_LV60K, "MIT", "128 languages, 436 000 h"),
    "WAV2VEC2_XLSR_1B": Bundle("wav2vec2_xlsr_1b.pth", XLSR_1B_SHAPE, 962_496_128, "MIT", "128 languages, 436 000 h"),
    "WAV2VEC2_XLSR_2B": Bundle("wav2vec2_xlsr_2b.pth", XLSR_2B_SHAPE, 2_159_257_728, "MIT", "128 languages, 436 000 h"),
    "WAV2VEC2_ASR_BASE_960H": Bundle(
        "wav2vec2_fairseq_base_ls960_asr_ls960.pth", BASE_SHAPE, BASE, "MIT", "English, tuned to transcribe"
    ),
    "WAV2VEC2_ASR_LARGE_960H": Bundle(
        "wav2vec2_fairseq_large_ls960_asr_ls960.pth", LARGE_SHAPE, LARGE, "MIT", "English, tuned to transcribe"
    ),
    "WAV2VEC2_ASR_LARGE_LV60K_960H": Bundle(
        "wav2vec2_fairseq_large_lv60k_asr_ls960.pth", LV60K_SHAPE, LARGE_LV60K, "MIT", "English, tuned to transcribe"
    ),
    "HUBERT_BASE": Bundle("hubert_fairseq_base_ls960.pth", BASE_SHAPE, BASE, "MIT", "English, 960 h"),
    "HUBERT_LARGE": Bundle("hubert_fairseq_large_ll60k.pth", HUBERT_SHAPE, 315_434_112, "MIT", "English, 60 000 h"),
    "HUBERT_XLARGE": Bundle(
        "hubert_fairseq_xlarge_ll60k.pth", HUBERT_XL_SHAPE, 962_492_544, "MIT", "English, 60 000 h"
    ),
    "HUBERT_ASR_LARGE": Bundle(
        "hubert_fairseq_large_ll60k_asr_ls960.pth",
        replace(HUBERT_SHAPE, **TUNED),
        315_434_112,
        "MIT",
        "English, tuned to transcribe",
    ),
    "HUBERT_ASR_XLARGE": Bundle(
        "hubert_fairseq_xlarge_ll60k_asr_ls960.pth",
        replace(HUBERT_XL_SHAPE, **TUNED),
        962_492_544,
        "MIT",
        "English, tuned to transcribe",
    ),
    "WAVLM_BASE": Bundle(
        "wavlm_base.pth", replace(BASE_SHAPE, family="wavlm"), 94_381_168, WAVLM_LICENCE, "English, 960 h"
    ),
    "WAVLM_BASE_PLUS": Bundle(
        "wavlm_base_plus.pth", replace(BASE_SHAPE, family="wavlm"), 94_381_168, WAVLM_LICENCE, "English, 94 000 h"
    ),
    "WAVLM_LARGE": Bundle("wavlm_large.pth", WAVLM_LARGE_SHAPE, 315_452_096, WAVLM_LICENCE, "English, 94 000 h"),
}
"""By the name torchaudio has for them. Licences as torchaudio's documentation states them."""


def cached_file(name: str) -> Path:
    """Where torch keeps (or would keep) the weights of a bundle."""
    return Path(torch.hub.get_dir()) / "checkpoints" / BUNDLES[name].file


def architecture_of(name: str) -> tuple[Architecture, bool]:
    """The network's shape, and whether it was trained on clips of zero mean and unit variance."""
    shape = BUNDLES[name].shape
    return shape, shape.cnn_norm == "layer"


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
