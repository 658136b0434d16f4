"""`diorama worlds`: a sheet of the promised size, and clear words where it cannot be drawn."""

import pytest

from diorama.cli.main import main
from diorama.data.images import image_size, read_image
from diorama.errors import InputError, OutputError
from diorama.pipelines.worlds import GAP, Options, command


def test_a_sheet_is_drawn_and_the_same_seed_draws_the_same(tmp_path, capsys):
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    assert main(["worlds", "--kind", "object", "-n", "3", "--seed", "1", "-o", str(one), "--width", "32"]) == 0
    assert "3 worlds" in capsys.readouterr().out
    assert command(Options(kind="object", count=3, seed=1, output=two, width=32)) == 0
    assert one.read_bytes() == two.read_bytes()
    assert image_size(one) == (2 * (32 + 2 * GAP), 2 * (24 + 2 * GAP))
    assert float(read_image(one)[0].std()) > 0.05


def test_all_kinds_in_turn_with_depth_and_several_views(tmp_path):
    path = tmp_path / "mixed.png"
    assert command(Options(count=3, views=2, depth=True, width=16, output=path)) == 0
    assert image_size(path)[1] % (2 * (12 + 2 * GAP)) == 0


def test_nothing_is_overwritten_and_numbers_are_checked(tmp_path):
    path = tmp_path / "sheet.png"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists"):
        command(Options(output=path))
    for wrong in ({"count": 0}, {"views": 0}, {"width": 8}):
        with pytest.raises(InputError, match="Needed"):
            command(Options(output=tmp_path / "other.png", **wrong))
    assert path.read_bytes() == b"mine"
