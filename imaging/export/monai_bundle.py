"""An adapter with its backbone as a MONAI bundle: a folder that `python -m monai.bundle run` predicts from."""

from __future__ import annotations

import csv
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import seed_everything
from graftwork.core.errors import AdapterError, BackboneError, OutputError, SettingsError
from graftwork.core.files import DamagedFileError, atomic_write, write_json, write_text
from graftwork.core.inference.adapter import Adapter, with_recorded_features
from graftwork.core.inference.adapter_record import read_record, recipe_of
from graftwork.core.inference.model_card import model_card
from graftwork.core.model.graft import make_graft
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.tasks import find_task
from graftwork.core.tensor_files import read_tensors
from graftwork.core.versions import version_of
from graftwork.imaging.backbones.monai_bundles import network_definition, split_bundle, write_definition
from graftwork.imaging.export.onnx import Predictor
from graftwork.imaging.preprocessing.contract import ImageContract
from graftwork.imaging.segmentation.mask_contract import MaskContract
from graftwork.imaging.segmentation.segmenter import PatchSegmenter

WEIGHTS = "model.safetensors"
NETWORK = "network"
"""Folder in `models` of a network that came out of a bundle itself."""
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"


def export_bundle(adapter: Adapter, folder: Path, card: str | None = None) -> None:
    """Writes configs/metadata.json, configs/inference.json, models/ and docs/README.md.

    The folder holds every tensor, frozen ones too, as safetensors. Reading scans and building the network are
    graftwork's, which has to be installed where the bundle runs: MONAI's own transforms resample and scale otherwise.
    card: the run's, with its evaluation; by default one that does not.
    Raises OutputError for a folder that is not empty, SettingsError for a backbone that nobody else could build.
    """
    if "custom" in adapter.backbone.id.split(":"):
        raise SettingsError(f"{adapter.backbone.id}: a bundle builds its network by the id of the backbone, which only "
                            f"names something here; export it as ONNX")  # fmt: skip
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: is not an empty folder; name another --out")
    about = adapter.record["backbone"]
    origin = split_bundle(about["id"])
    definition = None if origin is None else network_definition(Path(origin[1]))
    with atomic_write(folder / "models" / WEIGHTS) as temporary:
        save_file({name: value.detach().cpu().contiguous().clone()
                   for name, value in adapter.graft.tensors().items()}, temporary)  # fmt: skip
    if origin is not None and definition is not None:
        size = cast(ImageContract | MaskContract, adapter.backbone.contract).size
        write_definition(folder / "models" / NETWORK, definition, size)
        about = about | {"id": origin[0] + NETWORK}
    # Where the backbone's weights once lay is nobody's business any more: they are in the folder.
    record = adapter.record | {"backbone": about | {"weights": None}}
    write_json(folder / "models" / "adapter.json", record)
    write_json(folder / "configs" / "metadata.json", _metadata(adapter, about["id"]))
    write_json(folder / "configs" / "inference.json", INFERENCE | MASKS if adapter.task.output == "maps" else INFERENCE)
    made = adapter.record["backbone"]["id"]
    own = card.replace(made, about["id"]) if card else model_card(record, None, adapter.backbone.domain)
    write_text(folder / "docs" / "README.md", own + RUNNING)


@undisturbed()
def load_network(folder: str) -> nn.Module:
    """The network of a bundle's folder `models`, (batch, channels, *size) to what `predict` writes."""
    from graftwork.imaging.backbones.loading import load_backbone

    record = read_record(Path(folder))
    about = record["backbone"]
    recipe = recipe_of(Path(folder), record)
    seed_everything(recipe.seed)
    origin = split_bundle(about["id"])
    if origin is not None and origin[1] != NETWORK:
        raise BackboneError(f"{folder}: its network is in {origin[1]!r}, and a bundle has it in {NETWORK!r} itself")
    id = about["id"] if origin is None else f"{origin[0]}{Path(folder) / origin[1]}"
    backbone = load_backbone(id, weights="random", **about["options"])
    try:
        tensors, _ = read_tensors(Path(folder) / WEIGHTS)
    except (OSError, DamagedFileError) as error:
        raise OutputError(f"{Path(folder) / WEIGHTS}: cannot be read ({error}); export the bundle anew") from error
    rows = len(tensors["head.vectors"]) if "head.vectors" in tensors else 0
    graft = make_graft(with_recorded_features(backbone, record), parse_strategy(record["strategy"]), recipe,
                       record["task"], tuple(record["classes"]), rows)  # fmt: skip
    try:
        graft.restore_all(tensors)
    except AdapterError as error:
        raise OutputError(f"{folder}: {WEIGHTS} is of another network ({error}); export it anew") from error
    return Predictor(Adapter(graft, record))


class ReadScand:
    """A dictionary transform, as MONAI has them: paths become what the adapter's input contract reads.

    keys: of the paths. folder: the bundle's `models`.
    """

    def __init__(self, keys: str | Iterable[str], folder: str) -> None:
        self.keys = [keys] if isinstance(keys, str) else list(keys)
        self.contract = ImageContract.from_json(read_record(Path(folder))["input"])

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return {key: self.contract.read(value) if key in self.keys else value for key, value in data.items()}


class WritePredictions:
    """What a bundle's `evaluator` does: every batch through the network, and a table of what came out.

    loader: batches with `scan` and `path`. place: the CSV file, with the columns that `predict` has.
    """

    def __init__(
        self, loader: Iterable[Mapping[str, Any]], network: nn.Module, inferer: Callable[[Tensor, nn.Module], Tensor],
        device: torch.device, folder: str, place: str,
    ) -> None:  # fmt: skip
        self.loader, self.network, self.inferer = loader, network.to(device).eval(), inferer
        self.device, self.record, self.place = device, read_record(Path(folder)), Path(place)

    def run(self) -> None:
        """Predicts everything; the table appears whole or not at all."""
        paths, found = [], []
        with torch.inference_mode():
            for batch in self.loader:
                found.append(self.inferer(batch["scan"].to(self.device), self.network).double().cpu())
                paths += batch["path"]
        columns = find_task(self.record["task"]).prediction_columns(torch.cat(found).numpy(), self.record["classes"])
        with atomic_write(self.place) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(["path", *columns])
            for row, path in enumerate(paths):
                cells = [values[row] for values in columns.values()]
                table.writerow([path, *(cell if isinstance(cell, str) else f"{cell:.9g}" for cell in cells)])


class WriteMasks:
    """The `evaluator` of a bundle for masks: every scan, in overlapping patches, into a file in its own geometry.

    paths: of the scans. place: the folder that is written into.
    """

    def __init__(self, paths: Sequence[str], network: nn.Module, device: torch.device, folder: str, place: str) -> None:
        self.paths, self.network, self.device, self.place = paths, network.to(device).eval(), device, Path(place)
        self.segmenter = PatchSegmenter(MaskContract.from_json(read_record(Path(folder))["input"]))

    def run(self) -> None:
        """Predicts everything; every file appears whole or not at all."""
        with torch.no_grad():
            for path, name in zip(self.paths, self.segmenter.names(self.paths), strict=True):
                with atomic_write(self.place / name) as temporary:
                    self.segmenter.segment(path, self._chances, temporary)

    def _chances(self, patches: Tensor) -> Tensor:
        found: Tensor = self.network(patches.to(self.device)).float().cpu()
        return found.clamp(min=1e-30).log()  # whose softmax they are again


INFERENCE: dict[str, Any] = {
    "imports": ["$import glob"],
    "bundle_root": ".",
    "dataset_dir": "./scans",
    "output": "$@bundle_root + '/predictions.csv'",
    "paths": "$sorted(glob.glob(@dataset_dir + '/*'))",
    "models": "$@bundle_root + '/models'",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": {"_target_": "graftwork.imaging.bundle.load_network", "folder": "@models"},
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [{"_target_": "graftwork.imaging.bundle.ReadScand", "keys": "scan", "folder": "@models"}],
    },
    "dataset": {
        "_target_": "Dataset",
        "data": "$[{'scan': path, 'path': path} for path in @paths]",
        "transform": "@preprocessing",
    },
    "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 4, "num_workers": 0},
    "inferer": {"_target_": "SimpleInferer"},
    "evaluator": {
        "_target_": "graftwork.imaging.bundle.WritePredictions",
        "loader": "@dataloader",
        "network": "@network",
        "inferer": "@inferer",
        "device": "@device",
        "folder": "@models",
        "place": "@output",
    },
    "run": ["$@evaluator.run()"],
}
"""configs/inference.json: `dataset_dir` or `paths` say what is predicted, `output` where the table goes."""

MASKS: dict[str, Any] = {
    "output": "$@bundle_root + '/masks'",
    "evaluator": {
        "_target_": "graftwork.imaging.bundle.WriteMasks",
        "paths": "@paths",
        "network": "@network",
        "device": "@device",
        "folder": "@models",
        "place": "@output",
    },
}
"""What a bundle for masks has in their place: `output` is a folder."""

RUNNING = """
## As a MONAI bundle

With graftwork, MONAI and its extra `fire` installed, in this folder:

    python -m monai.bundle run --meta_file configs/metadata.json --config_file configs/inference.json \\
        --bundle_root . --dataset_dir FOLDER_OF_SCANS --output predictions.csv

`models/model.safetensors` holds every tensor of the network; there is no pickle.
"""


def _metadata(adapter: Adapter, network: str) -> dict[str, Any]:
    """configs/metadata.json. Nothing about how or on whom it was trained but the target's name and classes."""
    contract = cast(ImageContract | MaskContract, adapter.backbone.contract)
    masks = adapter.task.output == "maps"
    names = adapter.classes or (str(adapter.record["target"]),)
    number = adapter.task.target_scale is not None
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "n/a",
        "num_channels": contract.channels,
        "spatial_shape": list(contract.size),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": masks,
        "channel_def": {str(channel): f"channel {channel}" for channel in range(contract.channels)},
    }
    pred = {
        "type": "probabilities" if not number else "tensor",
        "format": "classes" if not number else "magnitude",
        "num_channels": len(names),
        "spatial_shape": list(contract.size) if masks else [],
        "dtype": "float32",
        "value_range": [] if number else [0, 1],
        "is_patch_data": masks,
        "channel_def": {str(place): name for place, name in enumerate(names)},
    }
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "exported by graftwork"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {"graftwork": version_of("graftwork"), "safetensors": version("safetensors")},
        "name": f"{adapter.record['target']} on {network}",
        "task": f"{adapter.record['target']} ({adapter.task})",
        "description": f"{adapter.record['strategy']} on {network}",
        "authors": "unknown",
        "copyright": "unknown",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}},
    }
