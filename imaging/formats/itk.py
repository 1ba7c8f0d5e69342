"""MetaImage and NRRD, the formats of ITK, as scans. They need SimpleITK, which is an extra of its own."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.companions import HEADERS, companions, named_data
from graftwork.core.data.decoding import decoding
from graftwork.core.errors import MissingPackageError, UnreadableError
from graftwork.imaging.formats.memory import check_room
from graftwork.imaging.formats.orientation import turned
from graftwork.imaging.scan import Scan

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK counts towards left and posterior."""

METAIMAGE = (".mha", ".mhd")
_PLACED = re.compile(rb"^[ \t]*(?:TransformMatrix|Rotation|Orientation)[ \t]*=", re.MULTILINE)
_HEADER_BYTES = 1 << 16


def read_itk(path: str) -> Scan:
    """A .mha, .mhd, .nrrd or .nhdr file as (channels, depth, height, width) in RAS order, (channels, height, width) if
    it has two axes, which say nothing about where they lie.

    A fourth axis and the parts of vectors become the channels. Where the file says nothing about orientation (`space`
    of NRRD, `TransformMatrix` of MetaImage) voxels stay as stored, and `affine` is None. Raises UnreadableError for a
    damaged file or other numbers of axes, MissingPackageError without SimpleITK.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise MissingPackageError(f"{path}: MetaImage and NRRD need SimpleITK: pip install 'graftwork[itk]'") from error
    if path.lower().endswith(HEADERS) and not companions(path):
        raise UnreadableError(f"{path}: is a header whose one file of data is not there; copy it too, or save both as "
                              "one file")  # fmt: skip
    _refuse_data_elsewhere(path)
    with decoding(path, "cannot be read by SimpleITK"):
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(path)
        reader.ReadImageInformation()
        size = [int(length) for length in reader.GetSize()]
        check_room([*size, reader.GetNumberOfComponents()], path, whole=path.lower().endswith((".mha", ".nrrd")))
        image = reader.Execute()
        stored = SimpleITK.GetArrayFromImage(image)
    if np.iscomplexobj(stored):
        raise UnreadableError(f"{path}: it holds complex numbers; save their magnitude")
    values = _channels_first(stored, image, path)
    spacing = tuple(reversed([float(length) for length in image.GetSpacing()[: values.ndim - 1]]))
    scan = Scan(values, path, rgb=values.ndim == 3 and len(values) == 3 and stored.dtype == np.uint8)
    if values.ndim < 4 or not _says_where(image, path):
        return replace(scan, spacing_mm=spacing)
    return turned(scan, _affine(image))


def _refuse_data_elsewhere(path: str) -> None:
    """A file that somebody has sent must not bring in others of this machine: data are in the file, or beside it."""
    with decoding(path, "its header cannot be read"):
        named = named_data(path)
    if named is None:
        return
    if not path.lower().endswith(HEADERS):
        raise UnreadableError(f"{path}: names another file for its data, {named!r}; save both as one file, or call it "
                              ".mhd or .nhdr")  # fmt: skip
    if os.path.isabs(named) or ".." in re.split(r"[/\\\\]", named):
        raise UnreadableError(f"{path}: names data outside its folder, {named!r}; put both into one folder, and name "
                              "the file alone")  # fmt: skip


def _channels_first(stored: NDArray[Any], image: Any, path: str) -> NDArray[np.float32]:
    """From ITK's (…, z, y, x, parts) to (channels, depth, height, width) or (channels, height, width)."""
    axes = image.GetDimension()
    if axes not in (2, 3, 4):
        raise UnreadableError(f"{path}: has {axes} axes; two, three or four are expected")
    values = stored.astype(np.float32)
    if image.GetNumberOfComponentsPerPixel() > 1:
        values = np.moveaxis(values, -1, 0)
        values = values.reshape(-1, *values.shape[2:]) if axes == 4 else values
    elif axes < 4:
        values = values[None]
    return np.ascontiguousarray(values)


def _says_where(image: Any, path: str) -> bool:
    """Whether the file itself has an orientation: ITK makes one up for others."""
    if path.lower().endswith(METAIMAGE):
        with open(path, "rb") as stream:
            return _PLACED.search(stream.read(_HEADER_BYTES)) is not None
    return "NRRD_space" in image.GetMetaDataKeys()


def _affine(image: Any) -> NDArray[np.float64]:
    """From the index (width, height, depth) to mm towards right, anterior, superior."""
    axes = image.GetDimension()
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(axes, axes)[:3, :3]
    affine[:3, :3] = direction * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    placed: NDArray[np.float64] = LPS_TO_RAS @ affine
    return placed
