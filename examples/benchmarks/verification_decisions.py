"""How many genuine clips do `verify` and `identify` accept, and how many strangers' clips do they refuse?

    python examples/benchmarks/verification_decisions.py speakers/manifest.csv --enrolled 6 --clips 5 --of 10

The first speakers by name are enrolled with some of their clips and tried with the others; all clips of the other
speakers are strangers'. Calibrated by `trials` on all pairs of the table, which knows the strangers too, or, with
--calibration enrolled, by `enroll` on the clips enrolled alone.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from graftwork import audio, core
from graftwork.audio.verification.decisions import decide
from graftwork.audio.verification.identify import UNKNOWN
from graftwork.audio.verification.verifier import Embedder, Vectors

PRIORS = (0.5, 0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--backbone", default="tiny:wav2vec2")
    parser.add_argument("--enrolled", type=int, default=6, help="speakers")
    parser.add_argument("--clips", type=int, default=5, help="clips that each of them is enrolled with")
    parser.add_argument("--of", type=int, default=20, help="clips of every speaker that are used, drawn by chance")
    parser.add_argument("--calibration", choices=["trials", "enrolled"], default="trials")
    asked = parser.parse_args()
    rows = audio.read_manifest(asked.manifest, target="speaker", split=None)
    rng, clips = np.random.default_rng(0), dict[str, list[str]]()
    for path, name in zip(rows.paths, rows.targets, strict=True):
        clips.setdefault(str(name), []).append(path)
    clips = {name: own if len(own) <= asked.of else [own[place] for place in rng.permutation(len(own))[: asked.of]]
             for name, own in clips.items()}  # fmt: skip
    names = sorted(clips)
    known = names[: asked.enrolled]
    genuine = [(path, name) for name in known for path in clips[name][asked.clips :]]
    strangers = [(path, name) for name in names[asked.enrolled :] for path in clips[name]]
    embedder = audio.open_embedder(asked.backbone)
    with tempfile.TemporaryDirectory() as folder:

        def table(part: str, chosen: list[tuple[str, str]]) -> str:
            file = Path(folder) / f"{part}.csv"
            file.write_text("\n".join(["path,speaker", *(f'"{path}",{name}' for path, name in chosen)]))
            return str(file)

        evaluated = audio.trials(embedder, table("all", [(path, name) for name in names for path in clips[name]]))
        print(f"clips against clips: EER {evaluated.results['cosine'].eer}, Cllr {evaluated.results['cosine'].cllr}")
        for one in evaluated.profiles:
            rates = ", ".join(f"DIR at FAR {rate.false_alarm_rate:.0%} {rate.rate}" for rate in one.detections)
            print(f"profiles of {one.clips}: EER {one.verification.eer}, Cllr {one.verification.cllr}, {rates}")
        enrolled = table("enrolled", [(path, name) for name in known for path in clips[name][: asked.clips]])
        calibration = evaluated.calibration if asked.calibration == "trials" else None
        profiles = audio.enroll(embedder, enrolled, calibration=calibration)
        tried = table("tried", genuine + strangers)
        for prior in PRIORS:
            cost = audio.DetectionCost(prior)
            found = audio.identify(embedder, profiles, [tried], cost=cost)
            said = found.table["speaker"].tolist()
            right = sum(name == own for name, (_, own) in zip(said, genuine, strict=False))
            unknown = said[len(genuine) :].count(UNKNOWN)
            print(f"identify, prior {prior}: {right} of {len(genuine)} genuine clips named rightly, {unknown} of "
                  f"{len(strangers)} of strangers unknown")  # fmt: skip
        rows_of = audio.read_manifest(tried, target="speaker", split=None)
        cosines = profiles.cosines(vectors_of(embedder, rows_of))
        lines = [None if profiles.calibration is None else profiles.calibration.line(count) for count in profiles.clips]
        own = np.array([profiles.speakers.index(name) for _, name in genuine])
        for prior in PRIORS:
            cost = audio.DetectionCost(prior)
            accepted = np.array([[bool(decide(float(score), line, cost).accepted)
                                  for score, line in zip(row, lines, strict=True)] for row in cosines])  # fmt: skip
            true = accepted[np.arange(len(genuine)), own]
            false = accepted[len(genuine) :]
            print(f"verify, prior {prior}: {true.sum()} of {true.size} genuine claims accepted, {(~false).sum()} of "
                  f"{false.size} of strangers refused")  # fmt: skip


def vectors_of(embedder: Embedder, rows: core.Manifest) -> Vectors:
    return audio.embed(embedder, core.read_examples(rows, embedder.backbone.contract), core.Recipe())


if __name__ == "__main__":
    main()
