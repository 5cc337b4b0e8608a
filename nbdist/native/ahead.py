"""Compiling sources ahead of the runs that need them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from nbdist.cores import usable_cores
from nbdist.native.build import Source, built, find_compiler


def build_ahead(folder: Path, sources: Sequence[Source], report: Callable[[int, int], None] | None = None) -> str:
    """Compile those that a folder does not hold yet, on all cores that are this process'.

    Parameters
    ----------
    folder
        Where to keep them; made with its parents, readable for everybody, where it is missing.
    report
        Called with (libraries that are there, all of them).

    Returns
    -------
    The compiler, as records name it.

    Raises
    ------
    BuildError
        If there is no C++ compiler, it fails, or it does not come to an end.
    UnsafeFolderError
        If others can write into the folder or replace it.
    OSError
        If the folder cannot be written.
    """
    folder = folder.absolute()
    for missing in [path for path in (*reversed(folder.parents), folder) if not path.exists()]:
        missing.mkdir(exist_ok=True)
        missing.chmod(0o755)  # whatever the umask
    compiler = find_compiler()
    with ThreadPoolExecutor(usable_cores()) as pool:
        waiting = [pool.submit(built, source, folder) for source in sources]
        try:
            for done, one in enumerate(as_completed(waiting), start=1):
                one.result()
                if report is not None:
                    report(done, len(sources))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return compiler.identity
