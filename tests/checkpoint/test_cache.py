"""Converted copies: used only for the same content, and harmless if they cannot be written."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
from helpers.checkpoint_files import nvidia_bytes, rosinality_checkpoint, small_generator, torch_bytes

from nada.checkpoint import cache, inspect_file, load_generator, loading, save_generator
from nada.checkpoint.cache import SAMPLE, SAMPLES, Cache


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "dogs.pkl"
    path.write_bytes(nvidia_bytes(small_generator()))
    return path


@pytest.fixture
def reads(monkeypatch):
    """Endings of the files that are read as checkpoints, in order."""
    names, original = [], loading._load
    monkeypatch.setattr(loading, "_load", lambda path: names.append(path.suffix) or original(path))
    return names


def same(a, b) -> bool:
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_second_load_reads_the_copy_and_gives_the_same(tmp_path, source, reads):
    folder = tmp_path / "cache"
    first, second, plain = load_generator(source, folder), load_generator(source, folder), load_generator(source)
    assert reads == [".pkl", ".safetensors", ".pkl"]
    assert same(first, second)
    assert first.config == second.config == plain.config
    assert first.metadata == second.metadata == plain.metadata
    assert not any(p.requires_grad for p in second.parameters())


def test_without_a_folder_nothing_is_kept(source):
    load_generator(source)
    assert [path.name for path in source.parent.iterdir()] == [source.name]


def test_a_file_that_is_held_for_a_moment_is_read_with_a_cache_too(tmp_path, source, monkeypatch):
    held = []

    def busy(path, *arguments):
        if path == source and not held:
            held.append(path)
            error = PermissionError(13, "the process cannot access the file")
            error.winerror = 32
            raise error
        return open(path, *arguments)

    monkeypatch.setattr(cache, "open", busy, raising=False)
    assert same(load_generator(source, tmp_path / "cache"), load_generator(source))
    assert held


def test_our_own_files_need_no_copy(tmp_path):
    save_generator(small_generator(), tmp_path / "own.safetensors")
    load_generator(tmp_path / "own.safetensors", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("moment", ["_recognize", "_sha256", "Cache.keep"])
def test_a_file_that_is_replaced_while_it_is_loaded_is_never_mistaken_for_its_successor(
    tmp_path, source, monkeypatch, moment
):
    folder, later = tmp_path / "cache", tmp_path / "later.pkl"
    later.write_bytes(nvidia_bytes(small_generator(seed=2)))
    place, _, name = moment.rpartition(".")
    owner = Cache if place else loading
    with monkeypatch.context() as patched:
        done = getattr(owner, name)
        replaced = lambda *given: (later.exists() and later.replace(source), done(*given))[1]
        patched.setattr(owner, name, replaced)
        load_generator(source, folder)
    assert not later.exists()
    assert same(load_generator(source, folder), load_generator(source))


def test_the_same_content_under_another_name_shares_the_copy(tmp_path, source, reads):
    folder = tmp_path / "cache"
    load_generator(source, folder)
    moved = source.rename(tmp_path / "cats.pkl")
    assert load_generator(moved, folder).metadata["source"]["file"] == "cats.pkl"
    os.utime(moved, (1, 1))
    load_generator(moved, folder)
    assert reads == [".pkl", ".safetensors", ".pkl"]  # a file with a new time of change is read again, to be sure
    assert len(list(folder.glob("*.safetensors"))) == 1


def test_a_file_that_was_replaced_is_noticed_even_with_the_same_size_and_time(tmp_path, source):
    folder = tmp_path / "cache"
    load_generator(source, folder)
    stat, other = source.stat(), small_generator(seed=2)
    source.write_bytes(nvidia_bytes(other))
    assert source.stat().st_size == stat.st_size
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert same(load_generator(source, folder), other)


def test_a_change_anywhere_in_a_large_file_is_noticed_by_its_time(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(4 * SAMPLES * SAMPLE))
    before, stat = cache.file_stamp(path), path.stat()
    with open(path, "r+b") as file:
        file.seek(SAMPLE + 1)  # between two samples
        file.write(b"x")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert cache.file_stamp(path) != before


def test_a_damaged_copy_is_made_again(tmp_path, source, reads):
    folder = tmp_path / "cache"
    load_generator(source, folder)
    (copy,) = folder.glob("*.safetensors")
    copy.write_bytes(copy.read_bytes()[:100])
    assert same(load_generator(source, folder), load_generator(source, folder))
    assert reads == [".pkl", ".safetensors", ".pkl", ".safetensors"]


def test_a_note_that_was_forged_leads_nowhere(tmp_path, source):
    folder = tmp_path / "cache"
    load_generator(source, folder)
    save_generator(small_generator(seed=3), tmp_path / "evil.safetensors")
    (note,) = folder.glob("*.sha256")
    note.write_text("../evil")
    assert same(load_generator(source, folder), load_generator(source))


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path, source, caplog):
    (tmp_path / "file").write_text("not a folder")
    assert same(load_generator(source, tmp_path / "file"), load_generator(source))
    assert "no converted copy" in caplog.text


def test_the_oldest_copies_make_room(tmp_path):
    generators = [small_generator(seed=seed) for seed in range(4)]
    paths = []
    for seed, generator in enumerate(generators):
        paths.append(tmp_path / f"{seed}.pt")
        paths[-1].write_bytes(torch_bytes(rosinality_checkpoint(generator)))
    save_generator(generators[0], tmp_path / "size")
    copies = Cache(tmp_path / "cache", limit=int(2.5 * (tmp_path / "size").stat().st_size))
    for age, (path, generator) in enumerate(zip(paths, generators, strict=True)):
        copies.keep(generator, cache.file_stamp(path), inspect_file(path)["sha256"])
        os.utime(copies.find(path), (age, age))
        if age == 2:
            copies.find(paths[1])  # marks the copy as just used
    assert [copies.find(path) is not None for path in paths] == [False, True, False, True]


def test_copies_of_an_earlier_conversion_are_not_used(tmp_path, source, reads, monkeypatch):
    """A copy from the earlier version may hold other weights of the same file."""
    folder = tmp_path / "cache"
    with monkeypatch.context() as patch:
        patch.setattr(cache, "VERSION", cache.VERSION - 1)
        Cache(folder).keep(small_generator(seed=3), cache.file_stamp(source), inspect_file(source)["sha256"])
        assert Cache(folder).find(source) is not None
    for _ in range(2):
        assert same(load_generator(source, folder), small_generator())
    assert reads == [".pkl", ".safetensors"]


def test_a_deleted_folder_is_no_trouble(tmp_path, source):
    load_generator(source, tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache")
    assert same(load_generator(source, tmp_path / "cache"), load_generator(source))
