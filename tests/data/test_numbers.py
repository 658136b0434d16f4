import io

import numpy as np
import pytest

from diorama.data.numbers import parse_npy, read_matrix, read_npz, read_text
from diorama.errors import InputError


def bytes_of(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "u1"])
def test_arrays_read_back(dtype):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    np.testing.assert_array_equal(parse_npy(bytes_of(array), "x"), array)


def test_an_array_cut_at_any_byte_is_refused():
    whole = bytes_of(np.arange(6.0))
    for cut in range(len(whole)):
        with pytest.raises(InputError):
            parse_npy(whole[:cut], "cut.npy")


def test_a_header_that_claims_a_petabyte_allocates_nothing():
    whole = bytes_of(np.arange(6.0)).replace(b"(6,)", b"(10**15,)"[:4])
    claimed = bytes_of(np.arange(6.0)).replace(b"'shape': (6,), }" + b" " * 14, b"'shape': (100000000000000,), }")
    assert claimed != bytes_of(np.arange(6.0))
    for content in (whole, claimed):
        with pytest.raises(InputError):
            parse_npy(content, "large.npy")


def test_pickles_are_never_loaded(tmp_path):
    with pytest.raises(InputError, match="objects"):
        parse_npy(bytes_of(np.array([{}], dtype=object), allow_pickle=True), "objects.npy")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="objects"):
        read_npz(tmp_path / "objects.npz")


def test_text_that_is_absent_too_large_or_no_number_is_refused(tmp_path):
    file = tmp_path / "K.txt"
    with pytest.raises(InputError, match="cannot be read"):
        read_text(file)
    file.write_text("1 2 3")
    with pytest.raises(InputError, match="larger"):
        read_text(file, limit=4)
    with pytest.raises(InputError, match="3 numbers, 4 are needed"):
        read_matrix(file, 2, 2)
    file.write_text("1,2,3,four")
    with pytest.raises(InputError, match="'four'"):
        read_matrix(file, 2, 2)
