"""Outputs are whole or absent."""

import errno
import json

import pytest
import torch
from safetensors import SafetensorError

from diorama.data.tensors import save_tensors
from diorama.errors import OutputError
from diorama.files import partial_path, whole_file, whole_folder, write_json, write_tensors, write_text


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    target = tmp_path / "deep" / "scene.ply"
    with whole_file(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.suffix == ".ply"
    assert target.read_text() == "half"
    assert list(target.parent.iterdir()) == [target]


def test_a_failed_export_leaves_nothing(tmp_path):
    def fail(path, interruption):
        path.write_text("half")
        raise interruption

    for interruption in (RuntimeError("broken"), KeyboardInterrupt()):
        with pytest.raises(type(interruption)), whole_file(tmp_path / "a.ply") as temporary:
            fail(temporary, interruption)
        with pytest.raises(type(interruption)), whole_folder(tmp_path / "frames") as temporary:
            fail(temporary / "0.png", interruption)
    assert list(tmp_path.iterdir()) == []


def test_existing_output_is_kept_unless_forced(tmp_path):
    file, folder = tmp_path / "a.ply", tmp_path / "frames"
    file.write_text("old")
    folder.mkdir()
    (folder / "old.png").write_text("old")
    with pytest.raises(OutputError, match="--force"), whole_file(file):
        pass
    with pytest.raises(OutputError, match="--force"), whole_folder(folder):
        pass
    assert file.read_text() == "old"
    with whole_file(file, force=True) as temporary:
        temporary.write_text("new")
    with whole_folder(folder, force=True) as temporary:
        (temporary / "new.png").write_text("new")
    assert file.read_text() == "new"
    assert [path.name for path in folder.iterdir()] == ["new.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ply", "frames"]


def test_a_forced_folder_that_fails_keeps_the_old_one(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "old.png").write_text("old")
    with pytest.raises(RuntimeError), whole_folder(folder, force=True):
        raise RuntimeError("broken")
    assert [path.name for path in folder.iterdir()] == ["old.png"]
    assert list(tmp_path.iterdir()) == [folder]


def test_what_a_killed_run_left_behind_is_no_hindrance(tmp_path):
    folder, file = tmp_path / "frames", tmp_path / "a.ply"
    partial_path(folder).mkdir()
    (partial_path(folder) / "stale.png").write_text("half")
    partial_path(file).write_text("half")
    with whole_folder(folder) as temporary:
        (temporary / "0.png").write_text("new")
    with whole_file(file) as temporary:
        temporary.write_text("new")
    assert [path.name for path in folder.iterdir()] == ["0.png"]
    assert file.read_text() == "new"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "read-only"),
        (errno.EDQUOT, "quota"),
    ],
)
def test_what_the_disk_refuses_is_said_in_words(tmp_path, code, words):
    with pytest.raises(OutputError, match=words), whole_file(tmp_path / "a.ply"):
        raise OSError(code, "refused")
    with pytest.raises(OutputError, match=words), whole_folder(tmp_path / "frames"):
        raise OSError(code, "refused")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Error while serializing: I/O error: No space left on device (os error 28)", "disk is full"),
        ('Error while serializing: I/O error: Permission denied (os error 13) at path "/sys/x"', "no permission"),
        ("Error while serializing: something else", "the disk reports a fault"),
    ],
)
def test_what_the_disk_refuses_to_safetensors_is_said_in_the_same_words(tmp_path, monkeypatch, said, words):
    def refused(*args, **kwargs):
        raise SafetensorError(said)

    monkeypatch.setattr("safetensors.torch.save_file", refused)
    with pytest.raises(OutputError, match=words), whole_file(tmp_path / "a.safetensors") as temporary:
        write_tensors(temporary, {"a": torch.zeros(3)})
    with pytest.raises(OutputError, match=words):
        save_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(3)}, {})
    assert list(tmp_path.iterdir()) == []


def test_safetensors_words_for_a_place_that_is_not_there_hold_the_number_of_the_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_tensors(tmp_path / "absent" / "a.safetensors", {"a": torch.zeros(3)})


def test_an_output_below_a_file_is_the_users_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file, not a folder"), whole_file(tmp_path / "file" / "a.ply"):
        pass


def test_other_operating_system_errors_pass_through(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a.ply"):
        raise FileNotFoundError(errno.ENOENT, "a photo is missing")


def test_force_never_deletes_the_folder_one_stands_in(tmp_path, monkeypatch):
    inside = tmp_path / "project" / "deep"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    with pytest.raises(OutputError, match="folder you are in"), whole_folder(tmp_path / "project", force=True):
        pass
    assert inside.exists()


def test_json_is_replaced_whole_and_never_by_what_is_no_json(tmp_path):
    target = tmp_path / "deep" / "metrics.json"
    write_json(target, {"psnr": None, "name": "ü"})
    write_json(target, {"psnr": 21.5, "name": "ü"})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(target, {"psnr": float("nan")})
    assert json.loads(target.read_text(encoding="utf-8")) == {"psnr": 21.5, "name": "ü"}
    assert list(target.parent.iterdir()) == [target]


def test_text_never_takes_the_place_of_a_folder(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_text(tmp_path / "report.html", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
