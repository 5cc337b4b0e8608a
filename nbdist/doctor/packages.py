"""The installation: nbdist itself, what it needs, its extras, and completion in the shell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from nbdist.doctor.findings import Finding, at_home
from nbdist.errors import Extra, how_to_get
from nbdist.formats.text import user_path
from nbdist.version import __version__

if TYPE_CHECKING:
    from packaging.requirements import Requirement

COMPLETIONS = {
    "bash": ".bash_completions/nbdist.sh",
    "zsh": ".zfunc/_nbdist",
    "fish": ".config/fish/completions/nbdist.fish",
}
"""Where `nbdist --install-completion` puts what each shell reads, in the home folder."""
Versions = Callable[[str], str]
"""The version of a package that is installed; raises `PackageNotFoundError`."""


def nbdist_itself(version: Versions = metadata.version) -> Finding:
    """The version of nbdist and whether it is the one that was installed."""
    found, numbers = f"{__version__}, {at_home(Path(__file__).parent.parent)}", {"version": __version__}
    try:
        installed = version("nbdist")
    except metadata.PackageNotFoundError:
        return Finding("nbdist", f"{found}, not installed", "note", "install it, so that workers find it", numbers)
    if installed != __version__:
        advice = "install this one, too, so that workers find it"
        return Finding("nbdist", f"{found}, installed as {installed}", "note", advice, numbers)
    return Finding("nbdist", found, numbers=numbers)


def needed(requirements: Sequence[str] | None = None, version: Versions = metadata.version) -> Finding:
    """Every package that nbdist cannot do without, and whether its version will do."""
    wanted = list(_requirements(requirements, ""))
    versions, wrong = _compared(wanted, version)
    found = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    if not wanted:
        return Finding("packages", "nbdist is not installed: what it needs is not known", "note", "install it")
    if wrong:
        return Finding(
            "packages", f"{'; '.join(wrong)}; {found}", "fault", "install nbdist once more, which brings them", versions
        )
    return Finding("packages", found, numbers=versions)


def extras(requirements: Sequence[str] | None = None, version: Versions = metadata.version) -> list[Finding]:
    """Each extra, and whether what it brings is installed."""
    found = []
    for extra in get_args(Extra):
        wanted = list(_requirements(requirements, extra))
        if not wanted:
            continue
        versions, wrong = _compared(wanted, version)
        there = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
        name, advice = f"extra {extra}", how_to_get(extra)
        if not there:
            found.append(Finding(name, f"{', '.join(versions)}: not installed", "note", advice, versions))
        elif wrong:
            found.append(Finding(name, f"{'; '.join(wrong)}; {there}", "note", advice, versions))
        else:
            found.append(Finding(name, there, numbers=versions))
    return found


def completion(home: Path | None = None) -> Finding:
    """Whether a shell completes what is typed after `nbdist`."""
    home = user_path("~") if home is None else home
    there = [shell for shell, file in COMPLETIONS.items() if (home / file).is_file()]
    if not there:
        return Finding("completion", "not installed in a shell", "note", "nbdist --install-completion, in the shell")
    return Finding("completion", f"installed for {', '.join(there)}", numbers={"shells": there})


def _requirements(requirements: Sequence[str] | None, extra: str) -> Iterator[Requirement]:
    """What nbdist needs here: without an extra, or with this one beyond that."""
    from packaging.requirements import Requirement

    if requirements is None:
        try:
            requirements = metadata.requires("nbdist") or ()
        except metadata.PackageNotFoundError:
            return
    for text in requirements:
        its = Requirement(text)
        always = its.marker is None or its.marker.evaluate({"extra": ""})
        if (always and not extra) or (extra and not always and its.marker and its.marker.evaluate({"extra": extra})):
            yield its


def _compared(wanted: Sequence[Requirement], version: Versions) -> tuple[dict[str, str | None], list[str]]:
    """The version of each package, None where there is none; and in words those that are missing or too old."""
    versions: dict[str, str | None] = {}
    wrong = []
    for its in wanted:
        try:
            versions[its.name] = version(its.name)
        except metadata.PackageNotFoundError:
            versions[its.name] = None
            wrong.append(f"{its.name} is missing")
            continue
        if not its.specifier.contains(versions[its.name] or "", prereleases=True):
            wrong.append(f"{its.name} is {versions[its.name]}, which needs to be {its.specifier}")
    return versions, wrong
