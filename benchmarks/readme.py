"""Write the figures that were found last into the documents, or fail if these have others.

    moon run benchmarks:readme -- [--check]

Between `<!-- NAME -->` and `<!-- end of NAME -->` stands what is made of `results/NAME.json`; what
has been measured must have its part. The check also fails when a plot is not of the newest results:
each has their date in it.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import applications
import distribution
import guard
import headline
import isolation
import overhead
import plots
import profiles
import reporting
import results
import scale
import startup
import upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT: Final = Path(__file__).parents[1]
DOCUMENTS: Final[Mapping[Path, Mapping[str, Callable[[results.Result], str]]]] = {
    ROOT / "README.md": {
        "isolation": isolation.table,
        "headline": headline.table,
    },
    ROOT / "docs" / "explanation" / "costs.md": {
        "overhead": overhead.everything,
        "isolation": isolation.everything,
        "headline": headline.everything,
        "distribution": distribution.table,
        "applications": applications.everything,
        "profile": profiles.everything,
        "scale": scale.everything,
        "startup": startup.everything,
        "guard": guard.everything,
    },
    ROOT / "docs" / "explanation" / "upstream.md": {"upstream": upstream.table},
    ROOT / "docs" / "how-to" / "report.md": {"reporting": reporting.table},
}


def renewed(path: Path) -> str:
    """Return a document with the newest figures.

    Raises:
        ValueError: a part of it is missing, or has no results.
    """
    text = path.read_text()
    for name, render in DOCUMENTS[path].items():
        measured = (results.FOLDER / f"{name}.json").exists()
        places = re.findall(rf"<!-- {name} -->.*?<!-- end of {name} -->", text, flags=re.DOTALL)
        if len(places) != measured:
            message = (
                f"{path} has {len(places)} parts from <!-- {name} --> to <!-- end of {name} -->, "
                f"and should have {measured:d}, since benchmarks/results/{name}.json is "
                f"{'there' if measured else 'missing'}"
            )
            raise ValueError(message)
        if measured:
            result = results.read(name)
            part = f"\n\n{render(result)}\n\n{result.where}\n\n"
            text = text.replace(places[0], f"<!-- {name} -->{part}<!-- end of {name} -->")
    return text


def main() -> None:
    """Renew the documents, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail on a difference")
    options = parser.parse_args()
    old = []
    for path in DOCUMENTS:
        text = renewed(path)
        if path.read_text() != text:
            old.append(str(path.relative_to(ROOT)))
            if not options.check:
                path.write_text(text)
    if options.check and (old := old + plots.outdated()):
        sys.exit(
            f"not from the newest benchmarks/results/*.json: {', '.join(old)}. Run: "
            f"moon run benchmarks:plots, and moon run benchmarks:readme"
        )


if __name__ == "__main__":
    main()
