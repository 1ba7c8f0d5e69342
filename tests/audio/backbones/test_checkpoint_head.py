"""Checkpoints fine-tuned with CTC, as transformers saves them: their characters and head are where training begins."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from graftwork.audio import load_backbone
from graftwork.audio.backbones.checkpoint_head import load_frame_head
from graftwork.core import Recipe
from graftwork.core.errors import BackboneError, SettingsError
from graftwork.core.model.graft import make_graft
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.tasks.transcripts import best_path, decode, encode
from graftwork.core.types import Features
from tests.audio.conftest import CONFIGS

from .test_huggingface import transformers_model

TOKENS = ["<s>", "E", "</s>", "|", "<unk>", "T", "'", "<pad>", "A"]
PAD = TOKENS.index("<pad>")
KEPT = [PAD, 1, 3, 5, 6, 8]


def checkpoint(folder: Path, name: str = "wav2vec2 group norm", tokens: list[str] = TOKENS):
    original = transformers_model({**CONFIGS[name], "vocab_size": len(tokens), "pad_token_id": PAD}, "ForCTC")
    original.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    return original


def graft_on(folder: Path, strategy: str, head: str = "linear"):
    given = load_frame_head(f"hf:{folder}")
    backbone = replace(load_backbone(f"hf:{folder}", pooling="none"), frame_head=given)
    return make_graft(backbone, parse_strategy(strategy), Recipe(head=head), "text", given.classes, 0)


@pytest.mark.parametrize("name", ["wav2vec2 group norm", "hubert layer norm", "wavlm group norm"])
@pytest.mark.parametrize("strategy", ["probe", "full", "lora"])
@torch.no_grad()
def test_before_training_the_logits_are_those_of_transformers(name: str, strategy: str, tmp_path: Path) -> None:
    original = checkpoint(tmp_path, name)
    clip = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    expected = original(clip).logits[..., KEPT]
    found = graft_on(tmp_path, strategy).outputs(Features(clip)).values
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_characters_are_folded_and_stand_behind_the_blank(tmp_path: Path) -> None:
    checkpoint(tmp_path)
    assert load_frame_head(f"hf:{tmp_path}").classes == ("", "e", " ", "t", "'", "a")


def test_scratch_keeps_the_characters_alone(tmp_path: Path) -> None:
    checkpoint(tmp_path)
    made, given = graft_on(tmp_path, "scratch"), load_frame_head(f"hf:{tmp_path}")
    assert not torch.equal(made.head.layers[-1].weight, given.weight)


@pytest.mark.parametrize(("strategy", "head", "said"), [
    ("layers", "linear", "layers: sums up all layers"), ("full", "mlp", "a checkpoint's head is linear"),
])  # fmt: skip
def test_what_a_head_was_not_made_for_is_refused(strategy: str, head: str, said: str, tmp_path: Path) -> None:
    checkpoint(tmp_path)
    with pytest.raises(SettingsError, match=said):
        graft_on(tmp_path, strategy, head)


def test_a_folder_without_head_or_characters_is_explained(tmp_path: Path) -> None:
    checkpoint(tmp_path)
    with pytest.raises(SettingsError, match="tiny:wav2vec2 has no characters of its own"):
        load_frame_head("tiny:wav2vec2")
    with pytest.raises(SettingsError, match="random weights come without a head"):
        load_frame_head(f"hf:{tmp_path}", "random")
    tensors = load_file(tmp_path / "model.safetensors")
    bare = {name: value for name, value in tensors.items() if not name.startswith("lm_head")}
    save_file(bare, tmp_path / "bare.safetensors")
    with pytest.raises(BackboneError, match=r"bare\.safetensors: has no head for text"):
        load_frame_head(f"hf:{tmp_path}", str(tmp_path / "bare.safetensors"))
    (tmp_path / "vocab.json").write_text(json.dumps({"<pad>": 7, "a": 8, "ch": 9}))
    with pytest.raises(BackboneError, match="1 entries are no single characters, the first is 'ch'"):
        load_frame_head(f"hf:{tmp_path}")
    (tmp_path / "vocab.json").write_text(json.dumps({"<pad>": 7, "a": 9}))
    with pytest.raises(BackboneError, match=r"names number 9, the head in .* has 9 rows"):
        load_frame_head(f"hf:{tmp_path}")
    (tmp_path / "vocab.json").unlink()
    with pytest.raises(BackboneError, match=r"there is no vocab\.json"):
        load_frame_head(f"hf:{tmp_path}")


def made(folder: Path, tokens: list[str], blank: str, *, tokenizer: bool = True):
    """A checkpoint with these tokens whose blank is one of them, and transformers' processor of it."""
    import transformers

    pad = tokens.index(blank)
    model = transformers_model({**CONFIGS["wav2vec2 group norm"], "vocab_size": len(tokens), "pad_token_id": pad},
                               "ForCTC")  # fmt: skip
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    own = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), pad_token=blank, unk_token="<unk>",
                                            bos_token=None, eos_token=None)  # fmt: skip
    if tokenizer:
        own.save_pretrained(folder)
    return model, own


@pytest.mark.parametrize(("tokens", "blank"), [
    (["<pad>", "|", "<unk>", *"abAB"], "<pad>"),
    (["<pad>", *"BAab", "|", "<unk>"], "<pad>"),
    (["<pad>", "|", "<unk>", " ", *"ab"], "<pad>"),
    (["-", "|", "<unk>", *"ab"], "-"),
    (["|", "<unk>", *"ab", "_"], "_"),
])  # fmt: skip
@torch.no_grad()
def test_what_is_heard_is_written_as_transformers_writes_it_but_for_case(
    tokens: list[str], blank: str, tmp_path: Path
) -> None:
    """Every token that is most probable in some frame counts, also one that is the same character as another."""
    _, own = made(tmp_path, tokens, blank)
    given = load_frame_head(f"hf:{tmp_path}")
    rows = [row for row in range(len(tokens)) if tokens[row] != "<unk>"]
    heads = load_file(tmp_path / "model.safetensors")["lm_head.weight"]
    place = {tuple(heads[row].tolist()): row for row in rows}
    numbers = [place[tuple(one.tolist())] for one in given.weight]
    assert sorted(numbers) == rows
    assert numbers[0] == tokens.index(blank)
    said = torch.tensor(rows * 3)[torch.randperm(3 * len(rows), generator=torch.Generator().manual_seed(0))]
    expected = " ".join(own.decode(said).lower().split())
    logits = torch.nn.functional.one_hot(torch.tensor([[numbers.index(int(row)) for row in said]])).float()
    assert decode(best_path(Features(logits)).numpy(), given.classes) == [expected]


def test_texts_are_written_with_small_letters_and_the_bar(tmp_path: Path) -> None:
    made(tmp_path, ["<pad>", "A", " ", "|", "a", "<unk>"], "<pad>")
    given = load_frame_head(f"hf:{tmp_path}")
    heads = load_file(tmp_path / "model.safetensors")["lm_head.weight"]
    numbers = encode(["a a"], given.classes)[0]
    torch.testing.assert_close(given.weight[numbers], heads[[4, 3, 4]])


@pytest.mark.parametrize(("stated", "tokens"), [
    (0, ["a", "|", "<pad>"]), (None, ["a", "|", "b"]), (1, ["a", "|", "b"]), ("0", ["<pad>", "|", "a"]),
    (0, {"<pad>": -1, "a": 0}),
])  # fmt: skip
def test_a_letter_is_no_blank(stated: object, tokens: list[str] | dict[str, int], tmp_path: Path) -> None:
    checkpoint(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "pad_token_id": stated}))
    numbers = tokens if isinstance(tokens, dict) else {token: number for number, token in enumerate(tokens)}
    (tmp_path / "vocab.json").write_text(json.dumps(numbers))
    with pytest.raises(BackboneError, match=r"config\.json: pad_token_id"):
        load_frame_head(f"hf:{tmp_path}")


def test_a_config_that_names_no_blank_has_the_tokenizers(tmp_path: Path) -> None:
    checkpoint(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "pad_token_id": None}))
    heads = load_file(tmp_path / "model.safetensors")["lm_head.weight"]
    torch.testing.assert_close(load_frame_head(f"hf:{tmp_path}").weight[0], heads[PAD])
