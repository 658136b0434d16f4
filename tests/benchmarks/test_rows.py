"""What a benchmark's rows are found again by."""

import ast

import diorama
from benchmarks import rows
from benchmarks.rows import code_digest


def package(tmp_path, monkeypatch, **files):
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr(diorama, "__file__", str(tmp_path / "__init__.py"))


def test_only_what_is_imported_counts_and_of_that_only_the_code(tmp_path, monkeypatch):
    package(
        tmp_path,
        monkeypatch,
        a="from diorama import b\n",
        b="def f():\n    import diorama.c\n",
        c="X = 1\n",
        d="Y = 1\n",
    )
    before = code_digest(("diorama.a",))
    (tmp_path / "d.py").write_text("Y = 2\n")
    (tmp_path / "c.py").write_text('"""Said."""\n\nX  =  1  # better\n')
    assert code_digest(("diorama.a",)) == before
    (tmp_path / "c.py").write_text("X = 2\n")
    assert code_digest(("diorama.a",)) != before


def test_what_is_left_out_does_not_count_nor_what_it_alone_imports(tmp_path, monkeypatch):
    package(tmp_path, monkeypatch, a="import diorama.b\nimport diorama.c\n", b="import diorama.d\n", c="", d="Y = 1\n")
    before, whole = (code_digest(("diorama.a",), without) for without in (["diorama.b"], []))
    (tmp_path / "d.py").write_text("Y = 2\n")
    assert code_digest(("diorama.a",), ["diorama.b"]) == before
    assert code_digest(("diorama.a",)) != whole


def test_a_fit_depends_on_its_field_and_not_on_the_viewer():
    found, waiting = set(), list(rows.FIT)
    while waiting:
        name = waiting.pop()
        file = rows._file_of(name)
        if name not in (*found, *rows.NOT_OF_A_FIT) and file is not None:
            found.add(name)
            waiting += rows._imported(ast.parse(file.read_text(encoding="utf-8")))
    assert {"diorama.fields.hashgrid", "diorama.kernels.hash_grid_numba", "diorama.priors.stereo"} <= found
    assert not any(
        name.startswith(("diorama.viewer", "diorama.systems.gibr", "diorama.fields.ib_planes")) for name in found
    )


def test_a_row_that_is_made_again_keeps_its_place(tmp_path):
    """So that a results file changes where its figures do."""
    path, by = tmp_path / "rows.json", ("scene",)
    rows.save_rows(path, [{"scene": name, "psnr": 1.0} for name in "abc"], by, "a command")
    rows.save_rows(path, [{"scene": "d", "psnr": 4.0}, {"scene": "b", "psnr": 2.0}], by, "a command")
    assert [(row["scene"], row["psnr"]) for row in rows.stored_rows(path)] == [
        ("a", 1.0), ("b", 2.0), ("c", 1.0), ("d", 4.0),
    ]  # fmt: skip
