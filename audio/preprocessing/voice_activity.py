"""Where in a clip somebody speaks, by silero-vad's packaged model: what comes before and behind is cut off."""

from __future__ import annotations

import functools
import logging
import threading
import warnings
from typing import Any

import torch
from torch import Tensor

from graftwork.audio.sound.waveform import resample
from graftwork.core.errors import MissingPackageError

log = logging.getLogger(__name__)

RATE_HZ = 16000
MARGIN_MS = 100
"""Kept before the first and behind the last speech: sounds begin softly."""

_ONE_AT_A_TIME = threading.Lock()  # the model carries its state from one piece of a clip to the next


def trim_silence(samples: Tensor, rate_hz: int, path: object) -> Tensor:
    """The clip (samples,), in the range -1 to 1, from its first to its last speech; pauses within stay.

    Where none is found, as in some very short ones, it stays as it is, and that is said. Raises MissingPackageError
    without silero-vad.
    """
    heard = samples if rate_hz == RATE_HZ else resample(samples, rate_hz, RATE_HZ)
    with _ONE_AT_A_TIME, torch.inference_mode():
        detect, model = _detector()
        spoken = detect(heard, model, sampling_rate=RATE_HZ, speech_pad_ms=MARGIN_MS)
    if not spoken:
        log.warning("%s: no speech found in it; it stays as it is", path)
        return samples
    start, end = (round(place * rate_hz / RATE_HZ) for place in (spoken[0]["start"], spoken[-1]["end"]))
    return samples[start:end]


@functools.lru_cache(maxsize=1)
def _detector() -> tuple[Any, Any]:
    threads = torch.get_num_threads()
    try:
        from silero_vad import get_speech_timestamps, load_silero_vad
    except ImportError as error:
        raise MissingPackageError("--trim-silence on needs silero-vad: pip install 'graftwork[vad]'") from error
    finally:
        torch.set_num_threads(threads)  # silero-vad sets one thread for the whole program
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.load` is deprecated", category=FutureWarning)
        return get_speech_timestamps, load_silero_vad()
