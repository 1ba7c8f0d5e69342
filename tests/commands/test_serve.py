"""The page of a run: what it says of files, of hostile ones too, and whom it answers."""

import base64
import http.client
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import soundfile
from PIL import Image

from graftwork import audio, core, imaging
from graftwork.core.errors import OutputError, SettingsError
from tests.core.runs.report.test_browser import browser, new_page

RECIPE = core.Recipe(epochs=1, batch_size=8, workers=0, updates=2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Files, and for `run` of them a run that has learnt from them: of pictures, of masks of volumes, of clips in
    windows."""
    folder = tmp_path_factory.mktemp("serve")
    generator = np.random.default_rng(0)
    rows, masks, clips = ["path,label"], ["path,mask"], ["path,label"]
    for number in range(12):
        kind = number % 2
        pixels = generator.integers(0, 100, (32, 32)) + 90 * kind
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{('dark', 'bright')[kind]}")
        sound = np.sin(np.arange(16000) * (0.05 + 0.1 * kind)) + generator.normal(0, 0.3, 16000)
        soundfile.write(folder / f"{number}.wav", 0.2 * sound, 16000)
        clips.append(f"{number}.wav,{('low', 'high')[kind]}")
    for number in range(4):
        classes = np.zeros((12, 14, 10), np.uint8)
        classes[3:8, 4:9, 2:7] = 1
        values = (classes + generator.normal(0, 0.2, classes.shape)).astype(np.float32)
        for name, stored in ((f"case{number}.nii.gz", values), (f"mask{number}.nii.gz", classes)):
            nibabel.save(nibabel.Nifti1Image(stored, np.diag([1.0, 1.0, 2.0, 1.0])), folder / name)
        masks.append(f"case{number}.nii.gz,mask{number}.nii.gz")
    for name, lines in (("scans", rows), ("masks", masks), ("clips", clips)):
        (folder / f"{name}.csv").write_text("\n".join(lines))
    return folder


KINDS = {
    "scans": (imaging, "tiny:cnn2d", {"image_size": 32}, {"sensitivity": 0.9, "folds": 2, "random_split": "off"}),
    "masks": (imaging, "slices:tiny:cnn2d", {"image_size": 32, "mask_values": "0:rest,1:organ"},
              {"test_fraction": 0.25, "val_fraction": 0.0}),
    "clips": (audio, "tiny:wav2vec2", {"window_seconds": 0.5}, {"folds": 2, "random_split": "off"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def servers(runs):
    """By name of the run, a server that answers in a thread; it is trained when it is first asked for."""

    class Servers(dict):
        def __missing__(self, name):
            domain, id, options, settings = KINDS[name]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("graftwork.core.runs.train.report_on_finished", lambda *given, **named: None)
                rows = domain.read_manifest(runs / f"{name}.csv")
                core.train(
                    domain.load_backbone(id, **options), rows, recipe=RECIPE, out=runs / f"run-{name}", **settings
                )
            server = self[name] = core.make_server(runs / f"run-{name}", domain.load_backbone, port=0, max_mb=1)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return server

    made = Servers()
    yield made
    for server in made.values():
        server.shutdown()
        server.server_close()


def ask(server, method="GET", path="/", body=None, **headers):
    """Status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, path, body, headers)
    said = connection.getresponse()
    found = said.status, dict(said.getheaders()), said.read()
    connection.close()
    return found


def send(server, file, name=None):
    content = file if isinstance(file, bytes) else file.read_bytes()
    status, _, body = ask(server, "POST", "/predict", content, **{"X-Filename": name or file.name})
    return status, json.loads(body)


def image(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_a_picture_has_the_probabilities_that_predict_gives_and_a_map(servers, runs):
    status, found = send(servers["scans"], runs / "1.png")
    expected = imaging.load_adapter(runs / "run-scans").predict([str(runs / "1.png")]).drop(columns="path").iloc[0]
    assert status == 200
    assert set(found["columns"]) == set(expected.index)
    assert found["columns"]["decision"] == expected["decision"]
    for name in ("probability_bright", "probability_dark"):
        assert found["columns"][name] == pytest.approx(expected[name], abs=1e-6)
    assert np.asarray(image(found["picture"]).convert("RGB")).std() > 0
    assert image(found["preview"]).size == (192, 192)
    assert found["windows"] == []


@pytest.mark.long(reason="trains a small network of its own")
def test_a_mask_is_drawn_on_the_slice_with_most_of_it(servers, runs):
    status, found = send(servers["masks"], runs / "case1.nii.gz")
    assert status == 200
    assert found["kind"] == "mask"
    assert any("organ" in name for name in found["columns"])
    assert min(image(found["picture"]).size) > 300


@pytest.mark.long(reason="trains a small network of its own")
def test_a_recording_has_its_windows(servers, runs):
    status, found = send(servers["clips"], runs / "1.wav")
    assert status == 200
    assert 'id="record"' in ask(servers["clips"])[2].decode()
    assert [one["start_s"] for one in found["windows"]] == pytest.approx([0.0, 0.25, 0.5])
    for one in (found["columns"], *found["windows"]):
        assert one["probability_low"] + one["probability_high"] == pytest.approx(1)


SECRET = (b"ObjectType = Image\nNDims = 2\nDimSize = 4 4\nElementType = MET_UCHAR\n"
          b"ElementDataFile = /etc/passwd\n")  # fmt: skip

HOSTILE = (
    ("scans", b"", "empty.png"), ("scans", b"\x89PNG\r\n\x1a\n" + b"x" * 50, "broken.png"),
    ("scans", b"x" * 500, "../../../etc/passwd.dcm"), ("scans", b"<script>alert(1)</script>", "<b>.nii.gz"),
    ("scans", b"x" * 99, "nosuffix"), ("scans", b"path\n/etc/hostname\n", "a.csv"),
    ("scans", b"path\n/etc/hostname\n/etc/passwd\n", "two.tsv"), ("scans", SECRET, "a.mhd"), ("scans", SECRET, "a.mha"),
    ("scans", b"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 4 4\nencoding: raw\ndata file: /etc/passwd\n\n", "a.nrrd"),
    *(pytest.param(*one, marks=pytest.mark.long) for one in (
        ("masks", b"\x1f\x8b" + b"x" * 99, "case.nii.gz"), ("clips", b"RIFF", "a.wav"), ("clips", b"x" * 999, "*.mp3"),
    )),
)  # fmt: skip


@pytest.mark.parametrize(("run", "content", "name"), HOSTILE)
def test_a_file_that_cannot_be_read_is_a_named_error_and_leaves_nothing(
    servers, run, content, name, capfd, tmp_path, monkeypatch
):
    server = servers[run]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    status, found = send(server, content, name)
    assert status == 422
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", Path(name).name).lstrip(".")
    assert safe in found["error"]
    assert str(tmp_path) not in found["error"]
    assert "Traceback" not in found["error"] + capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_page_asks_for_nothing_elsewhere_and_runs_no_script_but_its_own(servers):
    status, headers, body = ask(servers["scans"])
    page = body.decode()
    assert status == 200
    assert not re.search(r"(?:src|href)\s*=|https?://|url\(", page.replace('image.src = "data:', ""))
    nonce = re.search(r"script-src 'nonce-([\w-]+)'", headers["Content-Security-Policy"])[1]
    assert f'<script nonce="{nonce}">' in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert nonce not in ask(servers["scans"])[2].decode()
    assert 'id="record"' not in page


@pytest.mark.parametrize(("method", "path", "body", "headers", "status"), [
    ("GET", "/", None, {"Host": "elsewhere.example:80"}, 403),
    ("POST", "/predict", b"x", {"Host": "elsewhere.example:80", "X-Filename": "a.png"}, 403),
    ("POST", "/predict", b"x", {}, 404),
    ("POST", "/", b"x", {"X-Filename": "a.png"}, 404),
    ("GET", "/../run.json", None, {}, 404),
    ("OPTIONS", "/predict", None, {}, 501),
])  # fmt: skip
def test_other_pages_and_other_addresses_get_nothing(servers, method, path, body, headers, status):
    assert ask(servers["scans"], method, path, body, **headers)[0] == status


def test_what_is_larger_than_the_limit_is_refused_before_it_is_read(servers):
    connection = http.client.HTTPConnection("127.0.0.1", servers["scans"].server_port, timeout=10)
    connection.putrequest("POST", "/predict")
    connection.putheader("X-Filename", "a.png")
    connection.putheader("Content-Length", "1000001")
    connection.endheaders()
    said = connection.getresponse()
    assert said.status == 413
    assert "expected at most 1 MB, found 1.0 MB" in json.loads(said.read())["error"]


def test_it_listens_on_this_machine_alone_and_says_what_it_cannot_have(servers, runs):
    server = servers["scans"]
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(OutputError, match="give another --port"):
        core.make_server(runs / "run-scans", imaging.load_backbone, port=server.server_port)
    with pytest.raises(SettingsError, match="--max-mb: expected above 0"):
        core.make_server(runs / "run-scans", imaging.load_backbone, max_mb=0)


@pytest.mark.long(reason="a server in a process of its own, and a browser")
@pytest.mark.slow(reason="a server in a process of its own, and a browser")
@pytest.mark.skipif(browser() is None, reason="no Chromium is installed: apt-get install chromium")
def test_a_browser_shows_what_the_run_says_of_a_file_that_is_chosen(runs, servers, tmp_path):
    assert servers["scans"]
    bad = tmp_path / "bad <b>.png"
    bad.write_bytes(b"no picture")
    command = [sys.executable, "-m", "graftwork.imaging", "serve", "run-scans", "--port", "0"]
    with subprocess.Popen(command, cwd=runs, env=dict(os.environ), stdout=subprocess.PIPE, text=True) as server:
        try:
            address = re.match(r"(http://127\.0\.0\.1:\d+/) shows run-scans", server.stdout.readline())[1]
            with new_page(browser()) as page:
                page.resize(1000)
                page.ask("DOM.enable")
                page.ask("Page.navigate", url=address)
                until(page, "document.readyState === 'complete' && !!document.getElementById('file')")
                choose(page, runs / "1.png")
                until(page, "document.querySelectorAll('img').length === 2 && "
                            "[...document.images].every(one => one.complete && one.naturalWidth > 0)")  # fmt: skip
                text = page.evaluate("document.body.innerText")
                assert re.search(r"prediction\s+bright", text)
                assert page.evaluate("document.querySelectorAll('meter').length") == 2
                (tmp_path / "page.png").write_bytes(page.screenshot())
                choose(page, bad)
                until(page, "!!document.querySelector('.error')")
                assert "bad__b_.png" in page.evaluate("document.querySelector('.error').innerText")
                assert all(one.startswith((address, "data:")) for one in page.requests() if "favicon" not in one)
                assert [one for one in page.complaints() if "422" not in one and "favicon" not in one] == []
        finally:
            server.terminate()
    assert server.returncode == 0


def until(page, condition):
    """Waits until the page says so, 60 s at most."""
    end = time.monotonic() + 60
    while not page.evaluate(condition):
        assert time.monotonic() < end, page.evaluate("document.body.innerText")
        time.sleep(0.1)


def choose(page, file):
    """What a person does who chooses a file in the browser's dialogue."""
    root = page.ask("DOM.getDocument")["root"]["nodeId"]
    node = page.ask("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    page.ask("DOM.setFileInputFiles", files=[str(file)], nodeId=node)
