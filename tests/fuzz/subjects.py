"""Small whole files of every format that is read, and how each is read: made without a network, within seconds."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pydicom
import soundfile
import torch
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage, generate_uid

from graftwork import audio, core, imaging
from graftwork.audio.preprocessing.contract import AudioContract
from graftwork.audio.sound.waveform import duration_of
from graftwork.audio.verification.calibration import Calibration, Line
from graftwork.audio.verification.inputs import read_calibration
from graftwork.audio.verification.profiles import Profiles, load_profiles, save_profiles
from graftwork.audio.verification.trials import read_trials
from graftwork.core.activation_cache import tensor_store
from graftwork.core.data.characters import read_vocabulary
from graftwork.core.errors import ContractError, UnreadableError
from graftwork.core.example import File, as_examples
from graftwork.core.files import write_json
from graftwork.core.inference.unfinished import Found, file_state, take_up
from graftwork.core.inference.vector_shards import Shard, begin_shards, known_paths, shard_files, write_shard
from graftwork.core.runs.run_folder import run_record, run_state
from graftwork.core.training.checkpoint import NAME, TrainingState, load_checkpoint, save_checkpoint
from graftwork.imaging.formats.content import decoded_digests
from graftwork.imaging.formats.dicom.segmentation_output import write_segmentation
from graftwork.imaging.formats.dicom.structures import read_structures, structures_on
from graftwork.imaging.formats.scan_files import read_scan
from graftwork.imaging.preprocessing.contract import ImageContract
from graftwork.imaging.segmentation.mask_files import mask_values, read_mask
from tests.fuzz.damage import Damage, of_bytes, of_checked_json, of_gzip, of_json, of_safetensors, of_text
from tests.imaging.dicom_series import series, structure_set

Use = Callable[[Path], object]


@dataclass(frozen=True)
class Subject:
    """One file that is damaged.

    file: whole, below the folder that all are made in; what is read beside it stays whole. damage: how. use: what reads
    it, given its path. share: of the cases, beside the 1.0 of others: less for what takes long.
    """

    name: str
    file: Path
    damage: Damage
    use: Use
    share: float = 1.0


def every_subject(folder: Path) -> list[Subject]:
    """All of them, made in this folder."""
    rng = np.random.default_rng(0)
    return [
        *_scans(folder / "scans", rng), *_drawn(folder / "drawn"), *_sounds(folder / "sounds", rng),
        *_tables(folder / "tables", rng), *_networks(folder / "networks"), *_runs(folder / "runs"),
        *_verification(folder / "speakers", rng), *_vectors(folder / "vectors", rng),
        *_unfinished(folder / "predictions"), *_own(folder / "own"),
    ]  # fmt: skip


def _scans(folder: Path, rng: np.random.Generator) -> list[Subject]:
    folder.mkdir()
    values = rng.integers(0, 200, (9, 11)).astype(np.uint8)
    for name in ("grey.png", "grey.jpg", "grey.bmp", "grey.tif"):
        Image.fromarray(values).save(folder / name)
    Image.fromarray(rng.integers(0, 255, (9, 11, 3)).astype(np.uint8)).save(folder / "colour.png")
    Image.fromarray(values.astype(np.uint16) * 200).save(folder / "lzw.tif", compression="tiff_lzw")
    stack = [Image.fromarray(values) for _ in range(3)]
    stack[0].save(folder / "stack.tif", save_all=True, append_images=stack[1:])
    palette = Image.fromarray(values // 50, mode="P")
    palette.putpalette(list(range(256)) * 3)
    palette.save(folder / "palette.png")
    np.savez_compressed(folder / "rows.npz", train_images=values[None], train_labels=[[0]])
    volume = rng.integers(0, 900, (4, 5, 6)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume % 3, np.eye(4)), folder / "mask.nii.gz")
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1.0, 2, 3, 1])), folder / "volume.nii")
    nibabel.save(nibabel.Nifti2Image(volume, np.eye(4)), folder / "two.nii")
    nibabel.save(nibabel.Nifti1Pair(volume, np.eye(4)), folder / "pair.hdr")
    nibabel.save(nibabel.MGHImage(volume.astype(np.int32), np.eye(4)), folder / "surfer.mgh")
    for name, source in (("packed.nii.gz", "volume.nii"), ("packed.mgz", "surfer.mgh")):
        (folder / name).write_bytes(gzip.compress((folder / source).read_bytes()))
    _itk(folder, volume)
    _dicoms(folder, rng)
    contracts = [ImageContract(dims, 1, (8,) * dims, "auto", (0.0,), (1.0,)) for dims in (2, 3)]
    uses: dict[str, Use] = {f"as {len(own.size)}D": lambda path, own=own: own.read(_row(path)) for own in contracts}
    uses |= {"digest": lambda path: decoded_digests(as_examples([_row(path)])),
             "as mask": lambda path: mask_values([_row(path)]),
             "described": lambda path: imaging.DOMAIN.describe(as_examples([_row(path)])[0])}  # fmt: skip
    files = [file for file in sorted(folder.iterdir()) if file.suffix != ".img"]  # the other half of pair.hdr
    return [Subject(f"{file.name} {name}", file, of_gzip if file.suffix in (".gz", ".mgz") else of_bytes, use, 0.3)
            for file in files for name, use in uses.items() if _reads(use, file)]  # fmt: skip


def _drawn(folder: Path) -> list[Subject]:
    """Structures and segments of a DICOM series, in folders of their own."""
    scan = read_scan(series(folder / "ct", (3, 8, 9)))
    angles = 2 * np.pi * np.arange(9) / 9
    ring = np.column_stack([-14 + 5 * np.cos(angles), -25 + 4 * np.sin(angles), np.full(9, 43.0)])
    (folder / "structures").mkdir()
    structures = structure_set(
        folder / "structures" / "rs.dcm", {"liver": [ring], "tumour": [ring + np.array([0, 0, 3])]}
    )
    segments = folder / "segments" / "seg.dcm"
    segments.parent.mkdir()
    classes = np.zeros(scan.spatial_shape, dtype=np.int64)
    classes[:, 2:5, 3:6] = 1
    write_segmentation(segments, classes, ("rest", "liver"), scan, as_examples([str(folder / "ct")])[0])
    found = [Subject("structures on a scan", structures, of_bytes,
                     lambda path: structures_on(read_structures(str(path)), str(path), scan)),
             Subject("structures as values", structures, of_bytes, lambda path: mask_values([str(path)])),
             Subject("segments on a scan", segments, of_bytes, lambda path: read_mask(str(path), scan, (0, 1))),
             Subject("segments as values", segments, of_bytes, lambda path: mask_values([str(path)]))]  # fmt: skip
    for one in found:
        one.use(one.file)
    return found


def _reads(use: Use, file: Path) -> bool:
    """Whether a whole file is read so: a volume is no 2D image, and few images are masks."""
    try:
        use(file)
    except (ContractError, UnreadableError):
        return False
    return True


def _row(path: Path) -> str:
    return f"{path}#train/0" if path.suffix == ".npz" else str(path)


def _itk(folder: Path, volume: Any) -> None:
    try:
        import SimpleITK
    except ImportError:
        return
    for name in ("volume.mha", "volume.nrrd"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(volume), str(folder / name))


def _dicoms(folder: Path, rng: np.random.Generator) -> None:
    stored = rng.integers(0, 900, (9, 11)).astype(np.uint16)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one = FileDataset(str(folder / "slice.dcm"), {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    one.Modality, one.SeriesInstanceUID, one.PatientID = "CT", generate_uid(), "P1"
    one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = 9, 11, 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation = 15, 0
    one.PixelSpacing, one.ImagePositionPatient, one.ImageOrientationPatient = [1, 1], [0, 0, 0], [1, 0, 0, 0, 1, 0]
    one.RescaleSlope, one.RescaleIntercept, one.PixelPaddingValue = "2", "-1000", 3
    one.PixelData = stored.tobytes()
    one.save_as(folder / "slice.dcm", enforce_file_format=True)
    packed = pydicom.dcmread(folder / "slice.dcm")
    packed.compress(RLELossless)
    packed.save_as(folder / "rle.dcm")
    frames = []
    for height in range(3):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, height]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    one.PerFrameFunctionalGroupsSequence, one.NumberOfFrames = frames, 3
    one.PixelData = np.stack([stored] * 3).tobytes()
    one.save_as(folder / "frames.dcm", enforce_file_format=True)


def _sounds(folder: Path, rng: np.random.Generator) -> list[Subject]:
    folder.mkdir()
    sound = np.clip(rng.normal(0, 0.2, (3200, 2)), -1, 1)
    for name, options in (("a.wav", {}), ("b.wav", {"subtype": "FLOAT"}), ("c.flac", {}), ("d.ogg", {}), ("e.mp3", {}),
                          ("f.opus", {"format": "OGG", "subtype": "OPUS"}), ("g.au", {}), ("h.aiff", {}),
                          ("i.w64", {}), ("j.rf64", {"format": "RF64"})):  # fmt: skip
        soundfile.write(folder / name, sound, 16000, **options)
    (folder / "j.rf64").rename(folder / "j.wav")
    contract = AudioContract(max_seconds=5.0, normalise="clip")
    uses: dict[str, Use] = {
        "whole": contract.read, "duration": duration_of, "span": lambda path: contract.read(f"{path}#t=0.05,0.15"),
        "described": lambda path: audio.DOMAIN.describe(as_examples([str(path)])[0]),
    }  # fmt: skip
    return [Subject(f"{file.name} {name}", file, of_bytes, use, 0.5)
            for file in sorted(folder.iterdir()) for name, use in uses.items()]  # fmt: skip


def _tables(folder: Path, rng: np.random.Generator) -> list[Subject]:
    folder.mkdir()
    names = []
    for number in range(6):
        names.append(f"{number}.png")
        Image.fromarray(rng.integers(0, 200, (9, 11)).astype(np.uint8)).save(folder / names[-1])
    table = pd.DataFrame({"path": names, "label": list("aabbab"), "group": list("uvwxyz"), "split": ["train"] * 4
                          + ["val", "test"], "age": [3.5, 4, 5, 6, 7, 8], "site": list("nnnsss")})  # fmt: skip
    table.to_csv(folder / "table.csv", index=False)
    table.to_csv(folder / "table.tsv", index=False, sep="\t")
    table.to_json(folder / "table.jsonl", orient="records", lines=True)
    table.to_parquet(folder / "table.parquet")
    (folder / "utf16.csv").write_bytes(table.to_csv(index=False).encode("utf-16"))
    several = pd.DataFrame({"path": names, "one": [0, 1, -1, 0, 1, 0], "two": [1, "", 0, 1, 0, 1]})
    several.to_csv(folder / "several.csv", index=False)
    quoted = 'path\tsentence\n0.png\t"Yes," he said\n1.png\tno\n2.png\ta "b" c\n3.png\td\n4.png\te\n5.png\tf'
    (folder / "quoted.tsv").write_text(quoted)

    def read(path: Path, **options: Any) -> object:
        manifest = imaging.read_manifest(path, **options)
        return manifest.fingerprints(), manifest.units(), str(core.check(manifest))

    how: dict[str, tuple[Damage, Use]] = {
        "table.csv": (of_text, read), "table.tsv": (of_text, lambda path: read(path, target="age")),
        "table.jsonl": (of_text, lambda path: read(path, columns=["site"])), "table.parquet": (of_bytes, read),
        "utf16.csv": (of_bytes, read),
        "several.csv": (of_text, lambda path: read(path, target="one,two", uncertain="ignore", blank="ignore")),
        "quoted.tsv": (of_text, lambda path: audio.read_manifest(path, target="sentence", task="text")),
    }  # fmt: skip
    return [Subject(name, folder / name, *both, share=2.0) for name, both in how.items()]


def _networks(folder: Path) -> list[Subject]:
    """Weights and their configurations."""
    folder.mkdir()
    torch.manual_seed(0)
    shape = {"model_type": "wav2vec2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 16, "conv_dim": [8, 8], "conv_kernel": [40, 10], "conv_stride": [40, 8],
             "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}  # fmt: skip
    speech = audio.save_backbone(audio.new_backbone(shape), folder / "speech")
    write_json(folder / "speech" / "vocab.json", {"<pad>": 0, "<unk>": 1, "|": 2, "a": 3, "b": 4})
    picture = imaging.load_backbone("timm:test_resnet", weights="random")
    state = picture.network.state_dict()
    torch.save(state, folder / "weights.pt")
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, folder / "wrapped.pth")

    def load_speech(path: Path) -> object:
        return audio.load_backbone(speech)

    return [
        *(Subject(f"speech/{name}", folder / "speech" / name, damage, load_speech)
          for name, damage in (("config.json", of_json), ("model.safetensors", of_safetensors),
                               ("preprocessor_config.json", of_json))),
        Subject("vocab.json", folder / "speech" / "vocab.json", of_json, lambda path: read_vocabulary(str(path))),
        *(Subject(name, folder / name, of_bytes,
                  lambda path: imaging.load_backbone("timm:test_resnet", weights=str(path)))
          for name in ("weights.pt", "wrapped.pth")),
    ]  # fmt: skip


def _runs(folder: Path) -> list[Subject]:
    """What `train` writes: the adapter, and what the report is made of."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    rows = ["path,label,group"]
    for number in range(12):
        Image.fromarray((rng.integers(0, 60, (12, 12)) + number % 2 * 80).astype(np.uint8)).save(
            folder / f"{number}.png"
        )
        rows.append(f"{number}.png,{'ab'[number % 2]},{number // 2}")
    (folder / "table.csv").write_text("\n".join(rows))
    torch.save(imaging.load_backbone("timm:test_resnet", weights="random").network.state_dict(), folder / "weights.pt")
    backbone = imaging.load_backbone("timm:test_resnet", weights=str(folder / "weights.pt"), image_size=32)
    manifest = imaging.read_manifest(folder / "table.csv")
    recipe = core.Recipe(device="cpu", cache=str(folder / "cache"))
    core.train(backbone, manifest, strategy="probe", folds=2, recipe=recipe, out=folder / "run")

    def open_adapter(path: Path) -> object:
        found = imaging.load_adapter(path.parent)
        return found.predict([str(folder / "0.png")])

    def open_run(path: Path) -> object:
        return run_state(path.parent), run_record(path.parent)

    def write_report(path: Path) -> object:
        return core.report(path.parent, domain=imaging.DOMAIN)

    run = folder / "run"
    adapter = [Subject("adapter.json", run / "adapter.json", of_checked_json, open_adapter),
               Subject("adapter.safetensors", run / "adapter.safetensors", of_safetensors, open_adapter)]  # fmt: skip
    reported = {"run.json": of_json, "metrics.json": of_json, "data.json": of_json, "predictions.csv": of_text}
    return [*adapter, Subject("run.json (state)", run / "run.json", of_json, open_run),
            *(Subject(f"report of {name}", run / name, damage, write_report, 0.5)
              for name, damage in reported.items() if (run / name).is_file())]  # fmt: skip


def _verification(folder: Path, rng: np.random.Generator) -> list[Subject]:
    folder.mkdir()
    vectors = rng.normal(size=(3, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    known = Calibration((Line(1, 9.0, -4.0), Line(3, 12.0, -5.0)), 20, "d" * 64, None)
    save_profiles(Profiles(("a", "b", "c"), vectors, (3, 3, 2), "tiny", "d" * 64, vectors[0] * 0, known),
                  folder / "profiles.safetensors")  # fmt: skip
    write_json(folder / "calibration.json", replace(known, centre=(0.1, 0.2)).to_json())
    (folder / "trials.txt").write_text("1 a/1.wav a/2.wav\n0 a/1.wav b/1.wav\n1 b/1.wav b/2.wav\n")
    for name in ("a/1.wav", "a/2.wav", "b/1.wav", "b/2.wav"):
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / name, rng.normal(0, 0.1, 800), 16000)

    def identify(path: Path) -> object:
        found = load_profiles(path)
        return found.cosines(vectors), found.ratios(found.cosines(vectors))

    def decide(path: Path) -> object:
        found = read_calibration(path)
        return [found.line(clips).ratios(np.linspace(-0.9, 0.9, 5)) for clips in (1, 2, 5)]

    return [Subject("profiles.safetensors", folder / "profiles.safetensors", of_safetensors, identify),
            Subject("calibration.json", folder / "calibration.json", of_json, decide),
            Subject("trials.txt", folder / "trials.txt", of_text, read_trials)]  # fmt: skip


def _unfinished(folder: Path) -> list[Subject]:
    """What is kept of a prediction that was ended."""
    run, example = folder / "run", File(str(folder / "scan.npy"))
    run.mkdir(parents=True)
    (run / "adapter.json").write_text("{}")
    (folder / "scan.npy").write_bytes(b"scan")
    kept = take_up(folder / "p.csv", [run], {"device": "cpu"})
    kept.keep("0", [(example, file_state(example), Found({"prediction": "a", "probability_a": 0.5}))])

    def go_on(path: Path) -> object:
        found = take_up(folder / "p.csv", [run], {"device": "cpu"}).find("0", example)
        return None if found is None else dict(found.row)

    return [Subject(f"unfinished {file.name.partition('-')[0]}", file, of_checked_json, go_on)
            for file in kept.folder.iterdir()]  # fmt: skip


def _vectors(folder: Path, rng: np.random.Generator) -> list[Subject]:
    """What `embed` writes."""
    begin_shards(folder, {"backbone": "tiny", "weights": "d" * 64, "stage": "pool"})
    vectors = rng.normal(size=(5, 8)).astype(np.float32)
    write_shard(folder, 0, Shard(tuple("abcde"), tuple("vwxyz"), vectors))

    def look_up(path: Path) -> object:
        return len(known_paths(shard_files(path.parent))), core.read_vectors(path.parent)[1].sum()

    return [Subject("embed.json", folder / "embed.json", of_checked_json, look_up),
            Subject("part-00000.parquet", folder / "part-00000.parquet", of_bytes, look_up)]  # fmt: skip


class _Learner:
    """Two tensors that learn."""

    def __init__(self) -> None:
        self.tensors = {
            "head.weight": torch.zeros(3, 2, requires_grad=True),
            "head.bias": torch.zeros(3, requires_grad=True),
        }

    def learnt(self) -> dict[str, torch.Tensor]:
        return self.tensors

    def restore(self, tensors: Any) -> None:
        with torch.no_grad():
            for name, value in tensors.items():
                self.tensors[name].copy_(value)

    def optimiser(self) -> torch.optim.Optimizer:
        groups = [{"params": [value], "tensors": [name]} for name, value in self.tensors.items()]
        return torch.optim.AdamW(groups, lr=0.1)


def _own(folder: Path) -> list[Subject]:
    """Checkpoints and stores."""
    folder.mkdir()
    learner, scaler = _Learner(), torch.amp.GradScaler("cpu", enabled=False)
    optimiser = learner.optimiser()
    sum((value**3).sum() for value in learner.tensors.values()).backward()
    optimiser.step()
    best = {name: value.detach() for name, value in learner.tensors.items()}
    save_checkpoint(folder, {"seed": 0}, TrainingState(epoch=1, batch=2, history=({"epoch": 1, "loss": 0.5},)), learner,
                    best, optimiser, scaler)  # fmt: skip

    def resume(path: Path) -> object:
        other = _Learner()
        found = load_checkpoint(path.parent, {"seed": 0}, other, other.optimiser(), scaler)
        return found[0].epoch + found[0].batch, [sum(value or 0 for value in row.values()) for row in found[0].history]

    store = tensor_store.open_store(folder, "key", {}, "float32")
    with tensor_store.writer(store) as writer:
        for number in range(4):
            writer.add(f"entry{number}", torch.full((5,), float(number)))

    def look_up(path: Path) -> object:
        opened = tensor_store.open_store(folder, "key", {}, "float32")
        there = sorted(tensor_store.sound_names(opened, [f"entry{number}" for number in range(4)]))
        values = tensor_store.read(opened, there)
        return [values[number].sum() for number in range(len(there))]

    kinds: dict[str, Damage] = {".json": of_json, ".safetensors": of_safetensors}
    stored = [Subject(f"cache {file.suffix} {number}", file, kinds.get(file.suffix, of_bytes), look_up)
              for number, file in enumerate(sorted((folder / "key").iterdir())) if file.is_file()]  # fmt: skip
    return [Subject("checkpoint", folder / NAME, of_safetensors, resume), *stored]
