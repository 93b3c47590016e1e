"""Which file is whose: names as students and learning platforms give them."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tinymtl.course.errors import CourseError

#: Canvas: muellerjana_LATE_123_456_A2-1.ipynb (the account, the upload, the name, the number of the resubmission);
#: Moodle: a folder "Jana Müller_123_assignsubmission_file_" (the participant).
CANVAS = re.compile(r"(?P<name>[^_]+)(?:_LATE)?_(?P<id>\d+)_\d+_.*?(?:-(?P<again>\d+))?")
MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_.*")
ASSIGNMENT = re.compile(r"[Aa]\d")  # nbgrader: submitted/jana/A2/A2.ipynb


@dataclass(frozen=True)
class Owner:
    """What a path says about whose it is; `id` is the platform's number of the student, "" without one."""

    name: str
    id: str = ""
    again: int = 0  # the number of a resubmission


def owner(path: Path) -> Owner:
    """Whose file this is, as far as its name and its folders tell.

    >>> owner(Path("muellerjana_LATE_123_456_A2-2.ipynb"))
    Owner(name='muellerjana', id='123', again=2)
    >>> owner(Path("Jana Müller_77_assignsubmission_file_/solution.ipynb"))
    Owner(name='Jana_Müller', id='77', again=0)
    >>> owner(Path("submitted/jana/A2/A2.ipynb")), owner(Path("jana.ipynb"))
    (Owner(name='jana', id='', again=0), Owner(name='jana', id='', again=0))
    >>> owner(Path("class/A2/jana.ipynb")).name
    'jana'
    """
    for part in (path.parent.name, path.parent.parent.name):
        if moodle := MOODLE.fullmatch(part):
            return Owner(slug(moodle["name"]), moodle["id"])
    if canvas := CANVAS.fullmatch(path.stem):
        return Owner(slug(canvas["name"]), canvas["id"], int(canvas["again"] or 0))
    folder = path.parent.name
    if ASSIGNMENT.fullmatch(folder) and path.stem.upper().startswith(folder.upper()) and path.parent.parent.name:
        return Owner(slug(path.parent.parent.name))
    return Owner(slug(path.stem))


def notebooks(folder: Path) -> list[Path]:
    """The notebooks in a folder and below; not the copies that Jupyter and macOS leave beside them."""
    return sorted(
        path
        for path in folder.rglob("*.ipynb")
        if not any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
    )


def students(paths: Iterable[str | Path]) -> dict[str, Path]:
    """The submissions by student, sorted; of a student's resubmissions the newest.

    A path is a notebook, a folder with notebooks, or a pattern with `*`. A student is called as the file is, or the
    learning platform's folder; files that are called alike by the nearest part of their paths that differs. Names that
    differ only in what a file's name cannot hold everywhere ("a b", "a_b") get numbers.

    Raises
    ------
    CourseError
        For a path that does not exist, none at all, or two uploads of one student of which none is the newer.
    """
    found: dict[Path, Path] = {}
    for given in paths:
        matches = [Path(given)]
        if not matches[0].exists() and not matches[0].is_symlink():  # Windows hands patterns over as they are
            matches = [Path(match) for match in sorted(glob.glob(str(given), recursive=True))]
        if not matches:
            raise CourseError(f"there is no submission {str(given)!r}: give notebooks, such as submissions/*.ipynb")
        for match in matches:
            folder = match.is_dir() and match.suffix != ".ipynb"
            found.update((path.absolute(), path) for path in (notebooks(match) if folder else [match]))
    if not found:
        raise CourseError("there are no submissions: give at least one notebook, such as submissions/*.ipynb")
    owners = {path: owner(path) for path in found.values()}
    alike: dict[str, list[Path]] = {}
    for path, one in owners.items():
        if not one.id:
            alike.setdefault(one.name, []).append(path)
    for paths_alike in alike.values():
        if len(paths_alike) > 1:
            owners |= _told_apart(paths_alike)
    named: dict[str, tuple[Owner, Path]] = {}
    for path, one in owners.items():
        if not one.id:
            number = next(n for n in count(1) if _numbered(one.name, n) not in named)
            one = Owner(_numbered(one.name, number))
        if one.id and len({other.id for other in owners.values() if other.name == one.name}) > 1:
            one = Owner(f"{one.name}_{one.id}", one.id, one.again)  # two students of one name
        before = named.get(one.name)
        if before is None or _age(one, path) > _age(*before):
            named[one.name] = one, path
        elif _age(one, path) == _age(*before):
            raise CourseError(f"two submissions are of {one.name!r}: {before[1].name} and {path.name}; rename one")
    return {name: path for name, (_, path) in sorted(named.items())}


def _told_apart(paths: Sequence[Path]) -> dict[Path, Owner]:
    """Owners of files that are called alike: by the nearest part of their absolute paths in which they differ."""
    parts = [(path.stem, *(folder.name for folder in path.absolute().parents)) for path in paths]
    for level in zip(*parts, strict=False):
        if len(set(level)) == len(paths):
            return {path: Owner(slug(part)) for path, part in zip(paths, level, strict=True)}
    return {path: Owner(slug(path.stem)) for path in paths}


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}_{number}"


def _age(one: Owner, path: Path) -> tuple[int, float]:
    return one.again, path.lstat().st_mtime


def slug(name: str) -> str:
    """A name that is safe as a file's name on every system.

    >>> slug("Jörg (2)\\n"), slug("J\\udcf6rg"), slug("..")
    ('Jörg_2', 'J_rg', 'unnamed')
    """
    return re.sub(r"[^\w.-]+", "_", name).strip("._-")[:80] or "unnamed"
