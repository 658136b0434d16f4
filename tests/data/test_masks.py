from pathlib import Path

import pytest
import torch

from diorama.cameras.pinhole import Cameras
from diorama.data.images import write_png
from diorama.data.masks import match_masks, with_masks
from diorama.data.views import Views
from diorama.errors import InputError, ViewsError


def views_called(*names, width=8, height=4):
    return Views(torch.zeros(len(names), 3, height, width), names)


def mask_file(path: Path, columns, width=16, height=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = torch.zeros(height, width)
    mask[:, :columns] = 1
    write_png(path, mask)


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (("a/IMG_1.jpg", "a/IMG_2.jpg"), ("IMG_1.jpg.png", "IMG_2.jpg.png")),
        (("IMG_1.jpg", "IMG_2.png"), ("IMG_1.png", "IMG_2.png")),
        (("IMG_1.JPG", "IMG_2.JPG"), ("img_1_mask.png", "img_2_mask.png")),
        (("IMG_1.jpg", "IMG_2.jpg"), ("mask-IMG_1.png", "mask-IMG_2.png")),
        (("000010.jpg", "000007.jpg"), ("010.png", "007.png")),
        (("frame-000001.color.jpg", "frame-000002.color.jpg"), ("frame-000001.mask.png", "frame-000002.mask.png")),
    ],
)
def test_masks_are_found_by_the_names_people_give_them(tmp_path, names, files):
    for file in files:
        mask_file(tmp_path / file, 1)
    assert [path.name for path in match_masks(names, tmp_path)] == list(files)


def test_patterns_choose_among_files(tmp_path):
    for name in ("1", "2"):
        mask_file(tmp_path / f"{name}.png", 1)
        mask_file(tmp_path / "deep" / f"{name}_fg.png", 1)
    names = ("1.jpg", "2.jpg")
    assert [p.name for p in match_masks(names, f"{tmp_path}/deep/{{stem}}_fg.png")] == ["1_fg.png", "2_fg.png"]
    assert [p.name for p in match_masks(names, f"{tmp_path}/deep/*_fg.png")] == ["1_fg.png", "2_fg.png"]
    assert [p.name for p in match_masks(names, tmp_path)] == ["1.png", "2.png"]


def test_object_masks_are_soft_at_the_size_of_the_photos(tmp_path):
    mask_file(tmp_path / "a.png", 5)  # 5 of 16 columns: 2.5 of 8
    views = with_masks(views_called("a.jpg"), object=tmp_path)
    torch.testing.assert_close(views.object[0, 0], torch.tensor([1, 1, 0.5, 0, 0, 0, 0, 0]))
    assert views.ignore is None


def test_ignore_masks_are_white_where_they_ignore_and_add_to_what_is_ignored(tmp_path):
    mask_file(tmp_path / "a.png", 4)
    ignored = torch.zeros(1, 4, 8, dtype=torch.bool)
    ignored[..., 7] = True
    first = with_masks(views_called("a.jpg"), ignore=str(tmp_path))
    assert first.ignore[0, 0].tolist() == [True, True] + [False] * 6
    both = with_masks(Views(torch.zeros(1, 3, 4, 8), ("a.jpg",), ignore=ignored), ignore=tmp_path)
    assert both.ignore[0, 0].tolist() == [True, True] + [False] * 5 + [True]
    assert both.object is None


def test_label_images_of_zeros_and_ones_count_as_black_and_white(tmp_path):
    mask = torch.zeros(8, 16)
    mask[:, :8] = 1 / 255
    write_png(tmp_path / "a.png", mask)
    views = with_masks(views_called("a.jpg"), object=tmp_path)
    torch.testing.assert_close(views.object[0, 0], torch.tensor([1.0] * 4 + [0.0] * 4))


def test_padding_is_not_part_of_the_object(tmp_path):
    mask_file(tmp_path / "a.png", 16)
    mask_file(tmp_path / "b.png", 8, width=8, height=16)
    cameras = Cameras.pinhole(
        torch.eye(4).expand(2, 4, 4), torch.ones(2, 2), torch.ones(2, 2), torch.tensor([[8, 4], [2, 4]])
    )
    views = Views(torch.zeros(2, 3, 4, 8), ("a.jpg", "b.jpg"), cameras=cameras)
    coverage = with_masks(views, object=tmp_path).object
    assert float(coverage[0].min()) == 1
    assert coverage[1].sum() == 8


def test_masks_that_do_not_go_with_the_photos_say_so(tmp_path):
    views = views_called("a.jpg", "b.jpg")
    with pytest.raises(InputError, match="no such folder"):
        with_masks(views, ignore=tmp_path / "nowhere")
    mask_file(tmp_path / "a.png", 1)
    with pytest.raises(InputError, match=r"1 of 2 photos find none by name, b\.jpg first"):
        with_masks(views, object=tmp_path)
    with pytest.raises(InputError, match="1 of 2 photos have none"):
        with_masks(views, object=f"{tmp_path}/{{stem}}.png")
    mask_file(tmp_path / "b.png", 1, width=8, height=8)
    with pytest.raises(ViewsError, match="shape of its photo"):
        with_masks(views, object=tmp_path)
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"b\.png"):
        with_masks(views, object=tmp_path)
