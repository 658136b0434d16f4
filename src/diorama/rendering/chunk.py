"""Rays, or points, a few at a time: as many as memory holds, and fewer where that was too many."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from diorama.errors import MemoryLimitError, out_of_memory

Piece = TypeVar("Piece")


@dataclass
class Chunk:
    """How many rays (or `what` they are) are dealt with at a time: halved, for good, where memory does not suffice,
    which `say` is told."""

    count: int = 4096
    say: Callable[[str], None] | None = None
    what: str = "rays"

    def halve(self, least: int, reason: BaseException) -> None:
        """Half as many from now on; MemoryLimitError where that is less than `least`, one for every scene."""
        if self.count < 2 * least:
            said = str(reason).partition("\n")[0] or type(reason).__name__
            raise MemoryLimitError(
                f"{self.count} {self.what} at a time do not fit into memory ({said}). Take fewer views or scenes at "
                "once, or fewer samples of a ray."
            )
        self.count //= 2
        if self.say is not None:
            self.say(f"out of memory: {self.count} {self.what} at a time from here on")

    def pieces(self, make: Callable[[slice], Piece], total: int, scenes: int = 1) -> Iterator[Piece]:
        """What `make` makes of one slice of `total` of them (of each of so many scenes) after the other.

        A slice for which memory does not suffice is tried again, smaller. Raises MemoryLimitError.
        """
        start = 0
        while start < total:
            here = slice(start, start + max(1, self.count // scenes))
            try:
                piece = make(here)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                self.halve(scenes, error)
                continue
            start = here.stop
            yield piece
