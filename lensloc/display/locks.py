"""One process does a piece of work, and the others that want it wait."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

log = logging.getLogger(__name__)


@contextlib.contextmanager
def held(path: Path, what: str) -> Iterator[bool]:
    """Hold a lock while something is made that others may be making.

    A lock of a process that ended, in whatever way, is none. Where no lock can be had (a folder
    that cannot be written, a file system without locks), the work is done without.

    Args:
        path: the lock's file; its folder is made if needed, and the file removed afterwards.
        what: what is made, in words, for those who wait: "the map of resid_post".

    Yields:
        Whether another process had the lock, so that the work may be done by now.
    """
    lock = _locked(path, what)
    if lock is None:
        yield False
        return
    taken, waited = lock
    try:
        yield waited
    finally:
        with contextlib.suppress(OSError):  # while it is held; who waits for it makes another
            path.unlink()
        with contextlib.suppress(OSError):
            taken.release()


def _locked(path: Path, what: str) -> tuple[FileLock, bool] | None:
    for kind in (FileLock, SoftFileLock):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = kind(path, thread_local=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                log.warning("another process is making %s; waiting for it", what)
                lock.acquire()
                return lock, True
            return lock, False
        except NotImplementedError:  # such locks are not known to the file system
            continue
        except OSError as error:
            log.info("no lock at %s: %s", path, error)
            return None
    return None
