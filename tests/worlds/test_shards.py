"""Shards: whole or absent, resumed, refused when they are something else, read row by row."""

import math

import pytest
import torch
from safetensors import SafetensorError

from diorama.errors import InputError, OutputError
from diorama.worlds.shards import Shards, pack_depth, shard_path, unpack_depth, write_shards


def make(index: int) -> dict[str, torch.Tensor]:
    return {"value": torch.arange(4) + 4 * index, "pair": torch.full((4, 2), float(index))}


def test_depth_survives_packing_to_a_hundredth_of_a_percent():
    depth = torch.logspace(math.log10(0.02), math.log10(4000), 1000)
    assert torch.allclose(unpack_depth(pack_depth(depth)), depth, rtol=1.1e-4)
    ends = unpack_depth(pack_depth(torch.tensor([math.inf, 6000.0, 0.0])))
    assert torch.isinf(ends[:2]).all()
    assert float(ends[2]) == pytest.approx(0.01)


def test_a_stopped_writer_goes_on_and_several_share_the_work(tmp_path):
    made = []

    def counted(index):
        made.append(index)
        return make(index)

    assert write_shards(tmp_path / "s", counted, 2, {"a": 1}) == 2
    assert write_shards(tmp_path / "s", counted, 5, {"a": 1}, rank=0, ranks=2) == 2
    assert write_shards(tmp_path / "s", counted, 5, {"a": 1}, rank=1, ranks=2) == 1
    assert made == [0, 1, 2, 4, 3]
    assert len(Shards.open(tmp_path / "s")) == 20


def test_a_writer_that_fails_leaves_no_part_of_a_shard(tmp_path):
    def broken(index):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        write_shards(tmp_path, broken, 1, {})
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_full_disk_is_said_in_words_and_the_shards_before_it_stay(tmp_path, monkeypatch):
    write_shards(tmp_path, make, 1, {})

    def full(*args, **kwargs):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patched:
        patched.setattr("safetensors.torch.save_file", full)
        with pytest.raises(OutputError, match=r"00001.safetensors could not be written: the disk is full"):
            write_shards(tmp_path, make, 2, {})
    assert len(Shards.open(tmp_path)) == 4
    assert write_shards(tmp_path, make, 2, {}) == 1


def test_rows_come_in_the_order_asked_for(tmp_path):
    write_shards(tmp_path, make, 3, {})
    rows = Shards.open(tmp_path).rows([11, 0, 5, 5, 4])
    assert rows["value"].tolist() == [11, 0, 5, 5, 4]
    assert rows["pair"][:, 0].tolist() == [2, 0, 1, 1, 1]


def test_shards_of_another_recipe_are_not_mixed(tmp_path):
    write_shards(tmp_path, make, 1, {"seed": 0})
    with pytest.raises(OutputError, match="seed"):
        write_shards(tmp_path, make, 2, {"seed": 1})


def test_what_is_no_folder_of_shards_is_refused(tmp_path):
    with pytest.raises(InputError, match="recipe"):
        Shards.open(tmp_path)
    write_shards(tmp_path, make, 0, {})
    with pytest.raises(InputError, match="no shards"):
        Shards.open(tmp_path)
    write_shards(tmp_path, make, 1, {})
    whole = shard_path(tmp_path, 0).read_bytes()
    shard_path(tmp_path, 0).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="no whole shard"):
        Shards.open(tmp_path)
    (tmp_path / "recipe.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="no JSON object"):
        Shards.open(tmp_path)
