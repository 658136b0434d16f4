import pytest
import torch

from diorama.data.views import Views
from diorama.errors import ViewsError
from tests.data.tiny import ring


def some(**parts):
    return Views(images=torch.rand(3, 3, 16, 24), names=("a", "b", "c"), **parts)


def test_every_image_needs_a_name_and_a_camera():
    with pytest.raises(ViewsError, match=r"3 images but \{'cameras': 2\}"):
        some(cameras=ring(2))
    with pytest.raises(ViewsError, match=r"3 images but \{'names': 1\}"):
        Views(images=torch.rand(3, 3, 16, 24), names=("a",))


@pytest.mark.parametrize("index", [[2, 0], torch.tensor([2, 0]), (2, 0)])
def test_a_subset_takes_every_part_along(index):
    views = some(cameras=ring(3), depth=torch.rand(3, 16, 24), bounds=torch.rand(3, 2), object=torch.rand(3, 16, 24))
    part = views[index]
    assert part.names == ("c", "a")
    for name in ("images", "depth", "bounds", "object"):
        assert torch.equal(getattr(part, name), getattr(views, name)[[2, 0]])
    assert torch.equal(part.cameras.focal, views.cameras.focal[[2, 0]])
    assert part.ignore is None


def test_a_slice_is_a_subset():
    assert some()[1:].names == ("b", "c")
    assert len(some()[:0]) == 0


def test_views_are_found_by_name_and_a_wrong_name_is_an_error():
    assert some().index_of(["c", "a"]) == [2, 0]
    with pytest.raises(ViewsError, match="no view is called"):
        some().index_of(["d"])


def test_true_sizes_come_from_the_cameras_else_from_sizes_else_from_the_images():
    assert some().true_sizes.tolist() == [[24, 16]] * 3
    assert some(sizes=torch.tensor([[24, 16], [20, 10], [8, 8]])).true_sizes[1].tolist() == [20, 10]
    assert some(cameras=ring(3, 20, 10)).true_sizes[0].tolist() == [20, 10]


def test_the_description_names_count_size_layout_and_remarks():
    line = some(sizes=torch.tensor([[24, 16], [20, 10], [8, 8]]), skipped=("x.jpg: gone",)).describe()
    assert line == "3 photos of 24x16 and smaller, without cameras, layout memory; 1 remarks, the first: x.jpg: gone"
