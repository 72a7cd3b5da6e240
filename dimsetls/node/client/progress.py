"""How far a transfer is: a bar with rate and remaining time on a terminal, otherwise a line for each file."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

_EVERY = 0.1  # seconds between two drawings
_BAR = 24


class Progress:
    """Counts files and bytes; `note` is for lines that must stay readable beside the bar.

    `size` is that of all files together, 0 where it is not known; nor need the number of files be, at first.
    """

    def __init__(
        self, files: int = 0, size: int = 0, output: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._output = output or sys.stderr
        self.is_bar = self._output.isatty()
        self._files, self._size = files, size
        self._done_files = self._done_size = self._under_way = 0
        self._clock = clock
        self._begun = clock()
        self._drawn = float("-inf")

    def advance(self, size: int) -> None:
        """Some bytes of the files under way are transferred."""
        self._under_way += size
        self._draw()

    def finish(self, size: int, sentence: str) -> None:
        """One more file is done with, whatever came of it; all of its bytes count as transferred."""
        self._done_files += 1
        self._done_size += size
        self._under_way = max(0, self._under_way - size)
        if not self.is_bar:
            self._output.write(f"{self._done_files}{f'/{self._files}' if self._files else ''} {sentence}\n")
        self._draw()

    def expect(self, files: int) -> None:
        """So many files there are in all."""
        self._files = files
        self._draw()

    def reach(self, done: int, files: int) -> None:
        """So many of so many files are done, as somebody else counts them."""
        self._done_files, self._files = done, files
        self._draw()

    def note(self, sentence: str) -> None:
        self.clear()
        self._output.write(f"{sentence}\n")
        self._draw()

    def clear(self) -> None:
        """Take the bar away."""
        if self.is_bar:
            self._output.write("\r\x1b[K")
            self._output.flush()
            self._drawn = float("-inf")

    def line(self) -> str:
        """How far it is, in one line."""
        transferred = self._done_size + self._under_way
        passed = self._clock() - self._begun
        rate = f"  {size_text(transferred / passed)}/s" if transferred and passed > 0 else ""
        if not self._files and self._done_files:
            return f"{self._done_files} files{rate}"
        if self._size:
            share = min(transferred, self._size) / self._size
        else:
            share = min(self._done_files, self._files) / self._files if self._files else 1.0
        left = f"{_clock_text(passed * (1 - share) / share)} left" if share and passed > 0 else "…"
        bar = "#" * int(share * _BAR)
        return f"[{bar:.<{_BAR}}] {share:4.0%}  {self._done_files}/{self._files} files{rate}  {left}"

    def _draw(self) -> None:
        if self.is_bar and self._clock() - self._drawn >= _EVERY:
            self._drawn = self._clock()
            width = shutil.get_terminal_size().columns
            self._output.write(f"\r{self.line()[: width - 1]}\x1b[K")
            self._output.flush()


def size_text(size: float) -> str:
    """Bytes in words, by powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _clock_text(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
