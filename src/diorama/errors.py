"""The few errors a user can meet. Each message says what was found, what was needed and what to do."""


class DioramaError(Exception):
    """Anything the user can mend; the command line prints the message alone and exits with 2."""


class InputError(DioramaError):
    """A file, folder or value the user gave cannot be used."""


class ViewsError(InputError):
    """Images, cameras or masks do not fit together."""


class CameraError(InputError):
    """A camera is not one: NaN, no rotation, no focal length."""


class MissingExtraError(DioramaError):
    """An optional package is needed; the message holds the command that installs it."""


class OutputError(DioramaError):
    """The output exists, is not writable, or the disk is full."""


class MemoryLimitError(DioramaError):
    """The work does not fit into the memory it was given."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error, of Python or of torch on any device, says that memory did not suffice."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, which is not imported for this
        or (isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text))
    )
