"""Two processes that train together."""

import os
import socket
import subprocess
import sys
from pathlib import Path


def two_ranks(script, folder, seconds=100):
    """What each of two processes said, and its exit code. They have the environment that torchrun gives; one import of
    torch less to wait for.

    script: a file that is given the folder as its argument.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in ("0", "1"):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": rank}
        command, together = [sys.executable, str(script), str(folder)], subprocess.STDOUT
        ranks.append(
            subprocess.Popen(command, env=environment() | place, stdout=subprocess.PIPE, stderr=together, text=True)
        )
    return [rank.communicate(timeout=seconds)[0] for rank in ranks], [rank.returncode for rank in ranks]


def environment():
    """This process's, with the tests within reach of imports."""
    return dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}
