"""Pages whose blocks are run: what is on such a page, what it needs, and running it.

A page with `executed: true` in its front matter has its blocks of `sh` and `python` run in their order in a folder of its own; python
blocks share their names. Blocks `text` and `yaml`, and those of directives, are not run; there are no others. A block `output` is compared
with what the block before it printed: its lines have to come in that order, and `...` stands for anything. Pictures (and HTML pages) that
the blocks leave in the folder are kept in `docs/_made/PAGE`, from where the page shows them. A page is run again where its blocks, a file
that it names, or nbdist's sources changed. When it ends, whatever it started ends.

    ---
    executed: true
    needs: [dials]                  # of `NEEDS`
    files: [recipe.yaml]            # beside the page; they are copied into the folder
    watches: [tests/cases.py]       # what it runs besides, by pattern, in the repository
    ---

`python docs/executed.py PAGE.md FOLDER` is the process that runs one page in a folder.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
MADE = DOCS / "_made"
"""What pages made, a folder each; not in git."""
KEPT = (".png", ".svg", ".html")
STAMP = "made.json"
LONGEST_S = 900
"""Seconds after which a page is taken to hang."""

_FRONT = re.compile(r"\A---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r"\s*(`{3}|~{3}).*")
_BEGIN = re.compile(r"```(sh|python|output|text|yaml|\{[\w-]+\}.*)")
_SHOWN = re.compile(r"(!?)\[([^\]]*)\]\(/_made/([\w-]+)/[\w.-]+\)(?:\{[^}]*\})?")
_TITLE = re.compile(r"^# .*$", re.MULTILINE)
NOT_RUN = "The blocks of this page were not run where this site was built: its pictures are left out."
OLDER = "The blocks of this page, or nbdist, changed since its pictures were made."
_RUN = ("sh", "python", "output")
_PLACE = ".place"
"""File in which the process of a page says at which block it is; empty once it said what came of them."""


class PageError(Exception):
    """A page that cannot be run, or whose blocks do not do what it says."""


@dataclass(frozen=True)
class Block:
    """A block of a page: its kind (sh, python, output), the line of the page at which it begins, and its text."""

    kind: str
    line: int
    text: str


@dataclass(frozen=True)
class Page:
    """A page whose blocks are run.

    Attributes
    ----------
    name
        Of its file, without its suffix: `training_set`. No two such pages have one name.
    path
        The page.
    blocks
        Its blocks that are run or compared.
    needs
        What has to be here, of `NEEDS`.
    files
        What is copied into the folder that it runs in.
    watched
        What its blocks run besides, where it is in the repository.
    """

    name: str
    path: Path
    blocks: tuple[Block, ...]
    needs: tuple[str, ...]
    files: tuple[Path, ...]
    watched: tuple[Path, ...]

    @property
    def made(self) -> Path:
        """The folder of what it made."""
        return MADE / self.name

    def key(self) -> str:
        """What it follows from: its blocks, the files that it names, nbdist's sources and this module."""
        parts = hashlib.sha256(_sources().encode())
        for block in self.blocks:
            parts.update(f"{block.kind} {len(block.text)} {block.text}".encode())
        for file in (*self.files, *self.watched):
            parts.update(file.name.encode() + file.read_bytes())
        return parts.hexdigest()

    def is_made(self) -> bool:
        """Whether its pictures are those of its text as it is."""
        return made_key(self.name) == self.key()

    def missing(self) -> list[str]:
        """What it needs and is not here, in words."""
        return [said for need in self.needs if (said := NEEDS[need]()) is not None]


def made_key(name: str) -> str | None:
    """The key of what a page made last; None where it was never run to its end."""
    try:
        return str(json.loads((MADE / name / STAMP).read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError):
        return None


@functools.cache
def _sources() -> str:
    parts = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted((ROOT / "nbdist").rglob("*")):
        if path.suffix in (".py", ".cpp", ".h", ".html"):
            parts.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return parts.hexdigest()


def read_page(path: Path) -> Page | None:
    """The page at this path; None where its front matter does not say `executed: true`.

    Raises
    ------
    PageError
        If its front matter names a need or a file that there is not, or it has a block of which nobody knows whether it is run.
    """
    text = path.read_text(encoding="utf-8")
    front = _FRONT.match(text)
    said = yaml.safe_load(front[1]) if front else {}
    if not said.get("executed"):
        return None
    watches: list[str] = said.get("watches", [])
    watched = {pattern: sorted(ROOT.glob(pattern)) for pattern in watches}
    page = Page(
        name=path.stem,
        path=path,
        blocks=tuple(_blocks(text, path.stem)),
        needs=tuple(said.get("needs", ())),
        files=tuple(path.parent / name for name in said.get("files", ())),
        watched=tuple(file for files in watched.values() for file in files if file.is_file()),
    )
    for need in page.needs:
        if need not in NEEDS:
            raise PageError(f"{page.name}: needs: there is no '{need}'; allowed are {', '.join(NEEDS)}")
    for file in page.files:
        if not file.is_file():
            raise PageError(f"{page.name}: files: {file} is not there")
    for pattern, found in watched.items():
        if not found:
            raise PageError(f"{page.name}: watches: there is no {pattern} in the repository")
    return page


def _blocks(text: str, name: str) -> Iterator[Block]:
    """The blocks of a page that are run or compared."""
    lines = enumerate(text.splitlines(keepends=True), 1)
    for number, line in lines:
        if not _FENCE.match(line):
            continue
        begun = _BEGIN.fullmatch(line.rstrip("\n"))
        body = [its for _, its in itertools.takewhile(lambda numbered: numbered[1].rstrip("\n") != "```", lines)]
        if begun is None or any(_FENCE.match(its) for its in body):
            raise PageError(
                f"{name}: the block at line {number} begins with '{line.rstrip()}' or does not end with '```'; allowed are ```sh, "
                "```python, ```output, ```text, ```yaml and ```{directive}, none of them indented"
            )
        if begun[1] in _RUN:
            yield Block(begun[1], number, "".join(body))


def executed_pages() -> dict[str, Page]:
    """All pages that are run, by name.

    Raises
    ------
    PageError
        If two have one name, or one of them cannot be run as it is.
    """
    pages: dict[str, Page] = {}
    for path in sorted(path for path in DOCS.rglob("*.md") if MADE not in path.parents):
        page = read_page(path)
        if page is None:
            continue
        if page.name in pages:
            raise PageError(f"{page.path} and {pages[page.name].path}: pages that are run cannot have one name")
        pages[page.name] = page
    return pages


def as_made(text: str) -> str:
    """A page without the pictures and links that there is nothing for; a note says so, and where its pictures are of an earlier state."""
    pages, notes = executed_pages(), set[str]()

    def shown(found: re.Match[str]) -> str:
        is_picture, words, name = found.groups()
        if made_key(name) is None:
            notes.add(NOT_RUN)
            return "" if is_picture else words
        if name in pages and not pages[name].is_made():
            notes.add(OLDER)
        return found[0]

    text = _SHOWN.sub(shown, text)
    note = "".join(f"\n\n:::{{note}}\n{words}\n:::\n" for words in sorted(notes))
    return _TITLE.sub(lambda title: title[0] + note, text, count=1)


def _program(name: str) -> str | None:
    return None if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") else f"{name} is not in the path"


def _slurm() -> str | None:
    for program in ("slurmctld", "slurmd", "sbatch", "munged"):
        if said := _program(program):
            return said
    return None if os.getuid() == 0 else "a Slurm of this machine is started by root alone"


def _package(name: str) -> str | None:
    return None if importlib.util.find_spec(name) else f"{name} is not installed"


NEEDS: dict[str, Callable[[], str | None]] = {
    "chromium": lambda: _program("chromium") or _package("playwright"),
    "dials": lambda: _program("dials.import"),
    "slurm": _slurm,
    "torch": lambda: _package("torch"),
}
"""What pages may need, and whether it is here: None, or why it is not. Where `slurm` is needed, the page has one of its own."""


@contextlib.contextmanager
def _services(page: Page) -> Iterator[dict[str, str]]:
    """What is started for a page, as variables of the environment of its blocks."""
    if "slurm" not in page.needs:
        yield {}
        return
    scripts = ROOT / "cluster" / "local_slurm"
    with tempfile.TemporaryDirectory(prefix="nbdist-slurm-") as folder:
        up = subprocess.run([scripts / "up.sh", folder], capture_output=True, text=True)
        try:
            if up.returncode:
                raise PageError(f"{page.name}: a Slurm of this machine does not start: {up.stderr or up.stdout}")
            yield {"SLURM_CONF": f"{folder}/slurm.conf"}
        finally:
            subprocess.run([scripts / "down.sh", folder], capture_output=True)


_running: set[int] = set()
"""Processes of pages; each leads a group with all that its page started."""


def _end(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)


def end_pages() -> None:
    """End all pages that are being run: their groups get no Ctrl-C of the terminal."""
    for process in list(_running):
        _end(process)


def _place(folder: str) -> str:
    """Where the process of a page was last; nothing where it said what came of its blocks."""
    try:
        return (Path(folder) / _PLACE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return "its beginning"


def run_page(page: Page) -> float:
    """Run a page in a folder that is new, and keep its pictures; seconds that it took.

    Raises
    ------
    PageError
        If a block fails, or prints something else than the page has.
    """
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="nbdist-page-") as scratch, _services(page) as variables:
        for file in page.files:
            shutil.copy(file, scratch)
        search = [str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"]
        environment = {
            **os.environ,
            "PATH": os.pathsep.join(search),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "MPLBACKEND": "Agg",
            "COLUMNS": "100",
            **variables,
        }
        command = [sys.executable, __file__, str(page.path), scratch]
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said,
            subprocess.Popen(
                command, env=environment, stdout=said, stderr=said, cwd=scratch, start_new_session=True
            ) as process,
        ):
            _running.add(process.pid)
            try:
                status = process.wait(LONGEST_S)
            except subprocess.TimeoutExpired:
                raise PageError(f"{page.name}: not done after {LONGEST_S} s, at {_place(scratch)}") from None
            finally:
                _running.discard(process.pid)
                _end(process.pid)
            said.seek(0)
            words = said.read().rstrip()
        if place := _place(scratch):
            how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
            raise PageError(f"{page.name}: its process ended at {place}: {how}\n{words}")
        if status:
            raise PageError(words)
        seconds = time.perf_counter() - begun
        shutil.rmtree(page.made, ignore_errors=True)
        page.made.mkdir(parents=True)
        for file in sorted(Path(scratch).iterdir()):
            if file.suffix in KEPT and file.is_file():
                shutil.copy(file, page.made)
        stamp = {"key": page.key(), "seconds": round(seconds, 1)}
        (page.made / STAMP).write_text(json.dumps(stamp), encoding="utf-8")
    return seconds


def _run_blocks(page: Page, folder: Path) -> None:
    """Run the blocks of a page here, in this process and those that its blocks start."""
    printed, place = folder / ".printed", folder / _PLACE
    names: dict[str, object] = {"__name__": "__main__"}
    said = ""
    for block in page.blocks:
        where = f"{os.path.relpath(page.path, ROOT)}:{block.line}"
        place.write_text(where, encoding="utf-8")
        if block.kind == "output":
            _compare(block, said, where)
            continue
        with printed.open("w", encoding="utf-8") as sink, contextlib.redirect_stdout(sink):
            if block.kind == "sh":
                ended = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", block.text],
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                )
                failed = f"exit status {ended.returncode}" if ended.returncode else ""
            else:
                failed = _python(block, page, names)
        said = printed.read_text(encoding="utf-8", errors="replace")
        if failed:
            raise PageError(f"{where}: this {block.kind} block failed\n{block.text}\n{said}{failed}")


def _python(block: Block, page: Page, names: dict[str, object]) -> str:
    """Run a block of Python, whose lines have the numbers that they have on the page; the traceback where it fails, or nothing."""
    try:
        exec(compile("\n" * block.line + block.text, str(page.path), "exec"), names)
    except (Exception, SystemExit):
        return traceback.format_exc()
    return ""


def _compare(block: Block, said: str, where: str) -> None:
    """Fail unless the lines of an output block come in what was printed, in their order; spaces count as one."""
    left: Sequence[str] = [" ".join(line.split()) for line in said.splitlines()]
    for line in block.text.splitlines():
        wanted = " ".join(line.split())
        if wanted in ("", "..."):
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in wanted.split("...")))
        place = next((i for i, printed in enumerate(left) if pattern.fullmatch(printed)), None)
        if place is None:
            raise PageError(f"{where}: the block before does not print '{line.strip()}' here; it printed\n{said}")
        left = left[place + 1 :]


def _main() -> None:
    path, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    page = read_page(path)
    assert page is not None
    os.chdir(folder)
    try:
        _run_blocks(page, folder)
    except PageError as failure:
        sys.exit(str(failure))
    finally:
        (folder / _PLACE).write_text("", encoding="utf-8")


if __name__ == "__main__":
    _main()
