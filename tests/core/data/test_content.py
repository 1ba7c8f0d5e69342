"""Digests of files and of rows of archives."""

import hashlib
import os

import numpy as np
import pytest

from graftwork.core.data import content
from graftwork.core.errors import UnreadableError
from graftwork.core.example import Text, as_examples


def content_digests(paths):
    return content.content_digests(as_examples(paths))


def test_the_digest_of_a_file_is_the_sha256_of_its_bytes(tmp_path):
    content = os.urandom((1 << 20) + 17)
    (tmp_path / "a.bin").write_bytes(content)
    assert content_digests([str(tmp_path / "a.bin")]) == [hashlib.sha256(content).hexdigest()]


def test_a_file_that_is_written_anew_gets_another_digest(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    before = content_digests([str(path)])
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert content_digests([str(path)]) != before
    assert content_digests([str(path)]) == [hashlib.sha256(b"two").hexdigest()]


def test_rows_of_an_archive_have_the_digests_of_their_own_bytes(tmp_path):
    images = np.random.default_rng(0).integers(0, 9, (3, 4, 4), dtype=np.uint8)
    images[2] = images[0]
    np.savez(tmp_path / "set.npz", train_images=images, val_images=images[1:2])
    rows = [f"{tmp_path / 'set.npz'}#train/{row}" for row in range(3)] + [f"{tmp_path / 'set.npz'}#val/0"]
    found = content_digests(rows)
    assert found[0] == found[2] == hashlib.sha256(images[0].tobytes()).hexdigest()
    assert found[1] == found[3] != found[0]


def test_what_cannot_be_read_is_named(tmp_path):
    np.savez(tmp_path / "set.npz", train_images=np.zeros((2, 3, 3)))
    whole = (tmp_path / "set.npz").read_bytes()
    (tmp_path / "broken.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "noise.npz").write_bytes(b"PK\x03\x04" + b"x" * 50)
    for row, message in {
        "missing.png": "missing.png: cannot be read",
        "set.npz#train/2": "the archive has 2 rows in train_images",
        "set.npz#test/0": "cannot read test_images",
        "broken.npz#train/0": "cannot read train_images",
        "noise.npz#train/0": "cannot read train_images",
    }.items():
        with pytest.raises(UnreadableError, match=message):
            content_digests([str(tmp_path / row)])


def test_the_digest_of_a_folder_is_of_what_its_files_hold(tmp_path):
    for folder, order in (("one", (0, 1)), ("same", (1, 0)), ("other", (0, 2))):
        (tmp_path / folder).mkdir()
        for name, byte in zip("ab", order, strict=True):
            (tmp_path / folder / name).write_bytes(bytes([byte]))
    one, same, other, series = content_digests([*(str(tmp_path / name) for name in ("one", "same", "other")),
                                                f"{tmp_path}/one#series=1.2"])  # fmt: skip
    assert one == same
    assert len({one, other, series}) == 3


def test_channels_are_one_example_whose_digest_is_of_all_files_in_order(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(name.encode())
    a, b, c = (str(tmp_path / name) for name in ("a", "b", "c"))
    both, same, swapped, other = content_digests([f"{a}|{b}", f"{a} | {b}", f"{b}|{a}", f"{a}|{c}"])
    assert both == same
    assert len({both, swapped, other, *content_digests([a, b])}) == 5


def test_an_example_with_a_mask_is_told_by_both_files(tmp_path):
    for name, held in (("a", b"1"), ("b", b"2"), ("m", b"3"), ("n", b"4")):
        (tmp_path / name).write_bytes(held)
    pairs = [f"{tmp_path / image}#mask={tmp_path / mask}" for image in "ab" for mask in "mn"]
    assert len(set(content_digests(pairs))) == 4


def test_digests_are_by_the_formulas_that_stores_and_lists_of_learnt_rows_were_written_with(tmp_path):
    """Another digest would make every store of activations useless, and known rows unknown."""

    def sha256(text):
        return hashlib.sha256(text.encode()).hexdigest()

    (tmp_path / "folder").mkdir()
    for name in ("a.wav", "folder/1.dcm", "folder/2.dcm"):
        (tmp_path / name).write_bytes(name.encode())
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    np.savez(tmp_path / "set.npz", val_images=images)
    row, sound = hashlib.sha256(images[1].tobytes()).hexdigest(), sha256("a.wav")
    slices = " ".join(sorted(map(sha256, ("folder/1.dcm", "folder/2.dcm"))))
    expected = {
        "a.wav": sound,
        "a.wav#t=0.5,2": sha256(f"{sound} 0.500 2.000"),
        "set.npz#val/1": row,
        "folder": sha256(f"{slices} "),
        "folder#series=1.2": sha256(f"{slices} 1.2"),
        "a.wav|folder": sha256(f"{sound} {sha256(f'{slices} ')}"),
        "set.npz#val/1#mask=a.wav": sha256(f"{row} {sound}"),
    }
    named = [f"{tmp_path}/{name}" for name in expected]
    named = [name.replace("|", f"|{tmp_path}/").replace("#mask=", f"#mask={tmp_path}/") for name in named]
    assert content_digests(named) == list(expected.values())
    assert content.content_digests([Text("größer")]) == [sha256("größer")]


def test_a_file_of_the_same_size_and_time_under_the_same_name_is_another_one(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    before, known = content_digests([str(path)]), path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))
    assert content_digests([str(path)]) == [hashlib.sha256(b"two").hexdigest()] != before


def test_links_to_one_file_are_read_once(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"one")
    os.link(tmp_path / "a.bin", tmp_path / "b.bin")
    (tmp_path / "c.bin").symlink_to(tmp_path / "a.bin")
    before = content._digest_of_state.cache_info().misses
    found = content_digests([str(tmp_path / name) for name in ("a.bin", "b.bin", "c.bin")])
    assert found == [hashlib.sha256(b"one").hexdigest()] * 3
    assert content._digest_of_state.cache_info().misses == before + 1
