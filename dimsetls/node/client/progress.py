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
    """Counts files and bytes; `note` is for lines that must stay readable beside the bar."""

    def __init__(
        self, files: int, size: int, output: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._output = output or sys.stderr
        self.is_bar = self._output.isatty()
        self._files, self._size = files, size
        self._done_files = self._done_size = self._under_way = 0
        self._clock = clock
        self._begun = clock()
        self._drawn = float("-inf")

    def advance(self, size: int) -> None:
        """Some bytes of the present file are sent."""
        self._under_way += size
        self._draw()

    def finish(self, size: int, sentence: str) -> None:
        """The present file is done with, whatever came of it."""
        self._done_files += 1
        self._done_size += size
        self._under_way = 0
        if not self.is_bar:
            self._output.write(f"{self._done_files}/{self._files} {sentence}\n")
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
        done = min(self._done_size + self._under_way, self._size)
        share = done / self._size if self._size else 1.0
        passed = self._clock() - self._begun
        rate = done / passed if passed > 0 else 0.0
        left = f"{_clock_text((self._size - done) / rate)} left" if rate else "…"
        bar = "#" * int(share * _BAR)
        return (f"[{bar:.<{_BAR}}] {share:4.0%}  {self._done_files}/{self._files} files  {size_text(rate)}/s  {left}")

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
