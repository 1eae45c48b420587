"""What `moon generate` writes is a working part of the workspace once it is adopted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import adopt
import pytest
import tomlkit

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 600.0  # seconds for everything that moon runs in a fresh workspace
OF_THIS_RUN = ("COVERAGE_", "COV_", "PYTEST_", "MOON_", "VIRTUAL_ENV")


def clone(target: Path) -> None:
    """Copy the workspace as it is, changes included, as a repository of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():  # else it is deleted, and not yet committed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    if (ROOT / ".tools").is_dir():  # moon and uv, where they had to be fetched
        (target / ".tools").symlink_to(ROOT / ".tools")
    known = ROOT / ".mypy_cache" / "backend"
    if known.is_dir():  # half a minute of reading what both import
        shutil.copytree(known, target / ".mypy_cache" / "order-desk")
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "All"]):
        subprocess.run(["git", *identity, *command], cwd=target, check=True)  # noqa: S607


def moon(workspace: Path, *arguments: str) -> str:
    """Run moon as a newcomer does, and return what it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OF_THIS_RUN)}
    process = subprocess.Popen(
        ["./moonw", *arguments],
        cwd=workspace,
        env=kept,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # moon's tasks too
        process.communicate()
        raise
    assert process.returncode == 0, said
    return said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_generated_projects_pass_at_once(tmp_path: Path) -> None:
    """Tests, style, types, imports and the fuzzer pass, and the owners are written down."""
    clone(tmp_path)
    moon(tmp_path, "generate", "backend", "--", "--name", "order-desk", "--owner", "@acme/orders")
    moon(tmp_path, "generate", "library", "--", "--name", "price-rules", "--owner", "@acme/prices")
    moon(tmp_path, "run", "root:adopt", "--", "order-desk", "price-rules")
    checks = ("test-execution", "lint", "format-check", "typecheck")
    targets = [f"{name}:{check}" for name in ("order-desk", "price-rules") for check in checks]
    said = moon(tmp_path, "run", "root:imports", "order-desk:fuzz", *targets)
    for task in ("order-desk:test-execution", "price-rules:test-execution", "order-desk:fuzz"):
        assert any(
            line.startswith(task) and " passed in " in line
            for line in map(str.strip, said.splitlines())
        ), said
    owners = (tmp_path / ".github" / "CODEOWNERS").read_text(encoding="utf-8").splitlines()
    assert "/apps/order-desk/**/* @acme/orders" in owners
    assert "/packages/price-rules/**/* @acme/prices" in owners
    before = (tmp_path / "pyproject.toml").read_text(encoding="utf-8")
    moon(tmp_path, "run", "root:adopt", "--", "order-desk", "price-rules")
    assert (tmp_path / "pyproject.toml").read_text(encoding="utf-8") == before, "adopted twice"


@pytest.mark.parametrize("kind", ["apps", "packages"])
def test_an_adopted_project_is_measured_and_its_imports_are_checked(kind: str) -> None:
    """An application gets contracts of its own; a library is there to be imported."""
    document = tomlkit.parse((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    adopt.configure(document, adopt.Project(Path(kind, "order-desk"), "order_desk"))
    tool = document.unwrap()["tool"]
    assert f"{kind}/order-desk/src" in tool["coverage"]["run"]["source"]
    assert "order_desk" in tool["importlinter"]["root_packages"]
    named = [
        contract["id"]
        for contract in tool["importlinter"]["contracts"]
        if {"order_desk", "order_desk.*"}
        & {*contract.get("modules", []), *contract.get("containers", [])}
    ]
    contracts = ["applications-know-no-test", "order-desk-domain-layers"]
    assert named == (contracts if kind == "apps" else [])


def test_comments_are_kept() -> None:
    """Nothing but the new project's lines is changed in pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    document = tomlkit.parse(text)
    adopt.configure(document, adopt.Project(Path("packages", "price-rules"), "price_rules"))
    removed = set(text.splitlines()) - set(tomlkit.dumps(document).splitlines())
    assert {line.split(" = ")[0] for line in removed} == {"source", "root_packages"}


def test_a_project_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error says where it was looked for and how to generate it."""
    with pytest.raises(adopt.AdoptionError, match=r"no project 'order-desk'.*apps/order-desk.*gen"):
        adopt.main(["order-desk"], tmp_path)


def test_a_project_without_a_package_is_refused(tmp_path: Path) -> None:
    """What import-linter could not find, it is not given."""
    (tmp_path / "apps" / "order-desk").mkdir(parents=True)
    (tmp_path / "apps" / "order-desk" / "pyproject.toml").touch()
    with pytest.raises(adopt.AdoptionError, match="must hold one package"):
        adopt.main(["order-desk"], tmp_path)


def test_no_name_is_no_order() -> None:
    """Called without a project it says how it is called."""
    with pytest.raises(adopt.AdoptionError, match="root:adopt -- order-desk"):
        adopt.main([])
