"""Small files of every format with flipped, zeroed and lost bytes: they are read, or refused by name, and nothing else
comes out."""

import gzip
import io

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, RLELossless

from graftwork.core.errors import ContractError, MissingPackageError, UnreadableError
from graftwork.core.example import as_examples
from graftwork.imaging.formats.content import decoded_digests
from graftwork.imaging.preprocessing.contract import ImageContract
from graftwork.imaging.segmentation.mask_files import mask_values

TRIES = 25
CONTRACTS = [ImageContract(dims, 1, (8,) * dims, "auto", (0.0,), (1.0,)) for dims in (2, 3)]


def pictures(rng, folder):
    values = rng.integers(0, 200, (9, 11)).astype(np.uint8)
    word = values.astype(np.uint16) * 200
    for name in ("grey.png", "grey.jpg", "grey.bmp", "grey.tif"):
        Image.fromarray(values).save(folder / name)
    Image.fromarray(word).save(folder / "lzw.tif", compression="tiff_lzw")
    palette = Image.fromarray(values // 50, mode="P")
    palette.putpalette(list(range(256)) * 3)
    palette.save(folder / "palette.png")
    np.savez_compressed(folder / "rows.npz", train_images=values[None], train_labels=[[0]])


def volumes(rng, folder):
    values = rng.integers(0, 900, (4, 5, 6)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-1.0, 2, 3, 1])), folder / "volume.nii")
    nibabel.save(nibabel.Nifti2Image(values, np.eye(4)), folder / "two.nii")
    (folder / "packed.nii.gz").write_bytes(gzip.compress((folder / "volume.nii").read_bytes()))


def dicoms(rng, write):
    stored = rng.integers(0, 900, (9, 11)).astype(np.uint16)
    place = {"PixelSpacing": [1, 1], "ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    dataset = pydicom.dcmread(write(stored, "slice.dcm", RescaleSlope="2", PixelPaddingValue=3, **place))
    dataset.compress(RLELossless)
    dataset.save_as(dataset.filename.replace("slice", "rle"))
    content = io.BytesIO()
    Image.fromarray(stored).save(content, "JPEG2000", irreversible=False, no_jp2=True)
    dataset.PixelData = pydicom.encaps.encapsulate([content.getvalue()])
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.save_as(dataset.filename.replace("slice", "j2k"))
    frames = []
    for height in range(3):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, height]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    write(np.stack([stored] * 3), "frames.dcm", PerFrameFunctionalGroupsSequence=frames, **place)


def changed(content, rng):
    """The bytes with some flipped, cut off, zeroed, or set to one."""
    found = bytearray(content)
    kind, start = rng.integers(4), int(rng.integers(len(content)))
    end = start + int(rng.integers(1, 40))
    if kind == 0:
        for place in rng.integers(len(content), size=int(rng.integers(1, 6))):
            found[place] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del found[start:]
    else:
        found[start:end] = (b"\0" if kind == 2 else b"\xff") * len(found[start:end])
    return bytes(found)


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_read_or_refused_by_name(tmp_path, write_dicom):
    rng = np.random.default_rng(0)
    pictures(rng, tmp_path)
    volumes(rng, tmp_path)
    dicoms(rng, write_dicom)
    read, refused = 0, []
    for whole in sorted(tmp_path.iterdir()):
        content, damaged = whole.read_bytes(), tmp_path / f"damaged-{whole.name}"
        path = f"{damaged}#train/0" if whole.suffix == ".npz" else str(damaged)
        for _ in range(TRIES):
            if whole.name == "packed.nii.gz" and rng.random() < 0.5:
                damaged.write_bytes(gzip.compress(changed(gzip.decompress(content), rng)))
            else:
                damaged.write_bytes(changed(content, rng))
            for use in (*(contract.read for contract in CONTRACTS), lambda path: decoded_digests(as_examples([path])),
                        lambda path: mask_values([path])):  # fmt: skip
                try:
                    use(path)
                    read += 1
                except (UnreadableError, ContractError, MissingPackageError) as error:
                    refused.append((damaged.name, str(error)))
    assert all(name in said for name, said in refused)
    assert min(read, len(refused)) > 300


def test_all_that_is_raised_inside_is_said_of_the_file(tmp_path, monkeypatch):
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / "a.png")
    for error in (RecursionError(), MemoryError(), AssertionError("no"), KeyError(3), ZeroDivisionError("by 0")):
        monkeypatch.setattr(
            "graftwork.imaging.formats.pixels._values", lambda _, error=error: (_ for _ in ()).throw(error)
        )
        with pytest.raises(UnreadableError, match=r"a\.png: cannot be decoded: \S") as caught:
            CONTRACTS[0].read(str(tmp_path / "a.png"))
        assert caught.value.__cause__ is error
