"""What the command line says when something goes wrong, and with which exit code it leaves."""

import contextlib
import errno
import os
import shlex
import sys
import traceback
from collections.abc import Sequence

from diorama.errors import DioramaError, out_of_memory

ISSUES = "the issue tracker of diorama"
DONE, OUR_FAULT, TO_MEND, STOPPED = 0, 1, 2, 130

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_RESUMABLE = ("reconstruct", "generate", "evaluate", "train", "demo")


def explain(error: BaseException, words: Sequence[str]) -> tuple[str, int]:
    """The message for stderr (empty if nothing needs to be said) and the exit code."""
    verb = f"diorama {words[0]}" if words else "diorama"
    match error:
        case SystemExit():
            return _exit(error)
        case KeyboardInterrupt():
            return _stopped(words), STOPPED
        case DioramaError():
            return f"{verb}: {error}", TO_MEND
        case BrokenPipeError():
            return _closed_pipe()
        case OSError() if error.errno in _FULL:
            where = f" while writing {error.filename}" if error.filename else ""
            return (
                f"{verb}: the disk is full{where}. What was finished before is untouched; an unfinished output is "
                f"left out or kept in its .partial folder. Free some space, or write elsewhere with -o, and run again."
            ), TO_MEND
        case OSError() if error.errno in _FORBIDDEN:
            return (
                f"{verb}: not allowed to use {error.filename or 'a file'} ({error.strerror}). Check its owner and "
                f"permissions, or write elsewhere with -o."
            ), TO_MEND
        case OSError() if error.errno == errno.ENAMETOOLONG:
            return f"{verb}: the name {str(error.filename)[:60]}... is too long for this disk. Shorten it.", TO_MEND
        case _ if out_of_memory(error):
            return (
                f"{verb}: out of memory ({error}). Use smaller photos (--max-side 320), or state a limit "
                f"(--max-memory 4GB), or close other programs."
            ), TO_MEND
        case _:
            return _our_fault(error, words), OUR_FAULT


def _exit(error: SystemExit) -> tuple[str, int]:
    if error.code is None:
        return "", DONE
    if isinstance(error.code, int):
        return "", error.code
    return str(error.code), OUR_FAULT


def _stopped(words: Sequence[str]) -> str:
    if words and words[0] in _RESUMABLE:
        return (
            "\nStopped. The work up to the last checkpoint is kept. To go on from there, run the same command again:\n"
            f"  diorama {shlex.join(words)}"
        )
    return "\nStopped. No finished output was changed."


def _closed_pipe() -> tuple[str, int]:
    """The reader of our output went away (`diorama ... | head`): leave quietly, also when Python flushes at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return "", 141


def _our_fault(error: BaseException, words: Sequence[str]) -> str:
    trace = "".join(traceback.format_exception(error)).rstrip()
    from diorama import __version__

    return (
        f"{trace}\n\n"
        f"diorama stopped on a fault of its own ({type(error).__name__}); not of what you gave it.\n"
        f"Please report it to {ISSUES}, with the lines above, the output of `diorama doctor`, and the command:\n"
        f"  diorama {shlex.join(words)}    (version {__version__}, Python {sys.version.split()[0]})"
    )
