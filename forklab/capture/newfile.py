"""A file that was not there before: nothing is ever overwritten."""

from pathlib import Path

from forklab.errors import LabError, UsageError


class NewFile:
    """A file that was not there before. It has whole blocks only, also when the disk is full or we are killed."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._file = path.open("xb", buffering=0)
        self._whole = 0

    def write(self, blocks: bytes) -> None:
        """Append these.

        Raises:
            OSError: not all could be written; what could was taken away again.
        """
        rest = memoryview(blocks)
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError:
            self._file.truncate(self._whole)
            raise
        self._whole += len(blocks)

    def close(self) -> None:
        """Give the descriptor back. A file without a single block goes."""
        self._file.close()
        if not self._whole:
            Path(self.name).unlink(missing_ok=True)


def check_new(path: Path) -> Path:
    """A path that can become a new file.

    Raises:
        UsageError: there is something of that name, or no such folder.
    """
    if path.exists():
        raise UsageError(f'"{path}" exists and is not overwritten; choose another name, or remove it first')
    if not path.parent.is_dir():
        raise UsageError(f'"{path}" cannot be written: there is no folder "{path.parent}"')
    return path


def new_file(path: Path) -> NewFile:
    """Make it.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        return NewFile(check_new(path))
    except OSError as error:
        raise UsageError(f'"{path}" cannot be written: {error.strerror}') from None


def write_new(path: Path, text: str) -> None:
    """Write a new file whole, or leave none.

    Raises:
        UsageError: it cannot be made.
        LabError: it cannot be written to the end.
    """
    file = new_file(path)
    try:
        file.write(text.encode(errors="replace"))  # a file's name on Linux need not be UTF-8
    except OSError as error:
        raise LabError(f'"{path}" cannot be written: {error.strerror}') from None
    finally:
        file.close()
