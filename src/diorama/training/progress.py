"""A bar with loss, throughput, memory and the time left."""

from collections.abc import Generator
from contextlib import closing
from typing import Any

from diorama.training.log import Record

MEMORY = 50
"""Steps over which the shown loss forgets."""


def with_bar(records: Generator[Record], *, show: bool = True) -> Generator[Record]:
    """Hand the records on and draw them; nothing is drawn without `show` (ranks other than the first)."""
    from tqdm import tqdm

    bar: Any = None
    loss = 0.0
    with closing(records):
        try:
            for record in records:
                if bar is None:
                    bar = tqdm(
                        initial=record.step - 1, unit="step", disable=not show, dynamic_ncols=True,
                        bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {postfix}",
                    )  # fmt: skip
                    loss = record.loss
                loss += (record.loss - loss) / MEMORY
                bar.total = expected_steps(record)
                bar.set_postfix_str(described(record, loss), refresh=False)
                bar.update(1)
                yield record
        finally:
            if bar is not None:
                bar.close()


def expected_steps(record: Record) -> int:
    """How many steps the run will have, by its speed so far where only a budget is known."""
    if record.steps is not None:
        return record.steps
    return max(record.step, round(record.step * (1.0 + record.seconds_left / max(record.seconds, 1e-9))))


def described(record: Record, loss: float) -> str:
    """Loss, throughput, the most memory there was at once (where it is known) and time left, in words."""
    minutes, seconds = divmod(round(record.seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    left = f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
    memory = "" if record.memory is None else f"{record.memory / (1 << 30):.1f} GB, "
    return f"loss {loss:.4g}, {record.samples_per_second:.1f} samples/s, {memory}{left} left"
