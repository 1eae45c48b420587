"""Draw what was found last: SVG and PNG, for light and dark pages, into docs/images.

moon run benchmarks:plots
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import results

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.axes import Axes

IMAGES: Final = Path(__file__).parents[1] / "docs" / "images"
OURS: Final = "#2f81f7"
OTHERS: Final = "#8b949e"
FLOOR_COLOUR: Final = "#3fb950"
INK: Final[Mapping[str, str]] = {"light": "#1f2328", "dark": "#e6edf3"}
TABLES: Final = 50
"""In the schema of the tests whose isolation is drawn."""
SERIES: Final[Mapping[str, str]] = {
    "db-testing rollback": OURS,
    "db-testing commit": FLOOR_COLOUR,
    "TRUNCATE of every table": OTHERS,
}


def isolation(result: results.Result, axes: Axes) -> None:
    """Draw what a test takes with each isolation; tenfold from line to line."""
    rows = [
        row
        for row in result.rows
        if row["tables"] == TABLES and "ms" in row and "Django" not in name(row)
    ]
    rows.sort(key=lambda row: -row["ms"])
    colours = {"db-testing": OURS, "nothing": FLOOR_COLOUR}
    bars = axes.barh(
        [name(row) for row in rows],
        [row["ms"] for row in rows],
        color=[
            next((colours[own] for own in colours if name(row).startswith(own)), OTHERS)
            for row in rows
        ],
    )
    axes.set_xscale("log")
    axes.bar_label(bars, [f"{row['ms']:.3g} ms" for row in rows], padding=3)
    axes.margins(x=0.15)
    axes.set_title(f"What a test takes with each isolation, {TABLES} tables, in ms")


def headline(result: results.Result, axes: Axes) -> None:
    """Draw how long the suite takes, one test after the other."""
    rows = [row for row in result.rows if row["mode"] == "sequential" and row["mix"] == "uniform"]
    rows.sort(key=lambda row: -row["seconds"])
    bars = axes.barh(
        [row["variant"] for row in rows],
        [row["seconds"] for row in rows],
        color=[OURS if row["variant"].startswith("db-testing") else OTHERS for row in rows],
    )
    axes.bar_label(bars, [f"{row['seconds']:.1f} s" for row in rows], padding=3)
    axes.margins(x=0.15)
    axes.set_title("838 tests over 50 tables, one after the other, in s")


def scale(result: results.Result, axes: Axes) -> None:
    """Draw what isolation adds to a test, over the number of tables."""
    for isolation_name, colour in SERIES.items():
        points = sorted(
            (row["value"], row["over_floor_ms"])
            for row in result.rows
            if row["over"] == "tables" and row["isolation"] == isolation_name
        )
        axes.plot(
            [value for value, _ in points],
            [more for _, more in points],
            marker="o",
            color=colour,
            label=isolation_name,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("tables")
    axes.legend(frameon=False)
    axes.set_title("What isolation adds to a test, in ms")


def name(row: Mapping[str, Any]) -> str:
    """Return what a row is about."""
    return str(row["isolation"])


DRAWN: Final[Mapping[str, Callable[[results.Result, Axes], None]]] = {
    "headline": headline,
    "isolation": isolation,
    "scale": scale,
}


def measured() -> list[str]:
    """Return what there are times of."""
    return [
        name
        for name in DRAWN
        if (results.FOLDER / f"{name}.json").exists()
        and any("seconds" in row or "over_floor_ms" in row for row in results.read(name).rows)
    ]


def outdated() -> list[str]:
    """Return the plots that are missing, or not of the newest results."""
    found = []
    for benchmark in measured():
        date = results.read(benchmark).date
        for theme in INK:
            path = IMAGES / f"{benchmark}-{theme}.svg"
            if not path.exists() or f"{date}" not in path.read_text():
                found.append(f"docs/images/{path.name}")
    return found


def draw(benchmark: str, theme: str) -> list[Path]:
    """Draw one plot for one kind of page."""
    import matplotlib as mpl  # noqa: PLC0415  # only this task has it
    from matplotlib.figure import Figure  # noqa: PLC0415

    result = results.read(benchmark)
    ink = INK[theme]
    style: dict[str, Any] = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink
    )
    style |= {"svg.hashsalt": benchmark, "axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context(style):
        figure = Figure(figsize=(9, 5), layout="constrained")
        DRAWN[benchmark](result, figure.add_subplot())
        figure.supxlabel(result.where.replace("`", ""), fontsize=6)
        paths = [IMAGES / f"{benchmark}-{theme}.{kind}" for kind in ("svg", "png")]
        IMAGES.mkdir(exist_ok=True)
        for path in paths:
            date = "Date" if path.suffix == ".svg" else "Creation Time"
            figure.savefig(path, transparent=True, dpi=150, metadata={date: result.date})
    return paths


def main() -> None:
    """Draw all plots."""
    for benchmark in measured():
        for theme in INK:
            for path in draw(benchmark, theme):
                print(path)


if __name__ == "__main__":
    main()
