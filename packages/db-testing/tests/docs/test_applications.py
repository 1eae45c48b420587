"""The examples of docs/applications.md are complete, and do what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[4] / "docs/applications.md").read_text()
TITLES = re.findall(r"^## (.*)$", PAGE, flags=re.MULTILINE)
OPTIONS = (
    "-p no:hypothesispytest -W error"
    " -W 'ignore:The configuration option:pytest.PytestDeprecationWarning'"  # pytest-asyncio's
)
INI = """
[tool.pytest.ini_options]
pythonpath = ["."]
"""


@pytest.mark.parametrize("title", TITLES)
def test_example(title: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """An example's files stand in its section, each under its name, and its tests pass."""
    monkeypatch.setenv("PYTEST_ADDOPTS", OPTIONS)
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    (pytester.path / "pyproject.toml").write_text(INI)
    for name, text in re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", section, re.DOTALL):
        (pytester.path / name).write_text(text)
    result = pytester.runpytest_subprocess()
    assert result.parseoutcomes() == {"passed": 2}
    result.stdout.fnmatch_lines(["db-testing: 2 database tests,*"])


def test_there_are_examples() -> None:
    """Both frameworks have an example of each way."""
    assert [title.partition(":")[0] for title in TITLES] == 2 * ["FastAPI"] + 2 * ["Litestar"]
