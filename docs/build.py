"""Build the site: `python docs/build.py [OUTPUT]`; `docs/_made/site` where no folder is named.

Runs the pages whose blocks are run (`executed.py`), each only where it, what it names or nbdist changed, and then Sphinx, for which every
warning is an error: a link that leads nowhere, a picture that is not there. With `--check` a formula that cannot be set is one, too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from executed import DOCS, MADE, ROOT, Page, PageError, end_pages, executed_pages, run_page

PACKAGES = (
    "sphinx",
    "myst_parser",
    "pydata_sphinx_theme",
    "sphinx_design",
    "sphinx-mathjax-offline",
    "matplotlib",
    "bokeh",
    "h5py",
    "pyarrow",
)
"""Without which no site is built; what single pages need besides is told of each."""
AT_ONCE = 2
"""Pages that are run at the same time: most of what their blocks do takes one core."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="docs/build.py", description="Build nbdist's site.")
    parser.add_argument("output", nargs="?", type=Path, default=MADE / "site", help="folder of the site")
    parser.add_argument("--page", metavar="NAME", help="run this page alone (training_set), and end")
    parser.add_argument(
        "--without-missing",
        action="store_true",
        help="show pages that need what is not here without their pictures, and say so on them",
    )
    parser.add_argument("--no-run", action="store_true", help="run nothing; pages that were never run have no pictures")
    parser.add_argument("--check", action="store_true", help="load every page of the site in a browser afterwards")
    parser.add_argument("--outside", action="store_true", help="look whether links to other places lead anywhere")
    return parser.parse_args()


def _run(page: Page) -> None:
    seconds = run_page(page)
    print(f"{page.name}: {len(page.blocks)} blocks in {seconds:.1f} s", flush=True)


def _error_of(page: Page) -> str | None:
    """Run a page; what went wrong, or None."""
    try:
        _run(page)
    except PageError as error:
        print(f"{page.name}: failed", flush=True)
        return str(error)
    return None


def _run_all(without_missing: bool) -> None:
    """Run what changed, all of it, and fail afterwards for what failed; before, for what is not here, unless that may be left."""
    changed, left = list[Page](), list[str]()
    for page in executed_pages().values():
        if page.is_made():
            print(f"{page.name}: as it was")
        elif missing := page.missing():
            print(f"{page.name}: not run: {'; '.join(missing)}", flush=True)
            left.append(page.name)
        else:
            changed.append(page)
    if left and not without_missing:
        raise PageError(f"not run: {', '.join(left)} (--without-missing builds the site without their pictures)")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            wrong = [error for error in pool.map(_error_of, changed) if error is not None]
        except KeyboardInterrupt:
            end_pages()
            raise
    if wrong:
        raise PageError("\n\n".join(wrong))


def _sphinx(builder: str, output: Path, incomplete: bool) -> int:
    command = [sys.executable, "-m", "sphinx", "-b", builder, "-n", "-W", "--keep-going", "-E", "-q"]
    if incomplete:
        command += ["-t", "incomplete"]
    return subprocess.run([*command, "-d", str(MADE / "doctrees"), str(DOCS), str(output)], cwd=ROOT).returncode


def main() -> int:
    """Build the site as the arguments say; the exit status."""
    asked = _arguments()
    try:
        if missing := [name for name in PACKAGES if not find_spec(name)]:
            raise PageError(f"{', '.join(missing)}: not installed; pip install -e '.[docs]' brings what the site needs")
        pages = executed_pages()
        if asked.page is not None:
            name = Path(asked.page).stem
            if name not in pages:
                raise PageError(f"--page {asked.page}: there is no such page that is run; there are {', '.join(pages)}")
            if missing := pages[name].missing():
                raise PageError(f"{name}: not run: {'; '.join(missing)}")
            _run(pages[name])
            return 0
        if not asked.no_run:
            _run_all(asked.without_missing)
    except PageError as failure:
        print(failure, file=sys.stderr)
        return 1
    status = _sphinx("html", asked.output, asked.no_run or asked.without_missing)
    if asked.outside and not status:
        status = _sphinx("linkcheck", MADE / "links", asked.no_run or asked.without_missing)
    if asked.check and not status:
        tests = [sys.executable, "-m", "pytest", "-q", "-n0", str(ROOT / "tests/docs/test_site_in_browser.py")]
        site = {"NBDIST_SITE": str(asked.output.resolve())}
        status = subprocess.run(tests, cwd=ROOT, env=os.environ | site).returncode
    if not status:
        print(f"the site is in {asked.output}: open {asked.output / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
