"""A tiny network, a contract that reads arrays, and examples that can be learnt: what the tests of the core share."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from graftwork.core.cli.command_line import CommandLine
from graftwork.core.data.examples import read_examples
from graftwork.core.data.tables import read_manifest
from graftwork.core.domain import BackboneEntry, Domain
from graftwork.core.errors import UnreadableError
from graftwork.core.model.backbone import Backbone, Stage
from graftwork.core.recipe import Recipe
from graftwork.core.types import Features


@dataclass(frozen=True)
class ArrayContract:
    """Arrays of shape (1, 8, 8) in .npy files. `reads` counts the files that were opened."""

    scale: float = 1.0
    reads: list[str] = field(default_factory=list, compare=False)

    def read(self, example):
        self.reads.append(str(example))
        try:
            values = np.load(example)
        except (OSError, ValueError, EOFError) as error:
            raise UnreadableError(f"{example}: cannot be read ({error})") from error
        return torch.from_numpy(values.astype(np.float32)) * self.scale

    def collate(self, examples):
        return Features(torch.stack(list(examples)))

    def seconds(self, example):
        return None

    def blank(self):
        return torch.zeros(1, 8, 8)

    def to_json(self):
        return {"scale": self.scale}


def examples_in(features):
    """How many examples a batch has; none, if it is the one of noise by which `folded` sees what follows what."""
    return len(features) if len(features) > 1 else 0


class Block(nn.Sequential):
    def __init__(self, channels_in, channels_out, norm=True, dropout=0.0):
        layers = [nn.Conv2d(channels_in, channels_out, 3, padding=1, stride=2, bias=not norm)]
        layers += [nn.BatchNorm2d(channels_out)] if norm else []
        super().__init__(*layers, nn.ReLU(), nn.Dropout(dropout))


class TinyNet(nn.Module):
    """Three blocks and a mean over space: (batch, 1, 8, 8) -> (batch, 8). The names layer1 and layer10 are meant."""

    def __init__(self, norm=True, dropout=0.2):
        super().__init__()
        self.stem = Block(1, 4, norm)
        self.layer1 = Block(4, 6, norm, dropout)
        self.layer10 = Block(6, 8, norm)

    def forward(self, values):
        return self.layer10(self.layer1(self.stem(values))).mean((2, 3))


@pytest.fixture(autouse=True)
def _without_reports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end without their report, which takes as long as a small run, but in tests that are marked `reports`."""
    if request.node.get_closest_marker("reports") is None:
        for verb in ("train", "compare", "evaluate"):
            monkeypatch.setattr(f"graftwork.core.runs.{verb}.report_on_finished", lambda *given, **named: None)


def through(name):
    return Stage(name, lambda network, features: Features(getattr(network, name)(features.values)), (name,))


POOL = Stage("pool", lambda network, features: Features(features.values.mean((2, 3))))


def tiny_backbone(*, norm=True, dropout=0.2, seed=0, contract=None):
    """A backbone with four stages (stem, layer1, layer10, pool), its running statistics away from their defaults."""
    torch.manual_seed(seed)
    network = TinyNet(norm, dropout)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return Backbone(
        "tiny:net",
        network.eval(),
        (through("stem"), through("layer1"), through("layer10"), POOL),
        contract or ArrayContract(),
        8,
        build=lambda: TinyNet(norm, dropout),
    )


@pytest.fixture(scope="session")
def make_backbone():
    return tiny_backbone


@pytest.fixture
def backbone():
    return tiny_backbone()


@pytest.fixture(scope="session")
def table(tmp_path_factory) -> Path:
    """A CSV of 60 examples of three classes in 20 groups; the files hold a pattern of their class under noise.

    Columns: path, label, group, age (a number that the brightness tells), bright and striped (two labels).
    """
    folder = tmp_path_factory.mktemp("examples")
    rng = np.random.default_rng(7)
    lines = ["path,label,group,age,bright,striped"]
    for row in range(60):
        kind = row % 3
        bright = (row // 3) % 2
        values = rng.normal(0, 0.4, (1, 8, 8))
        values[:, :, ::2] += kind == 1
        values[:, ::2, :] += 1.5 * (kind == 2)
        values += bright
        np.save(folder / f"{row:02}.npy", values.astype(np.float32))
        lines.append(
            f"{row:02}.npy,{'abc'[kind]},p{row // 3},{30.5 + 20 * values.mean():.3f},{bright},{int(kind == 1)}"
        )
    (folder / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "table.csv"


@pytest.fixture
def misleading_table(tmp_path) -> Path:
    """A bright group and a dark one of each class: who has seen all others takes either for the other class."""
    generator = np.random.default_rng(0)
    lines = ["path,label,group"]
    for group, (label, brightness) in enumerate([("a", 3.0), ("b", -3.0), ("a", -3.0), ("b", 3.0)]):
        for number in range(3):
            np.save(tmp_path / f"{group}{number}.npy", brightness + generator.normal(0, 0.1, (1, 8, 8)))
            lines.append(f"{group}{number}.npy,{label},g{group}")
    (tmp_path / "misleading.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "misleading.csv"


@pytest.fixture
def make_manifest(table):
    def make(task="single-label"):
        target = {"single-label": "label", "multi-label": "bright,striped", "regression": "age"}[task]
        return read_manifest(table, target=target)

    return make


@pytest.fixture
def manifest(make_manifest):
    return make_manifest()


@pytest.fixture
def examples(manifest):
    return read_examples(manifest, ArrayContract())


@pytest.fixture
def make_examples(make_manifest):
    return lambda task="single-label": read_examples(make_manifest(task), ArrayContract())


@pytest.fixture
def recipe():
    """Two short epochs on the CPU, kept after every update."""
    return Recipe(epochs=2, batch_size=8, device="cpu", workers=0, memory_format="contiguous", checkpoint_minutes=0)


def on_a_small_device(backbone, most, tried, *, learning=False):
    """The backbone on a device whose memory takes so many examples at once; `learning`: only while it learns. `tried`
    gets the number of examples of every attempt."""

    def run(network, features):
        if network.training or not learning:
            tried.append(len(features))
            if len(features) > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return first.run(network, features)

    first = backbone.stages[0]
    return replace(backbone, stages=(replace(first, run=run), *backbone.stages[1:]))


def shift(example, generator):
    """A random change: brighter or darker."""
    return example + float(generator.normal(0, 0.1))


def leave(example, generator):
    """The change that changes nothing: it only keeps frozen stages from being computed once."""
    return example


@pytest.fixture
def augment():
    return shift


@pytest.fixture
def no_change():
    return leave


@pytest.fixture
def domain():
    """A domain of arrays."""
    return Domain("tiny", "array", (".npy",), shift)


@pytest.fixture
def commands(domain):
    """Its command line; `tiny:net` is a network of fixed weights, `weights` a seed for others."""

    def load(id, *, weights=None, **options):
        seed = 99 if weights == "random" else int(weights or 0)
        return replace(tiny_backbone(seed=seed), id=id, options=options, weights=weights, domain=domain)

    entry = BackboneEntry("tiny:net", "tiny", 1234, "Apache-2.0", "yes")
    return CommandLine(domain, "tiny:net", load, lambda text: [entry] if text in entry.id else [])


@pytest.fixture
def load_backbone(commands):
    return commands.load_backbone


def same_state(one, other):
    """Whether two modules hold the same bytes under the same names."""
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


@pytest.fixture
def equal_states():
    return same_state
