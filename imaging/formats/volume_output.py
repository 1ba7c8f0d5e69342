"""Values for every voxel of a volume, written as NIfTI in the geometry of the file they belong to."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from graftwork.core.files import atomic_write
from graftwork.imaging.formats.orientation import in_stored_order
from graftwork.imaging.scan import NIFTI, Scan


def write_volume(path: Path, values: NDArray[Any], scan: Scan) -> None:
    """Writes what `volume_bytes` gives, as .nii.gz. Raises OutputError where it cannot be written."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(volume_bytes(values, scan))


def volume_bytes(values: NDArray[Any], scan: Scan) -> bytes:
    """Values (*spatial), one for each voxel of the scan as it was read, as the bytes of a .nii.gz file.

    For a NIfTI file: with its shape, affine, qform, sform and their codes, and units, so that viewers lay one over the
    other. For anything else in the scan's own order with its affine; without one, with its spacing and no orientation.
    What headers say beside the geometry (descriptions, extensions) is not taken over: it may name a patient.
    """
    import nibabel

    source = scan.file
    if source.lower().endswith(NIFTI):
        image = _like(nibabel.load(source), in_stored_order(values, scan))
    else:
        image = nibabel.Nifti1Image(values.T, scan.affine)
        if scan.affine is None and scan.spacing_mm is not None:
            image.header.set_zooms(tuple(reversed(scan.spacing_mm)))
        image.header.set_xyzt_units("mm")
    # Without a time in the header equal values are equal bytes.
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def _like(source: Any, volume: NDArray[Any]) -> Any:
    """The volume (width, height, depth), in the source's own order, as an image of its shape and geometry."""
    import nibabel

    old = source.header
    image = nibabel.Nifti1Image(volume.reshape(source.shape[:3]), source.affine)
    image.header.set_zooms(old.get_zooms()[:3])
    for code in ("qform_code", "sform_code"):
        # Analyze headers have neither.
        image.header[code] = old.get(code, 0)
    for field in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y",
                  "srow_z"):  # fmt: skip
        if field in old:
            image.header[field] = old[field]
    if "pixdim" in old:
        image.header["pixdim"][0] = old["pixdim"][0]  # the sign of the third axis in the qform
    if hasattr(old, "get_xyzt_units"):
        image.header.set_xyzt_units(old.get_xyzt_units()[0])
    return image
