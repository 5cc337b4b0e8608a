"""Pages whose blocks are run: what is on such a page, what it needs, and running it.

A page with `executed: true` in its front matter has its blocks of `sh` and `python` run in their order in a folder of its own; python
blocks share their names. A block `output` is compared with what the block before it printed: its lines have to come in that order, and
`...` stands for anything. Pictures (and HTML pages) that the blocks leave in the folder are kept in `docs/_made/PAGE`, from where the page
shows them. A page is run again where its blocks, a file that it names, or nbdist's sources changed.

    ---
    executed: true
    needs: [dials]                  # of `NEEDS`
    files: [recipe.yaml]            # beside the page; they are copied into the folder
    ---

`python docs/executed.py PAGE.md FOLDER` is the process that runs one page in a folder.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import re
import shutil
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
_BLOCK = re.compile(r"^```(sh|python|output)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


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
    """

    name: str
    path: Path
    blocks: tuple[Block, ...]
    needs: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def made(self) -> Path:
        """The folder of what it made."""
        return MADE / self.name

    def key(self) -> str:
        """What it follows from: its blocks, its files, nbdist's sources and this module."""
        parts = hashlib.sha256(_sources().encode())
        for block in self.blocks:
            parts.update(f"{block.kind} {len(block.text)} {block.text}".encode())
        for file in self.files:
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
        If its front matter names a need or a file that there is not.
    """
    text = path.read_text(encoding="utf-8")
    front = _FRONT.match(text)
    said = yaml.safe_load(front[1]) if front else {}
    if not said.get("executed"):
        return None
    blocks = tuple(Block(found[1], text.count("\n", 0, found.start()) + 1, found[2]) for found in _BLOCK.finditer(text))
    page = Page(
        name=path.stem,
        path=path,
        blocks=blocks,
        needs=tuple(said.get("needs", ())),
        files=tuple(path.parent / name for name in said.get("files", ())),
    )
    for need in page.needs:
        if need not in NEEDS:
            raise PageError(f"{page.name}: needs: there is no '{need}'; allowed are {', '.join(NEEDS)}")
    for file in page.files:
        if not file.is_file():
            raise PageError(f"{page.name}: files: {file} is not there")
    return page


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
        try:
            ended = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=LONGEST_S, cwd=scratch
            )
        except subprocess.TimeoutExpired:
            raise PageError(f"{page.name}: not done after {LONGEST_S} s") from None
        if ended.returncode:
            raise PageError(ended.stderr.rstrip())
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
    printed = folder / ".printed"
    names: dict[str, object] = {"__name__": "__main__"}
    said = ""
    for block in page.blocks:
        where = f"{os.path.relpath(page.path, ROOT)}:{block.line}"
        if block.kind == "output":
            _compare(block, said, where)
            continue
        with printed.open("w", encoding="utf-8") as sink, contextlib.redirect_stdout(sink):
            if block.kind == "sh":
                ended = subprocess.run(
                    ["sh", "-e", "-c", block.text], stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
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


if __name__ == "__main__":
    _main()
