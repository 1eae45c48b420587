"""A marker gets into the source of a test module, and nothing else changes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db_testing._plugin import _marked_source

TEST = ("test_a",)
METHOD = ("TestA", "test_a")

CASES = {
    "no decorator": (
        TEST,
        """\
          import pytest


        + @pytest.mark.db(isolation="commit")
          async def test_a():
              pass
        """,
    ),
    "after other decorators, before comments on the function": (
        TEST,
        """\
          import pytest

          # above
          @pytest.mark.skip  # why

          # between
          @pytest.mark.parametrize("n", [1,
            2])
        + @pytest.mark.db(isolation="commit")
          # on test_a
          def test_a(n) : pass
        """,
    ),
    "a method, tabs": (
        METHOD,
        """\
          import pytest
          class TestA:
          \tx = 1

        + \t@pytest.mark.db(isolation="commit")
          \tdef test_a(self):
          \t\tpass
        """,
    ),
    "a class in a class, one method of two": (
        ("TestA", "TestB", "test_a"),
        """\
          import pytest
          class TestA:
            class TestB:
        +     @pytest.mark.db(isolation="commit")
              def test_a(self): pass
            def test_a(self): pass
        """,
    ),
    "pytestmark stays": (
        METHOD,
        """\
          import pytest
          pytestmark = pytest.mark.db(isolation="rollback")
          class TestA:
              pytestmark = [pytest.mark.db(isolation="rollback")]
        +     @pytest.mark.db(isolation="commit")
              async def test_a(self): pass
        """,
    ),
    "a marker is replaced": (
        TEST,
        """\

          import pytest
        - @pytest.mark.db(isolation="rollback")
        + @pytest.mark.db(isolation="commit")
          @pytest.mark.skip
          def test_a(): pass
        """,
    ),
    "a marker keeps its look": (
        TEST,
        """\
          from pytest import mark as m
          @m.db (  # rows
        -   isolation = 'rollback',
        +   isolation = 'commit',
          )  # why
          def test_a(): pass
        """,
    ),
    "a marker imported in a try": (
        TEST,
        """\
          try:
              import pytest
          finally:
              pass
        - @pytest.mark.db(isolation="rollback")
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "of two markers the closest holds": (
        TEST,
        """\
          import pytest
          @pytest.mark.db(isolation="database")
        - @pytest.mark.db(isolation="rollback")
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "keywords in a dictionary": (
        TEST,
        """\
          import pytest
          HOW = {"isolation": "rollback"}
        - @pytest.mark.db(**HOW)
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "an isolation kept under a name": (
        TEST,
        """\
          import pytest
          HOW = "rollback"
        - @pytest.mark.db(isolation=HOW)
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "no call": (
        TEST,
        """\
          import pytest
        - @pytest.mark.db
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "a marker kept under a name": (
        TEST,
        """\
          import pytest
          plain = pytest.mark.db(isolation="rollback")
          @plain
          def test_b(): pass
        - @plain  # why
        + @pytest.mark.db(isolation="commit")  # why
          @pytest.mark.skip
          def test_a(): pass
        """,
    ),
    "the maker of markers kept under a name": (
        TEST,
        """\
          import pytest
          mark = pytest.mark
          db = mark.db
        - @db(isolation="rollback")
        + @db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "a right marker kept under a name": (
        TEST,
        """\
          import pytest
          c = pytest.mark.db(isolation="commit")
          @c
          def test_a(): pass
        """,
    ),
    "another thing called db": (
        TEST,
        """\
          import pytest
          def db(**_): return lambda test: test
          @db(isolation="rollback")
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "defined twice": (
        TEST,
        """\
          import pytest
          def test_a(): pass
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "class defined twice": (
        METHOD,
        """\
          import pytest
          class TestA:
            def test_a(self): pass
          class TestA:
        +   @pytest.mark.db(isolation="commit")
            def test_a(self): pass
        """,
    ),
    "either branch of an if": (
        TEST,
        """\
          import pytest
          def test_a(): pass
          if pytest:
        +     @pytest.mark.db(isolation="commit")
              def test_a(): pass
          elif 2:
        +     @pytest.mark.db(isolation="commit")
              def test_a(): pass
          else:
        +     @pytest.mark.db(isolation="commit")
              def test_a(): pass
        """,
    ),
    "an if that may not run": (
        TEST,
        """\
          import pytest
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
          if not pytest:
        +     @pytest.mark.db(isolation="commit")
              def test_a(): pass
        """,
    ),
    "the handler of a try": (
        TEST,
        """\
          import pytest
          try:
              import nothing_of_this_name
          except ImportError:
        +     @pytest.mark.db(isolation="commit")
              def test_a(): pass
        """,
    ),
    "pytest under another name": (
        TEST,
        """\
          import pytest as pt, os
        + @pt.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "mark imported": (
        TEST,
        """\
          from pytest import mark, raises
        + @mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "pytest rather than mark": (
        TEST,
        """\
          from pytest import mark
          import pytest
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "mark is a fixture by now": (
        TEST,
        """\
        + import pytest
          from pytest import mark, fixture
          @fixture
          def mark(): pass
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "pytest for type checkers only": (
        TEST,
        """\
          from typing import TYPE_CHECKING
        +
        + import pytest

          if TYPE_CHECKING:
              import pytest


        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "pytest imported too late": (
        TEST,
        """\
        + import pytest
        +
        +
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
          import pytest
        """,
    ),
    "import below a docstring": (
        TEST,
        """\
          '''Docs.'''

        + import pytest

        +
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "import below __future__, blank lines added": (
        TEST,
        """\
          '''Docs.'''
          from __future__ import annotations
        +
        + import pytest
        +
        +
          # on test_a
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "import below the standard library's": (
        TEST,
        """\
          from __future__ import annotations

          import os
          from json import loads  # why

        + import pytest
        +
          X = 1
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "import below the standard library's last, wherever it is": (
        TEST,
        """\
          import os

          import httpx
          import sqlalchemy
          from httpx import URL

          import json
        +
        + import pytest
        +
        +
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "import between modules": (
        TEST,
        """\
          import os

          import httpx
        + import pytest
          import sqlalchemy
          from httpx import URL


        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "import before names of modules, comments stay with theirs": (
        TEST,
        """\
          import os

        + import pytest
          # of httpx
          from httpx import (
              URL,
          )


        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "import below comments on top": (
        TEST,
        """\
          #!/usr/bin/env python
          # -*- coding: utf-8 -*-

        + import pytest
        +
        +
          # on test_a
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
    "import below a comment that may be the module's": (
        TEST,
        """\
          # (c) somebody
        +
        + import pytest
        +
        +
        + @pytest.mark.db(isolation="commit")
          def test_a(): pass
        """,
    ),
}
"""Changes of a module's lines: those with a plus come, those with a minus go."""


def sides(change: str) -> tuple[str, str]:
    """Return a module before and after a change."""
    lines = [line[8:] or " " for line in change.splitlines()[:-1]]
    before, after = ([line[2:] for line in lines if line[0] != sign] for sign in "+-")
    return "\n".join([*before, ""]), "\n".join([*after, ""])


def marked(before: str | bytes, names: tuple[str, ...], isolation: str = "commit") -> bytes:
    """Return a module with one marker."""
    source = before.encode() if isinstance(before, str) else before
    after, missing = _marked_source.marked(_marked_source.read(source), {names: isolation})
    assert not missing
    return after


@pytest.mark.parametrize(("names", "change"), CASES.values(), ids=CASES.keys())
def test_source(names: tuple[str, ...], change: str) -> None:
    """The marker stands where it belongs, once, and all else is as it was."""
    before, after = sides(change)
    assert marked(before, names).decode() == after
    assert marked(after, names).decode() == after


@pytest.mark.parametrize(("names", "change"), CASES.values(), ids=CASES.keys())
def test_pytest_agrees(pytester: pytest.Pytester, names: tuple[str, ...], change: str) -> None:
    """For the test that pytest collects, the marker is the one that holds."""
    path = pytester.path / "test_it.py"
    path.write_bytes(marked(sides(change)[0], names))
    items, _ = pytester.inline_genitems("-p", "no:asyncio", path)
    item = next(item for item in items if item.nodeid.partition("[")[0].split("::")[1:] == [*names])
    marker = item.get_closest_marker("db")
    assert marker is not None
    assert marker.kwargs == {"isolation": "commit"}


MISSING = {
    "inherited": (METHOD, "class TestB:\n  def test_a(self): pass\nclass TestA(TestB): pass\n"),
    "imported": (TEST, "from json import loads as test_a\n"),
    "a class of this name": (TEST, "class test_a: pass\n"),
    "a function of this name": (METHOD, "def TestA(): pass\n"),
    "in a function": (TEST, "def make():\n    def test_a(): pass\n    return test_a\n"),
}


@pytest.mark.parametrize(("names", "source"), MISSING.values(), ids=MISSING.keys())
def test_missing(names: tuple[str, ...], source: str) -> None:
    """A test that is not defined in the module is named, and the others get their markers."""
    module = _marked_source.read(f"{source}def test_z(): pass\n".encode())
    after, missing = _marked_source.marked(module, {names: "commit", ("test_z",): "database"})
    assert missing == [names]
    assert after.count(b"@pytest.mark.db") == 1
    assert after.endswith(b'@pytest.mark.db(isolation="database")\ndef test_z(): pass\n')


ADDITION = re.compile(rb"\s*@[a-z.]+\.db\(isolation=\)\s*|import pytest\s*|\s*")
ISOLATION = re.compile(rb"(\.db\( ?isolation ?= ?)['\"][a-z]+['\"]")


def assert_only_added(before: bytes, after: bytes) -> None:
    """All of a module is still there; what was added are markers, an import and empty lines."""
    rest = ISOLATION.sub(rb"\1", before).splitlines(keepends=True)
    for line in ISOLATION.sub(rb"\1", after).splitlines(keepends=True):
        if rest and line == rest[0]:
            rest.pop(0)
        else:
            assert ADDITION.fullmatch(line), line
    assert not rest


BYTES = {
    "tabs": b"class TestA:\n\tx = 1\n\n\tdef test_a(self):\n\t\tpass\ndef test_a():\n\tpass\n",
    "CRLF and no end of the last line": b"import os\r\n\r\ndef test_a():\r\n    '''a\r\n    '''",
    "byte order mark": b"\xef\xbb\xbf# \xc3\xa9\ndef test_a(): pass\n",
    "latin-1": b"# -*- coding: latin-1 -*-\n\nX = '\xe9'\n\n\ndef test_a(): pass\n",
    "mixed ends of lines": b"X = 1\r\nY = '''\n'''\n\r\ndef test_a():\n    pass\r\n",
    "odd spaces": b"X = 1 \n\t\n\n  # odd\nif X :\n  def test_a():\n        pass \n \n#end",
    "continued lines": b"X = \\\n 1 ;\n@ ( lambda t :\\\n t )\ndef test_a(): pass ;  # end\n",
    "a form feed on a line of its own": b"X = 1\n\x0c\ndef test_a(): pass\n",
}


@pytest.mark.parametrize("before", BYTES.values(), ids=BYTES.keys())
def test_bytes(before: bytes) -> None:
    """Whatever its encoding and layout, a module keeps all the bytes it had, in their order."""
    after = marked(before, TEST)
    compile(after, "test_it.py", "exec")
    assert after.count(b'@pytest.mark.db(isolation="commit")') == 1
    assert_only_added(before, after)
    assert marked(after, TEST) == after


PYTEST = {
    "import pytest": "pytest.mark",
    "import os, pytest as pt": "pt.mark",
    "from pytest import fixture, mark": "mark",
    "import pytest\nmark = pytest.mark": "mark",
    "try:\n    import pytest\nfinally:\n    pass": "pytest.mark",
}
"""Ways to import pytest, and what `pytest.mark` is called then."""

PREAMBLES = ("", "#!/bin/python\n", "# c\n\n", '"""Docs."""\n', "'Docs';\n# c\n\n", "\n\n")
IMPORTS = (
    "import os\n",
    "import json as j, re\n",
    "from os import (  # c\n    path,\n)\n",
    "\nimport httpx\n",
    "import sqlalchemy; Y = 2\n",
    "# of httpx\nfrom httpx import URL\n",
    "\n# section\n\nfrom sqlalchemy import text\n",
    "X = 1\n",
)
NAMES = ("test_a", "test_b")


@st.composite
def functions(draw: st.DrawFn, mark: str | None, indent: str) -> str:
    """Draw a test function with its decorators and what stands around them."""
    decorators = ["@plain", "@plain  # c", "# c", "", "@ (plain)"]
    if mark:
        decorators += [f"@{mark}.db(isolation='rollback')", f'@{mark}.db( isolation = "commit" )']
        decorators += [f"@{mark}.skip"]
    lines = draw(st.lists(st.sampled_from(decorators), max_size=3))
    lines.append(f"{draw(st.sampled_from(['', 'async ']))}def {draw(st.sampled_from(NAMES))}(*_):")
    lines.append(draw(st.sampled_from(["    pass", "\t'''d\n  '''", " 1;", "  \n  #c\n  return"])))
    return "".join(f"{indent}{line}\n" if line else "\n" for line in "\n".join(lines).split("\n"))


@st.composite
def blocks(draw: st.DrawFn, mark: str | None) -> str:
    """Draw functions of a module, or of a class, or of either branch of a condition."""
    indent = draw(st.sampled_from(["  ", "\t", "    "]))
    inner = functions(mark, indent)
    block: str = draw(
        st.one_of(
            functions(mark, ""),
            st.builds("class TestA:\n{}{}".format, inner, inner),
            st.builds("if plain:\n{}else:\n{}".format, inner, inner),
            st.builds("if not plain:\n{}".format, inner),
            st.builds("try:\n{}finally:\n  pass\n".format, inner),
            st.sampled_from(["\n\n", "# c\n", "Z = '''\n\n'''\n"]),
        )
    )
    return block


@st.composite
def modules(draw: st.DrawFn) -> bytes:
    """Draw a test module."""
    spelling = draw(st.none() | st.sampled_from([*PYTEST]))
    imports = draw(st.lists(st.sampled_from(IMPORTS), max_size=4))
    if spelling:
        imports.insert(draw(st.integers(0, len(imports))), f"{spelling}\n")
    future = draw(st.sampled_from(["", "from __future__ import annotations\n"]))
    body = draw(st.lists(blocks(PYTEST[spelling] if spelling else None), max_size=5))
    late = draw(st.sampled_from(["", "import pytest\n", "# end"]))
    parts = [draw(st.sampled_from(PREAMBLES)), future, *imports, "def plain(test): return test\n"]
    source = "".join([*parts, *body, late])
    if draw(st.booleans()):
        source = source.removesuffix("\n")
    return source.replace("\n", draw(st.sampled_from(["\n", "\r\n"]))).encode()


def markers(source: bytes) -> dict[tuple[str, ...], list[tuple[str, Any]]]:
    """Run a module; return the markers of its tests, the closest first."""
    scope: dict[str, Any] = {"__name__": "it"}
    code = compile(source, "test_it.py", "exec", dont_inherit=True)
    exec(code, scope)  # noqa: S102  # a module drawn above
    found: dict[tuple[str, ...], Any] = {(name,): scope[name] for name in NAMES if name in scope}
    members = vars(scope["TestA"]) if "TestA" in scope else {}
    found |= {("TestA", name): members[name] for name in NAMES if name in members}
    return {
        names: [(mark.name, mark.kwargs) for mark in getattr(test, "pytestmark", [])]
        for names, test in found.items()
    }


@settings(deadline=None)
@given(before=modules(), data=st.data())
def test_any_module(before: bytes, data: st.DataObject) -> None:
    """The tests that moved are marked and no others; all other bytes stay; twice is as once."""
    markers_before = markers(before)
    tests = st.sampled_from(sorted(markers_before)) if markers_before else st.nothing()
    wanted = data.draw(st.dictionaries(tests, st.sampled_from(["commit", "database"])))
    after, missing = _marked_source.marked(_marked_source.read(before), wanted)
    assert not missing
    assert_only_added(before, after)
    assert _marked_source.marked(_marked_source.read(after), wanted) == (after, [])
    markers_after = markers(after)
    for names, isolation in wanted.items():
        now, was = markers_after.pop(names), markers_before.pop(names)
        assert next(kwargs for name, kwargs in now if name == "db") == {"isolation": isolation}
        assert len(now) == len(was) + ("db" not in dict(was))
    assert markers_after == markers_before
