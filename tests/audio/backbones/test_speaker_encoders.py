"""Speaker encoders in the folders of SpeechBrain and WeSpeaker: their owners' embeddings, alone and in a batch."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from graftwork.audio import list_backbones, load_backbone
from graftwork.audio.backbones.own_frames import normalised
from graftwork.audio.backbones.tagged_yaml import MADE_BY, read_tagged
from graftwork.core.errors import BackboneError, SettingsError, UnreadableError
from graftwork.core.types import Features
from tests.audio.conftest import relative_difference
from tests.audio.speaker_folders import seeded, speechbrain_folder, wespeaker_folder

OWNERS = {
    # Of this clip, by speechbrain 1.1.2 (Fbank, InputNormalization, ECAPA_TDNN, ResNet) with the same weights.
    "speechbrain:ecapa": [0.35029, 7.59348, -4.91082, 2.16246, 4.41633, -11.79313, 2.20234, -3.97844, 2.27165, 10.84473,
                          5.15659, 3.48505],
    "speechbrain:resnet": [-6.0858, -0.37858, 12.1336, 2.3779, 9.26343, 6.43551, -0.42949, -5.03077, 3.83464, -15.94328,
                           5.41056, -14.36938],
    # By wespeaker.models at 10868f6 (resnet) and 0333e19 (ecapa_tdnn) with torchaudio.compliance.kaldi.fbank.
    "wespeaker:ResNet18": [-1.14489, -2.5521, 1.75975, 2.52812, -0.37018, -0.90996, 0.30016, -0.17777, 2.07781, 0.12381,
                           -1.94821, 0.44752],
    "wespeaker:ResNet50": [-0.42863, -0.58505, -1.3146, -1.15593, -1.19461, -0.14619, -0.87473, -2.27855, -0.54983,
                           3.23989, -1.65091, -0.66034],
    "wespeaker:ECAPA_TDNN_c512": [-0.8987, -2.99114, 1.42601, 4.36621, 1.24005, 0.69704, 0.45213, -1.4351, 3.76692,
                                  2.52078, -2.14747, 0.62544],
    "wespeaker:ECAPA_TDNN_GLOB_c512": [-1.56375, -2.37602, 1.2026, 3.81177, 0.45161, 1.45172, 0.59373, -2.78451,
                                       5.38064, 1.71213, -0.53596, 1.57463],
}  # fmt: skip
SMALL = [one for one in OWNERS if "50" not in one]


def made(name: str, folder: Path) -> str:
    """The id of such a folder."""
    source, _, kind = name.partition(":")
    return f"{source}:{(speechbrain_folder if source == 'speechbrain' else wespeaker_folder)(folder / kind, kind)}"


def clip() -> torch.Tensor:
    """(1, 16000), with a part so quiet that SpeechBrain's limit of 80 dB below the loudest band counts."""
    samples = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(7))
    samples[:, 9000:9800] *= 1e-6
    return samples


@pytest.mark.parametrize("name", OWNERS)
def test_the_last_stage_gives_the_owners_embedding(name: str, tmp_path: Path) -> None:
    backbone = load_backbone(made(name, tmp_path))
    assert backbone.stages[-1].name == "embedding"
    assert backbone.feature_dim == 12
    found = backbone.run(Features(clip())).values
    torch.testing.assert_close(found[0], torch.tensor(OWNERS[name]), atol=1e-4, rtol=1e-5)


def of_their_class(said: dict[str, Any]) -> Any:
    """What SpeechBrain's file would make of this part of it."""
    module, _, name = said[MADE_BY].removeprefix("new:").rpartition(".")
    return getattr(importlib.import_module(module), name)(**{key: one for key, one in said.items() if key != MADE_BY})


@pytest.mark.skipif(importlib.util.find_spec("speechbrain") is None, reason="speechbrain is not installed")
@pytest.mark.parametrize("kind", ["ecapa", "resnet"])
@torch.no_grad()
def test_features_and_embedding_are_those_of_speechbrain_itself(kind: str, tmp_path: Path) -> None:
    folder = speechbrain_folder(tmp_path, kind)
    backbone = load_backbone(f"speechbrain:{folder}")
    said = read_tagged(folder / "hyperparams.yaml")
    own = {name: of_their_class(said[name]) for name in ("compute_features", "mean_var_norm", "embedding_model")}
    network = own["embedding_model"].eval()
    network.load_state_dict(torch.load(folder / "embedding_model.ckpt"))
    features = own["mean_var_norm"](own["compute_features"](clip()), torch.ones(1))
    assert relative_difference(backbone.run(Features(clip()), stop=1).values, features) < 1e-6
    assert relative_difference(backbone.run(Features(clip())).values, network(features).reshape(1, -1)) < 1e-5


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_the_padding_of_a_batch_changes_no_embedding(name: str, tmp_path: Path) -> None:
    backbone = load_backbone(made(name, tmp_path))
    lengths = (backbone.contract.blank().numel() // 4, 5000, 7777, 12001)
    clips = [0.1 * torch.randn(length, generator=torch.Generator().manual_seed(length)) for length in lengths]
    together = backbone.run(backbone.contract.collate(clips)).values
    for row, alone in enumerate(clips):
        single = backbone.run(backbone.contract.collate([alone])).values
        assert relative_difference(together[row : row + 1], single) < 1e-5


@torch.no_grad()
def test_a_batch_norm_that_learns_sees_the_clips_own_frames_alone() -> None:
    frames = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    norm, expected = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    found = normalised(norm, frames, torch.tensor([5, 2]))
    own = torch.cat([frames[0], frames[1, :, :2]], dim=1)
    torch.testing.assert_close(found[0], expected(own.T)[:5].T)
    torch.testing.assert_close(norm.running_mean, expected.running_mean)


def test_the_weights_are_kept_in_the_networks_own_types(tmp_path: Path) -> None:
    network = load_backbone(made("wespeaker:ResNet18", tmp_path)).network
    assert network.state_dict()["bn1.num_batches_tracked"].dtype == torch.int64


def test_random_weights_and_weights_from_another_file(tmp_path: Path) -> None:
    id = made("speechbrain:ecapa", tmp_path)
    torch.manual_seed(0)
    assert load_backbone(id, weights="random").digest() != load_backbone(id).digest()
    file = tmp_path / "others.pt"
    torch.save({key: 2 * value for key, value in seeded(load_backbone(id).network.state_dict()).items()}, file)
    others = load_backbone(id, weights=file)
    assert others.weights == str(file)
    assert others.digest() != load_backbone(id).digest()


@pytest.mark.parametrize(
    ("name", "before", "after", "reason"),
    [
        ("speechbrain:ecapa", "std_norm: False", "std_norm: True", "less their mean over the sentence"),
        ("speechbrain:ecapa", "lobes.features.Fbank", "lobes.features.MFCC", "expected features by Fbank"),
        ("speechbrain:ecapa", "lin_neurons: 12", "activation: !name:torch.nn.GELU", "activation would change"),
        ("speechbrain:ecapa", "ECAPA_TDNN.ECAPA_TDNN\n", "Xvector.Xvector\n", "found Xvector"),
        ("speechbrain:ecapa", "24, 24, 24", "24, 16, 24", "must be alike"),
        ("speechbrain:ecapa", "n_mels: !ref <n_mels>", "n_mels: !ref <nothing>", "refers to 'nothing'"),
        ("speechbrain:resnet", "[1, 2, 1, 1]", "[1, 2, 1]", "block_sizes must be four numbers, found 3"),
        ("wespeaker:ResNet18", "two_emb_layer: false", "two_emb_layer: true", "two_emb_layer must be False"),
        ("wespeaker:ResNet18", "pooling_func: TSTP", "pooling_func: MQMHASTP", "pooling_func must be 'TSTP'"),
        ("wespeaker:ResNet18", "model: ResNet18", "model: CAMPPlus", "found 'CAMPPlus'"),
        ("wespeaker:ResNet18", "cmvn: true", "cmvn: false", "cmvn must be True, found False"),
        ("wespeaker:ResNet18", "cmvn: true", "frontend: s3prl", "frontend must be 'fbank', found 's3prl'"),
        ("wespeaker:ResNet18", "feat_dim: 16", "feat_dim: 80", "takes 80 bands, and the features have 16"),
        ("wespeaker:ResNet18", "embed_dim: 12", "embed_dim: 16", "seg_1.weight: expected shape"),
    ],
)
def test_what_is_not_computed_here_is_refused(name: str, before: str, after: str, reason: str, tmp_path: Path) -> None:
    id = made(name, tmp_path)
    path = next(Path(id.partition(":")[2]).glob("*.yaml"))
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises((BackboneError, UnreadableError), match=reason):
        load_backbone(id)


def test_nothing_that_hyperparams_yaml_names_is_run(tmp_path: Path) -> None:
    id = made("speechbrain:ecapa", tmp_path)
    path = tmp_path / "ecapa" / "hyperparams.yaml"
    mark = tmp_path / "mark"
    path.write_text(path.read_text() + f"\nrun: !apply:pathlib.Path.touch [!new:pathlib.Path [{mark}]]\n"
                    f"other: !!python/object/apply:os.mkdir ['{mark}']\n")  # fmt: skip
    with pytest.raises(UnreadableError, match="is no YAML"):
        load_backbone(id)
    path.write_text(path.read_text().partition("\nother:")[0])
    load_backbone(id)
    assert not mark.exists()


def test_errors_name_the_folder_and_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(
        BackboneError, match=r"expected hyperparams.yaml and embedding_model.ckpt in the folder, found n"
    ):
        load_backbone(f"speechbrain:{tmp_path}")
    with pytest.raises(BackboneError, match=r"no such folder; give one with config.yaml and avg_model.pt"):
        load_backbone(f"wespeaker:{tmp_path}/none")
    with pytest.raises(SettingsError, match="leave --pooling out"):
        load_backbone(made("speechbrain:ecapa", tmp_path), pooling="mean")
    (tmp_path / "ecapa" / "embedding_model.ckpt").unlink()
    with pytest.raises(UnreadableError, match="no such weights file"):
        load_backbone(f"speechbrain:{tmp_path / 'ecapa'}")


def test_both_sources_are_listed() -> None:
    assert {"speechbrain:ID_OR_FOLDER", "wespeaker:ID_OR_FOLDER"} <= {entry.id for entry in list_backbones()}
