"""Weights are really downloaded: a server on this machine stands in for the hub, and commands fetch from it."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file

from graftwork import audio

COMMIT = "1" * 40
ENCODER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28}
SPEECH = {
    "model_type": "wav2vec2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "conv_dim": [8, 8], "conv_kernel": [40, 10], "conv_stride": [40, 8],
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does: what a repository holds, and its files with their digest and commit."""

    folder: Path

    def do_HEAD(self) -> None:
        self.answer(send_body=False)

    def do_GET(self) -> None:
        self.answer(send_body=True)

    def answer(self, send_body: bool) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[0] == "api":
            body = self.repository("/".join(parts[2:4]), as_tree="tree" in parts)
        else:
            file = self.folder / "/".join(parts[:2]) / parts[-1]
            body = file.read_bytes() if file.is_file() else None
        if body is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if send_body:
            self.wfile.write(body)

    def repository(self, name: str, as_tree: bool) -> bytes | None:
        if not (self.folder / name).is_dir():
            return None
        if as_tree:
            tree = [{"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0"}
                    for file in (self.folder / name).iterdir()]  # fmt: skip
            return json.dumps(tree).encode()
        files = [{"rfilename": file.name} for file in sorted((self.folder / name).iterdir())]
        return json.dumps({"id": name, "modelId": name, "sha": COMMIT, "siblings": files, "tags": []}).encode()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: requests are not part of the tests' output."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a hub with a tiny timm network and a tiny speech network."""
    Hub.folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    place = Hub.folder / "timm" / "test_resnet.r160_in1k"
    place.mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in timm.create_model("test_resnet").state_dict().items()},
              place / "model.safetensors")  # fmt: skip
    audio.save_backbone(audio.new_backbone(SPEECH), Hub.folder / "someone" / "tiny")
    pictures = Hub.folder / "someone" / "pictures"
    timm.models.save_for_hf(timm.create_model("test_resnet"), pictures, safe_serialization=True)
    encoder = Hub.folder / "someone" / "encoder"
    transformers.Dinov2Model(transformers.Dinov2Config(**ENCODER)).save_pretrained(encoder)
    (encoder / "preprocessor_config.json").write_text(json.dumps({"size": 28, "image_mean": 0.5, "image_std": 0.5}))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def load(code: str, endpoint: str, cache: Path) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0",
                "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}  # fmt: skip
    return subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=False)


IMAGING = "from graftwork import imaging; print(imaging.load_backbone('timm:test_resnet', image_size=32).digest())"
OWN = "from graftwork import imaging; print(imaging.load_backbone('timm:hf-hub:someone/pictures@main').digest())"
SCANS = "from graftwork import imaging; print(imaging.load_backbone('hf:someone/encoder').digest())"
AUDIO = "from graftwork import audio; print(audio.load_backbone('hf:someone/tiny@main').digest())"


@pytest.mark.slow(reason="loads timm or torchaudio in a process of its own, two times")
@pytest.mark.parametrize("code", [IMAGING, OWN, SCANS, AUDIO], ids=["timm", "timm hub", "hf of scans", "hf"])
def test_weights_are_fetched_once_and_then_come_from_the_cache(code: str, hub: str, tmp_path: Path) -> None:
    fetched = load(code, hub, tmp_path)
    assert fetched.returncode == 0, fetched.stderr
    again = load(code, "http://127.0.0.1:9", tmp_path)
    assert again.returncode == 0, again.stderr
    assert fetched.stdout == again.stdout
    assert len(fetched.stdout.strip()) == 64


@pytest.mark.slow(reason="loads timm or torchaudio in a process of its own")
@pytest.mark.parametrize("code", [IMAGING, OWN, SCANS, AUDIO], ids=["timm", "timm hub", "hf of scans", "hf"])
def test_without_a_network_the_error_says_what_to_do(code: str, tmp_path: Path) -> None:
    failed = load(code, "http://127.0.0.1:9", tmp_path)
    assert failed.returncode == 1
    assert "DownloadError" in failed.stderr
    assert "--weights" in failed.stderr or "give hf:FOLDER" in failed.stderr
