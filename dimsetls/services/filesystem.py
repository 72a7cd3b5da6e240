"""Instances as Part 10 files in a directory: each appears whole under its final name, or not at all.

::

    root/.incoming/lock             held while a store opens and sweeps
    root/.incoming/3f…/lock         held as long as that store lives; what lies beside an unheld one is swept
    root/.incoming/3f…/1a           an instance that is still coming
    root/.incoming/3f…/notes        where instances are about to appear, if the store has an index
    root/<layout>                   complete instances

`FileStore.begin` and `IncomingFile.write` are called where the network is read and only append to the page cache;
`IncomingFile.commit` may block for the disk and is meant for a worker thread. Nothing here knows a reactor.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..dimse.status import Status
from ..errors import ConfigurationError, LocalProtocolError, ServiceError
from ..uids import is_valid_uid
from .elements import SOP_CLASS_UID, SOP_INSTANCE_UID, ElementReader, Piece
from .layout import DATA_SET_TAGS, Layout
from .part10 import file_meta, same_data_set
from .promises import NOTES, Duplicates, Durability, Outcome, StoredInstance

if TYPE_CHECKING:
    from .forwarding.queue import Queue
    from .index import Index
    from .placing import Indexing

__all__ = ["Duplicates", "Durability", "FileStore", "IncomingFile", "Outcome", "StoredInstance"]

_FILE_MODE: Final = 0o640  # patient data: the group may read, the world may not; the umask takes more away
_DIRECTORY_MODE: Final = 0o750
_PRIVATE_MODE: Final = 0o700
_NO_HARD_LINKS: Final = frozenset((errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))
_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
_IDENTITY: Final = {SOP_CLASS_UID: "SOPClassUID", SOP_INSTANCE_UID: "SOPInstanceUID"}
_MOST_SETTLED: Final = 4096


class FileStore:
    """A directory of Part 10 files; several stores, of several processes, may share one `root`.

    With an `index`, an instance and its row in there appear together, and a duplicate is one by its SOP Instance UID;
    without, by its path. The store opens and closes the index, which is to be as durable as the store. What is to be
    forwarded is in its `queue` from then on too, which is there if the index is.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        layout: Layout,
        duplicates: Duplicates = Duplicates.IDENTICAL,
        fsync: Durability = Durability.FULL,
        index: Index | None = None,
    ) -> None:
        self.root = Path(root).absolute()
        self.layout = layout
        self.index = index
        self.indexing: Indexing | None = None
        if index is not None:
            from .placing import Indexing  # SQLite and pydicom: who has no index does not load them

            self.indexing = Indexing(index)
        self.queue: Queue | None = self.indexing.queue if self.indexing is not None else None
        self.duplicates = duplicates
        self.durable = fsync is Durability.FULL
        self._incoming = ""  # the directory of incoming files while the store is open
        self._lock_fd = -1
        self._notes_fd = -1
        self._numbers = count()
        self._hard_links = True
        self._placing = threading.Lock()   # where there are no hard links: look and rename as one
        self._settled: set[str] = set()    # directories whose way up to the root is known to be on disk

    def open(self) -> None:
        """Make the root where it is missing, prove that files can appear in it, sweep what dead processes left.

        Raises ConfigurationError.
        """
        try:
            self._open()
        except ConfigurationError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise ConfigurationError(
                f"store {self.root}: expected a directory in which this process can create, lock, link and sync files, "
                f"got {_in_words(error)}; correct its path, owner or mode, or free space"
            ) from error

    def _open(self) -> None:
        there = next(directory for directory in (self.root, *self.root.parents) if directory.exists())
        self.root.mkdir(_DIRECTORY_MODE, parents=True, exist_ok=True)
        incoming = self.root / ".incoming"
        incoming.mkdir(_PRIVATE_MODE, exist_ok=True)
        if incoming.stat().st_dev != self.root.stat().st_dev:
            raise ConfigurationError(
                f"store {self.root}: expected .incoming on the file system of the store, got another one; unmount it"
            )
        with _locked(incoming / "lock", fcntl.LOCK_EX):
            own = incoming / secrets.token_hex(8)
            own.mkdir(_PRIVATE_MODE)
            self._incoming = str(own)
            self._lock_fd = os.open(own / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._lock_fd, b"%d\n" % os.getpid())
            self._hard_links = _can_link(own / "lock", self.root / ".probe")
            if self.indexing is not None:
                self.indexing.open()
                self._notes_fd = os.open(own / NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            _sweep(incoming, own, self._recover)
        self._settled = {str(self.root)}
        if self.durable:
            _sync_up(self.root, there)

    def close(self) -> None:
        """Discard what is still coming and let go of the root; never raises."""
        if self._incoming:
            with suppress(OSError, LocalProtocolError):
                self._recover(Path(self._incoming))
            shutil.rmtree(self._incoming, ignore_errors=True)
            self._incoming = ""
        if self.index is not None:
            self.index.close()
        for fd in (self._notes_fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._notes_fd = self._lock_fd = -1

    def _recover(self, directory: Path) -> None:
        if self.indexing is not None:
            self.indexing.recover(self.root, directory)

    def begin(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        calling_ae_title: str,
        called_ae_title: str,
    ) -> IncomingFile:
        """A new file under a hidden name, with its file meta information; its data set is to be written to it.

        Raises ServiceError: 0117 or 0122 for what is not a UID, A700 if the file cannot be made.
        """
        if not self._incoming:
            raise LocalProtocolError("begin() on a store that is not open: call open() first")
        if not is_valid_uid(sop_instance_uid):
            raise ServiceError(Status.INVALID_SOP_INSTANCE, "Affected SOP Instance UID is not a UID", (0x1000,))
        if not is_valid_uid(sop_class_uid):
            raise ServiceError(Status.SOP_CLASS_NOT_SUPPORTED, "Affected SOP Class UID is not a UID", (0x0002,))
        values = {
            "SOPClassUID": sop_class_uid,
            "SOPInstanceUID": sop_instance_uid,
            "CallingAETitle": calling_ae_title,
            "CalledAETitle": called_ae_title,
        }
        meta = file_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid, calling_ae_title, called_ae_title)
        path = f"{self._incoming}/{next(self._numbers):x}"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        except OSError as error:
            raise _refusal(error) from error
        read = ElementReader if self.indexing is None else self.indexing.reader
        elements = read(transfer_syntax_uid, self.layout.needs)
        incoming = IncomingFile(self, fd, path, values, transfer_syntax_uid, elements)
        incoming._append(meta)
        return incoming

    def note(self, path: str) -> None:
        """Write down that an instance may appear at a path and not be indexed, if this process is killed."""
        os.write(self._notes_fd, f"{path}\n".encode())

    def forget_notes(self) -> None:
        """All that was noted is indexed now."""
        os.ftruncate(self._notes_fd, 0)

    def place(self, temporary: str, final: str) -> Outcome:
        """Let a complete file appear under its final name, or treat it as the policy for duplicates has it."""
        try:
            self.appear(temporary, final)
            outcome = Outcome.STORED
        except FileExistsError:
            outcome = self.place_duplicate(temporary, final)
        if self.durable:
            self.settle(os.path.dirname(final))
        return outcome

    def appear(self, temporary: str, final: str) -> None:
        """Raises FileExistsError, atomically, if `final` is there; the directories above it need not be."""
        appear = os.link if self._hard_links else self._rename
        try:
            appear(temporary, final)
        except FileNotFoundError:
            directory = os.path.dirname(final)
            self._settled.discard(directory)
            _make_directory(directory, str(self.root))
            appear(temporary, final)

    def _rename(self, temporary: str, final: str) -> None:
        # Without hard links nothing in POSIX is both atomic and exclusive: this holds among all who use FileStore. With
        # an index the transaction keeps other processes out, and one that opens the store may be waiting for that.
        alone = nullcontext() if self.index is not None else _locked(self.root / ".incoming/lock", fcntl.LOCK_EX)
        with self._placing, alone:
            if os.path.lexists(final):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), final)
            os.rename(temporary, final)

    def place_duplicate(self, temporary: str, final: str) -> Outcome:
        """Treat a file whose place is taken as the policy has it. Raises ServiceError(0111)."""
        if self.duplicates is Duplicates.REPLACE:
            os.rename(temporary, final)
            return Outcome.REPLACED
        if self.duplicates is Duplicates.REFUSE:
            raise ServiceError(Status.DUPLICATE_SOP_INSTANCE, "instance is already stored")
        if not os.path.isfile(final):
            raise FileNotFoundError(errno.ENOENT, "a name that is taken, but not by a file", final)
        if self.duplicates is Duplicates.IDENTICAL and not same_data_set(temporary, final):
            raise ServiceError(Status.DUPLICATE_SOP_INSTANCE, "instance is already stored with another data set")
        if self.durable:
            _sync(final)  # it may be older than the option, or another program's
        return Outcome.ALREADY_PRESENT

    def settle(self, directory: str) -> None:
        """Bring a changed directory to disk and, unless that was done before, every one from there to the root.

        Another thread or process may have made those a moment ago and not have synced them yet; so what counts is not
        who made them but that this store has synced them once.
        """
        if directory in self._settled:
            _sync(directory)
            return
        _sync_up(Path(directory), self.root)
        if len(self._settled) >= _MOST_SETTLED:
            self._settled = {str(self.root)}
        self._settled.add(directory)


class IncomingFile:
    """One instance on its way into a store: write, then commit or discard.

    Exactly one of commit and discard does something, the first; a discard during a commit leaves the file to that.
    """

    __slots__ = ("_fd", "_lock", "_path", "_reader", "_store", "_transfer_syntax_uid", "_values")

    def __init__(
        self,
        store: FileStore,
        fd: int,
        path: str,
        values: dict[str, str],
        transfer_syntax_uid: str,
        reader: ElementReader,
    ) -> None:
        self._store = store
        self._fd = fd
        self._path = path
        self._values = values
        self._transfer_syntax_uid = transfer_syntax_uid
        self._reader = reader
        self._lock = threading.Lock()

    def write(self, piece: Piece) -> None:
        """Append the next bytes of the data set; if they cannot be kept, discards all and raises ServiceError(A700)."""
        # Called for every 16 to 128 KB received: an os.write and next to nothing else.
        try:
            if (written := os.write(self._fd, piece)) != len(piece):
                self._append(memoryview(piece)[written:])
        except OSError as error:
            self.discard()
            raise _refusal(error) from error
        if not self._reader.done:
            self._reader.feed(piece)

    def _append(self, piece: Piece) -> None:
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest):]
        except OSError as error:
            self.discard()
            raise _refusal(error) from error

    def commit(self) -> StoredInstance:
        """Make the instance appear in the store, as safe as the store promises; blocks for the disk.

        Raises ServiceError: A900 if there is an index and the data set is of another instance than the command, 0111
        for a duplicate that the policy refuses, A700 if the file cannot be kept. In each case the temporary file is
        gone. After an A700 the instance may be there, whole, if only its directory would not sync; the sender's next
        attempt finds it.
        """
        fd = self._take()
        if fd < 0:
            raise LocalProtocolError("commit() of an instance that was committed or discarded before")
        try:
            try:
                if self._store.index is not None:
                    self._judge()
                size = os.lseek(fd, 0, os.SEEK_CUR)  # it was written from its beginning; fstat says more than we ask
                if self._store.durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
            remark = self._read_values()
            final, outcome = self._place(size)
        except OSError as error:
            raise _refusal(error) from error
        finally:
            self._unlink()
        return StoredInstance(final, size, outcome, remark)

    def _place(self, size: int) -> tuple[str, Outcome]:
        store, path = self._store, self._store.layout.path(self._values)
        if store.indexing is None:
            final = f"{store.root}/{path}"
            return final, store.place(self._path, final)
        return store.indexing.place(
            store, self._path, path, size, self._transfer_syntax_uid, self._values, self._reader.values
        )

    def discard(self) -> None:
        """Forget the instance; never raises, and may be called at any time."""
        fd = self._take()
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)
            self._unlink()

    def _take(self) -> int:
        """The descriptor, to the first who asks; -1 to everyone after."""
        with self._lock:
            fd, self._fd = self._fd, -1
        return fd

    def _unlink(self) -> None:
        # Gone already after a rename or after close() of the store; whatever else is left, the next open() sweeps.
        try:
            os.unlink(self._path)
        except OSError:
            pass

    def _judge(self) -> None:
        """Raise ServiceError where the data set is of another instance: it would be found as one that it is not.

        A store that is not asked what it has keeps whatever came under the UID that it came with.
        """
        for tag, name in _IDENTITY.items():
            value = self._reader.values.get(tag, b"").strip(b"\0 ")
            if value and value != self._values[name].encode():
                comment = f"{name} of the data set is not that of the command"
                raise ServiceError(Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, comment, (tag,))

    def _read_values(self) -> str:
        reader = self._reader
        for name, tag in DATA_SET_TAGS.items():
            if (value := reader.values.get(tag)) is not None:
                self._values[name] = value.rstrip(b"\0 ").decode("ascii", "replace")
        return reader.error if self._store.layout.needs - reader.values.keys() else ""


def _refusal(error: OSError) -> ServiceError:
    """What the peer is told; the operator finds the rest, which may name a path, in the exception's cause."""
    comment = "store is full" if error.errno in _FULL else "store cannot keep the instance"
    return ServiceError(Status.OUT_OF_RESOURCES, comment)


def _in_words(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{what} ({error.filename})" if error.filename else what


@contextmanager
def _locked(path: Path, operation: int) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, operation)
        yield
    finally:
        os.close(fd)


def _can_link(source: Path, probe: Path) -> bool:
    """Whether the file system has hard links; raises OSError if not even a new file can appear at `probe`."""
    probe.unlink(missing_ok=True)
    try:
        os.link(source, probe)
        return True
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return False
    finally:
        probe.unlink(missing_ok=True)


def _sweep(incoming: Path, own: Path, recover: Callable[[Path], None]) -> None:
    """Remove the directories of stores that are no longer alive: those whose lock can be taken."""
    for directory in incoming.iterdir():
        if directory != own and directory.is_dir():
            lock = _locked(directory / "lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(BlockingIOError, FileNotFoundError), lock:  # alive; just being closed
                recover(directory)
                shutil.rmtree(directory)


def _make_directory(path: str, root: str) -> None:
    """Make a directory below `root` and those between; never `root` itself: it is missing when it is not mounted."""
    if path == root:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), root)
    try:
        os.mkdir(path, _DIRECTORY_MODE)
    except FileExistsError:
        pass  # another thread was faster
    except FileNotFoundError:
        _make_directory(os.path.dirname(path), root)
        with suppress(FileExistsError):
            os.mkdir(path, _DIRECTORY_MODE)


def _sync(path: str | Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_up(directory: Path, top: Path) -> None:
    _sync(directory)
    while directory != top:
        directory = directory.parent
        _sync(directory)
