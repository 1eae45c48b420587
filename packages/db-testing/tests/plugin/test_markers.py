"""Markers are written into the test modules of a project, and into no other file."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from db_testing._plugin import _markers
from db_testing._plugin._markers import Move
from db_testing.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = "import pytest\n\n\ndef test_a():\n    pass\n"
AFTER = 'import pytest\n\n\n@pytest.mark.db(isolation="{}")\ndef test_a():\n    pass\n'


def module(path: Path, source: str = BEFORE) -> Path:
    """Write a test module."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return path


def move(path: Path, isolation: str = "commit") -> Move:
    """Return a move of the one test that modules have."""
    return Move(path, ("test_a",), isolation)


def assert_left(reason: str, path: Path, root: Path) -> None:
    """A module stays as it is, and the plan says why."""
    before = path.read_bytes() if path.exists() else None
    plan = _markers.plan([move(path)], root=root)
    assert [left.move for left in plan.left] == [move(path)]
    assert reason in plan.left[0].reason
    assert plan.write() == _markers.write([move(path)], root=root) == []
    assert before == (path.read_bytes() if path.exists() else None)


def test_write(tmp_path: Path) -> None:
    """The modules that changed are returned; a second time there is nothing to change."""
    one, two = module(tmp_path / "one.py"), module(tmp_path / "sub" / "two.py")
    moves = [move(two, "database"), move(one.relative_to(tmp_path))]
    assert _markers.write(moves, root=tmp_path) == [one, two]
    assert (one.read_text(), two.read_text()) == (AFTER.format("commit"), AFTER.format("database"))
    assert _markers.write(moves, root=tmp_path) == []


@pytest.mark.parametrize("order", [1, -1])
def test_parameters(tmp_path: Path, order: int) -> None:
    """A test whose parameters moved has one marker, with the isolation that does for them all."""
    path = module(tmp_path / "test_it.py")
    moves = [move(path, "commit"), move(path, "database")][::order]
    assert _markers.write(moves, root=tmp_path) == [path]
    assert path.read_text() == AFTER.format("database")


def test_outside(tmp_path: Path) -> None:
    """A module outside of the root is left alone, also where a link in the root leads to it."""
    root = tmp_path / "root"
    outside = module(tmp_path / "outside" / "test_it.py")
    root.mkdir()
    (root / "link.py").symlink_to(outside)
    (root / "folder").symlink_to(outside.parent)
    for path in (outside, root / "link.py", root / "folder" / outside.name):
        assert_left(f"{outside} is outside of {root}", path, root)


def test_a_link_within(tmp_path: Path) -> None:
    """A link from one place in the root to another stays a link; what it leads to is written."""
    path = module(tmp_path / "test_it.py")
    link = tmp_path / "link.py"
    link.symlink_to(path)
    assert _markers.write([move(link)], root=tmp_path) == [path]
    assert link.is_symlink()
    assert path.read_text() == AFTER.format("commit")


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_installed(tmp_path: Path, folder: str) -> None:
    """Tests of an installed package are left alone, though it may be installed in the root."""
    path = module(tmp_path / ".venv" / "lib" / folder / "package" / "test_it.py")
    assert_left("belongs to an installed package", path, tmp_path)


def test_read_only(tmp_path: Path) -> None:
    """A module that is read-only stays as it is, for root as well."""
    path = module(tmp_path / "test_it.py")
    path.chmod(0o444)
    assert_left(f"{path} is not to be written to", path, tmp_path)


@pytest.mark.parametrize("name", ["test_it.txt", "absent.py", "folder.py"])
def test_no_module(tmp_path: Path, name: str) -> None:
    """What is no Python file is not read."""
    module(tmp_path / "test_it.txt")
    (tmp_path / "folder.py").mkdir()
    plan = _markers.plan([move(tmp_path / name)], root=tmp_path)
    assert plan.files == {}
    assert "is no Python file" in plan.left[0].reason


def test_no_such_test(tmp_path: Path) -> None:
    """A test that its module does not define is named with what to do; others get markers."""
    path = module(tmp_path / "test_it.py")
    inherited = Move(path, ("TestA", "test_a"), "commit")
    plan = _markers.plan([inherited, move(path)], root=tmp_path)
    assert [left.move for left in plan.left] == [inherited]
    assert f"{path} defines no TestA.test_a" in plan.left[0].reason
    assert plan.write() == [path]


@pytest.mark.parametrize("source", [f"\f{BEFORE}", f"{BEFORE}X = 1\r"])
def test_bytes_that_would_be_lost(tmp_path: Path, source: str) -> None:
    """A module that libcst does not give back as it was is left alone."""
    path = tmp_path / "test_it.py"
    path.write_bytes(source.encode())
    assert_left("would not stay as it is", path, tmp_path)


@pytest.mark.parametrize(
    "source",
    [b"def test_a(:\n", b"# coding: nothing\n", b"X = '\xff'\n", b"X = 1\0\n"],
    ids=["syntax", "unknown encoding", "wrong encoding", "null"],
)
def test_no_python(tmp_path: Path, source: bytes) -> None:
    """A module that is no Python is named, and no other is written."""
    good, bad = module(tmp_path / "a.py"), tmp_path / "b.py"
    bad.write_bytes(source)
    with pytest.raises(SetupError, match=rf"No marker has been written.*: {bad} cannot be read"):
        _markers.write([move(good), move(bad)], root=tmp_path)
    assert good.read_text() == BEFORE


def test_mode(tmp_path: Path) -> None:
    """A module keeps its mode; nothing else is left in its folder."""
    path = module(tmp_path / "test_it.py")
    path.chmod(0o751)
    assert _markers.write([move(path)], root=tmp_path) == [path]
    assert path.stat().st_mode & 0o7777 == 0o751
    assert os.listdir(tmp_path) == ["test_it.py"]  # noqa: PTH208  # names


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_owner(tmp_path: Path) -> None:
    """Root, as in a container, leaves a module to its owner."""
    path = module(tmp_path / "test_it.py")
    os.chown(path, 12345, 12346)
    assert _markers.write([move(path)], root=tmp_path) == [path]
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)


def test_all_or_nothing(tmp_path: Path) -> None:
    """When one module cannot be written the others are as they were, and nothing is left."""
    one, two = module(tmp_path / "one.py"), module(tmp_path / "two.py")
    plan = _markers.plan([move(one), move(two)], root=tmp_path)
    two.unlink()
    with pytest.raises(FileNotFoundError, match=r"two\.py"):
        plan.write()
    assert one.read_text() == BEFORE
    assert os.listdir(tmp_path) == ["one.py"]  # noqa: PTH208  # names


def test_no_reader_sees_half_a_module(tmp_path: Path) -> None:
    """A module is replaced, not written over: who has it open reads what it was."""
    path = module(tmp_path / "test_it.py")
    with path.open() as file:
        assert _markers.write([move(path)], root=tmp_path) == [path]
        assert file.read() == BEFORE


def test_without_libcst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where libcst is not installed the error says how to install it; nothing is written."""
    monkeypatch.setitem(sys.modules, "libcst", None)
    path = module(tmp_path / "test_it.py")
    with pytest.raises(SetupError, match=r'pip install "db-testing\[explain\]"'):
        _markers.write([move(path)], root=tmp_path)
    assert path.read_text() == BEFORE


def test_libcst_is_not_imported_in_vain() -> None:
    """A run that writes no marker does not pay for the import of libcst."""
    program = (
        "import sys, pathlib, db_testing.plugin; from db_testing._plugin import _markers\n"
        "assert _markers.write([], root=pathlib.Path()) == []\n"
        "assert 'libcst' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
