"""One random stream per purpose: what one part draws never moves what another draws."""

import hashlib

import torch


def stream(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """A CPU generator that depends on the seed, the purpose and the step alone; a resumed run draws the same."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
