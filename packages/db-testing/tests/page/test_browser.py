"""The report in a real browser: headless Chromium, which `.ci/run` installs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import sync_playwright

from db_testing._report import _page, _results
from db_testing._report._results import Query, Remark, Replaced, Report, Result, Run, Statement

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = "<script>document.title = 'run'</script>"


def shard(number: int) -> Report:
    """Return what one of two machines has reported: two workers, one of which idles."""
    run = Run(f"r{number}", f"{number}/2", f"host{number}", "server", None, 0, 2.0, 4, 0.1)
    sent = Statement("q", "app/orders.py:12", 7, 0.07, 0.02)
    tests = [
        Result(
            test=f"tests/test_{number}.py::test_{position}",
            run=run.run,
            worker=f"gw{position % 2}",
            outcome="failed" if position == 3 else "passed",
            isolation="rollback",
            seconds=(position + 1) / 10,
            setup_seconds=0.02,
            teardown_seconds=0.01,
            isolation_seconds=0.005,
            started=1000.0 * number + position / 2,
            statements=(sent,) if position == 1 else (),
        )
        for position in range(4)
    ]
    return Report(
        runs=(run,),
        tests=tuple(tests),
        moved=(Remark(tests[0].test, "LISTEN"),),
        leaks=(Remark(tests[1].test, HOSTILE),),
        replaced=(Replaced("DDL", 1),),
        queries={"q": Query(f"SELECT '{HOSTILE}' FROM orders", ("orders",))},
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the browser; without one this fails, so that nobody takes a skip for a success."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("no chromium in PATH: apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """Open the merged report of two machines."""
    merged = _results.merge([("1", shard(1)), ("2", shard(2))])
    _page.write(merged, tmp_path / "report.html")
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    address = (tmp_path / "report.html").as_uri()
    page.goto(address)
    yield page
    assert asked == [address]
    assert said == []
    context.close()


def names(page: Page) -> list[str]:
    """Return the first column of the tests that are shown."""
    rows = page.locator("#every-test tbody tr:visible th").all_inner_texts()
    return [row.rpartition("::")[2] for row in rows]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible(page: Page, scheme: str) -> None:
    """Axe finds nothing, contrast included; each scheme has colours of its own."""
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]


def test_tables_are_sorted_by_keyboard(page: Page) -> None:
    """A head's button takes the focus, visibly, and Enter sorts: numbers as numbers, and back."""
    button = page.locator("#every-test").get_by_role("button", name="Total")
    button.focus()
    page.keyboard.press("Enter")
    assert names(page)[:2] == ["test_3", "test_3"]
    assert page.locator("#every-test th[aria-sort]").get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")
    assert names(page)[:2] == ["test_0", "test_0"]
    assert "Sorted by Total, ascending." in page.get_by_role("status").inner_text()
    assert button.evaluate("each => getComputedStyle(each).outlineStyle") == "solid"


def test_tests_are_found_by_name(page: Page) -> None:
    """What is typed leaves the tests that have it, and their number is said."""
    page.get_by_role("searchbox").fill("test_2.py::test_1")
    assert names(page) == ["test_1"]
    assert page.get_by_role("status").inner_text() == "1 tests are shown."


def test_timeline_tells_who_idled(page: Page) -> None:
    """Each worker of each machine has a lane, whose name says what its picture shows."""
    lanes = page.get_by_role("img").all()
    said = [lane.get_attribute("aria-label") or "" for lane in lanes]
    assert said[0] == "gw0, 1/2 on host1: 2 tests, busy 0.40 s, idle 1.50 s of 1.90 s"
    assert len(said) == 4


def test_what_tests_send_is_text(page: Page) -> None:
    """A statement that holds a script is shown, not run: escaped, and forbidden by the policy."""
    assert page.title() == "Test report"
    assert HOSTILE in page.locator("section[aria-labelledby=slowest]").inner_text()
    policy = page.locator("meta[http-equiv]").get_attribute("content") or ""
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
