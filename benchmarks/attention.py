"""Attention in bfloat16 on a processor, forwards and backwards: written out as matrix products against torch's own.

    python -m benchmarks.attention [--repeats 20] [--output benchmarks/results/attention.json]

It decides `nets.attention.MOST_WRITTEN_OUT`, the number of tokens up to which it is written out. Times are the least of
the repeats, the two taking turns; a ratio above 1 says that written out is faster.
"""

import argparse
import json
import time
from pathlib import Path
from unittest.mock import patch

import torch

from benchmarks.machine import machine
from diorama.nets import attention

RESULTS = Path(__file__).parent / "results" / "attention.json"
TOKENS = (144, 576, 1024, 2304)
"""Of one picture, or of all views together."""
HEADS, WIDTH = 4, 32
ALL_TOKENS = 8 * 2304
"""Batch times tokens, the same for all."""


def seconds_of(tokens: int, *, written_out: bool) -> float:
    """One look forwards and backwards."""
    generator = torch.Generator().manual_seed(0)
    shape = (ALL_TOKENS // tokens, HEADS, tokens, WIDTH)
    parts = [torch.randn(shape, generator=generator).bfloat16().requires_grad_() for _ in range(3)]
    with patch.object(attention, "MOST_WRITTEN_OUT", tokens if written_out else 0):
        start = time.perf_counter()
        attention.attend(*parts, cosine=False).float().sum().backward()
        return time.perf_counter() - start


def row_of(tokens: int, repeats: int) -> dict[str, float]:
    """Both ways and their ratio; the first turn warms and is not counted."""
    turns = [(seconds_of(tokens, written_out=True), seconds_of(tokens, written_out=False)) for _ in range(repeats + 1)]
    written, own = (min(column) for column in zip(*turns[1:], strict=True))
    return {"tokens": tokens, "written_out_seconds": written, "torch_seconds": own, "ratio": own / written}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    print(", ".join(f"{name}: {value}" for name, value in machine().items()))
    print("tokens  written out ms  torch ms  ratio")
    rows = [row_of(tokens, options.repeats) for tokens in TOKENS]
    for row in rows:
        print(f"{row['tokens']:6d} {1e3 * row['written_out_seconds']:15.1f} {1e3 * row['torch_seconds']:9.1f} "
              f"{row['ratio']:6.2f}")  # fmt: skip
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
