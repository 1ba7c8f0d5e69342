"""Adapters on the hub: a server on this machine stands in for it, and the hub's own client speaks to it."""

import base64
import hashlib
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import pytest

from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import AdapterError, DownloadError, OutputError, SettingsError
from graftwork.core.inference.adapter import load_adapter
from graftwork.core.inference.hub import FILES, adapter_folder
from graftwork.core.runs.predict import predict, run_names
from graftwork.core.runs.push import push
from graftwork.core.runs.train import train


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does to who makes a repository, writes a commit and reads files."""

    repositories: dict
    commits: dict

    def do_HEAD(self):
        self.answer_file(send_body=False)

    def do_GET(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            known = self.repositories.get("/".join(parts[2:4]))
            return self.answer(404 if known is None else 200, {"id": "/".join(parts[2:4]), **(known or {})})
        return self.answer_file(send_body=True)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = f"{asked.get('organization', 'me')}/{asked['name']}"
            there = name in self.repositories
            self.repositories.setdefault(name, {"private": asked.get("private", asked.get("visibility") == "private")})
            return self.answer(409 if there else 200, {"url": f"http://{self.headers['Host']}/{name}", "id": name})
        if "preupload" in parts:
            files = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for one in json.loads(body)["files"]]  # fmt: skip
            return self.answer(200, {"files": files})
        if "commit" in parts:
            lines = [json.loads(line) for line in body.splitlines()]
            files = {line["value"]["path"]: base64.b64decode(line["value"]["content"])
                     for line in lines if line["key"] == "file"}  # fmt: skip
            commit = hashlib.sha1(body).hexdigest()
            name = "/".join(parts[2:4])
            self.commits[name, commit] = self.commits[name, "main"] = (commit, files)
            return self.answer(
                200, {"commitUrl": f"http://{self.headers['Host']}/{name}/commit/{commit}", "commitOid": commit}
            )
        return self.answer(200, {"errors": [], "warnings": []})  # of the card's header

    def answer_file(self, *, send_body):
        parts = self.path.split("?")[0].strip("/").split("/")
        commit, files = self.commits.get(("/".join(parts[:2]), parts[3] if len(parts) > 3 else ""), (None, {}))
        content = files.get(parts[-1])
        if content is None:
            return self.answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": commit}
        return self.answer(200, content, headers, send_body=send_body)

    def answer(self, status, body, headers=None, *, send_body=True):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if send_body and self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """What the stand-in holds; its client has an empty cache and a token."""
    handler = type("Own", (Hub,), {"repositories": {}, "commits": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    template = huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "".join(template[1:]))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    yield handler
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_backbone, table):
    """A run's folder, of which every test takes a copy."""
    from dataclasses import replace

    from graftwork.core.domain import Domain
    from graftwork.core.recipe import Recipe

    backbone = replace(make_backbone(), domain=Domain("tiny", "array", (".npy",), None))
    out = tmp_path_factory.mktemp("pushed") / "first"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graftwork.core.runs.train.report_on_finished", lambda *given, **named: None)
        train(backbone, read_manifest(table), out=out, random_split="off",
              recipe=Recipe(device="cpu", workers=0, memory_format="contiguous"))  # fmt: skip
    return out


def test_only_the_adapters_files_are_uploaded_into_a_private_repository(hub, folder):
    assert push(folder, "me/tumours") == "hub:me/tumours"
    assert hub.repositories == {"me/tumours": {"private": True}}
    files = hub.commits["me/tumours", "main"][1]
    assert files == {
        name: (folder / name).read_bytes() for name in ("adapter.json", "adapter.safetensors", "README.md")
    }
    assert (folder / "learnt_rows.csv").is_file()


def test_an_adapter_of_the_hub_predicts_as_the_one_in_the_folder(hub, folder, table, load_backbone):
    name = push(folder, "me/tumours")
    inputs = [str(table.parent / "00.npy"), str(table.parent / "07.npy")]
    here, there = (predict(run, inputs, load_backbone, device="cpu") for run in (str(folder), name))
    assert here.equals(there)
    both = predict([str(folder), name], inputs, load_backbone, device="cpu")
    assert [column for column in both if column.startswith("tumours")]
    assert load_adapter(name, load_backbone).classes == ("a", "b", "c")
    assert run_names([name, "hub:me/other@main"]) == ["tumours", "other"]


def test_a_revision_is_kept_when_the_branch_moves(hub, folder, tmp_path):
    push(folder, "me/tumours")
    first = hub.commits["me/tumours", "main"][0]
    card = (folder / "README.md").read_bytes()
    hub.commits["me/tumours", "main"] = ("f" * 40, hub.commits["me/tumours", first][1] | {"README.md": b"moved"})
    hub.commits["me/tumours", "f" * 40] = hub.commits["me/tumours", "main"]
    assert (adapter_folder(f"hub:me/tumours@{first}") / "README.md").read_bytes() == card
    assert (adapter_folder("hub:me/tumours") / "README.md").read_bytes() == b"moved"


def test_without_a_network_what_was_downloaded_is_taken_and_said(hub, folder, monkeypatch, caplog):
    push(folder, "me/tumours")
    found = adapter_folder("hub:me/tumours")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING):
        assert adapter_folder("hub:me/tumours") == found
    assert "taken from what was downloaded before" in caplog.text
    with pytest.raises(DownloadError, match=r"hub:me/other: is not on this computer.*\n.*\n  Go online once"):
        adapter_folder("hub:me/other")
    with pytest.raises(DownloadError, match=r"cannot be reached.*nothing was uploaded"):
        push(folder, "me/tumours")


def test_a_repository_without_an_adapter_and_names_that_are_none_are_refused(hub, folder):
    hub.commits["me/else", "main"] = ("a" * 40, {"config.json": b"{}"})
    with pytest.raises(AdapterError, match=r"no adapter there: expected adapter\.json"):
        adapter_folder("hub:me/else")
    for name in ("hub:tumours", "hub:../etc/x", "hub:me/a b"):
        with pytest.raises(SettingsError, match="expected OWNER/NAME"):
            adapter_folder(name)


def test_a_public_repository_is_not_written_to_unless_that_is_said(hub, folder):
    hub.repositories["me/open"] = {"private": False}
    with pytest.raises(OutputError, match=r"is public, and private is asked for.*--no-private"):
        push(folder, "me/open")
    assert not hub.commits
    push(folder, "me/open", private=False)
    assert ("me/open", "main") in hub.commits


@pytest.mark.parametrize(("text", "named"), [
    ("Trained by /home/jo/scans.", "the path /home/jo/scans."),
    ("See C:\\scans\\a.png", "the path C:\\scans\\a.png"),
    ("~/scans/x", "the path ~/scans/x"),
    ("worst: p17, then others", "'p17'"),
    ("worst: 00.npy", "'00.npy'"),
])  # fmt: skip
def test_paths_and_names_of_the_data_stay_here(hub, folder, tmp_path, text, named):
    own = tmp_path / "own"
    own.mkdir()
    for name in (*FILES, "learnt_rows.csv", "predictions.csv"):
        (own / name).write_bytes((folder / name).read_bytes())
    with (own / "README.md").open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    with pytest.raises(AdapterError) as caught:
        push(own, "me/tumours")
    assert named in str(caught.value)
    assert not hub.repositories


def test_local_weights_and_people_as_classes_stay_here(hub, folder, tmp_path):
    for change, named in (({"backbone": {"weights": "/data/w.pt"}}, "backbone.weights: the path /data/w.pt"),
                          ({"target": "Speaker ID"}, "its classes are people")):  # fmt: skip
        own = tmp_path / named[:7]
        own.mkdir()
        for name in FILES:
            (own / name).write_bytes((folder / name).read_bytes())
        record = json.loads((own / "adapter.json").read_text())
        for key, value in change.items():
            record[key] = record[key] | value if isinstance(value, dict) else value
        (own / "adapter.json").write_text(json.dumps({key: one for key, one in record.items() if key != "sha256"}))
        with pytest.raises(AdapterError, match=named.replace(".", r"\.")):
            push(own, "me/tumours")


def test_a_damaged_adapter_is_not_uploaded(hub, folder, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    for name in FILES:
        (own / name).write_bytes((folder / name).read_bytes())
    (own / "adapter.safetensors").write_bytes((folder / "adapter.safetensors").read_bytes()[:-4])
    with pytest.raises(AdapterError, match="cannot be uploaded"):
        push(own, "me/tumours")
    assert not hub.repositories
