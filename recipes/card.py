"""What the recipes of cards share: tables in Markdown, and the part of a README that is measured."""

from collections.abc import Sequence

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
"""What lies between them in the README is replaced."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, line by line."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def with_section(readme: str, text: str) -> str:
    """A README with the measured part put in, or put anew, between its markers."""
    section = f"{BEGIN}\n{text}\n{END}"
    before, begin, rest = readme.partition(BEGIN)
    if not begin:
        return f"{readme.rstrip()}\n\n{section}\n".lstrip()
    return before + section + rest.partition(END)[2]
