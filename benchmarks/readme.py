"""Write the figures that were found last into the README, or fail if it has others.

    python benchmarks/readme.py [--check]

Between `<!-- NAME -->` and `<!-- end of NAME -->` stands what `results/NAME.json` says.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import headline
import isolation
import results

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

README: Final = Path(__file__).parents[1] / "README.md"
TABLES: Final[Mapping[str, Callable[[results.Result], str]]] = {
    "headline": headline.table,
    "isolation": isolation.table,
}


def renewed(readme: str) -> str:
    """Return the README with the newest figures.

    Raises:
        ValueError: a part of it is missing.
    """
    for name, table in TABLES.items():
        result = results.read(name)
        part = f"<!-- {name} -->\n{table(result)}\n\n{result.where}\n<!-- end of {name} -->"
        places = re.findall(rf"<!-- {name} -->.*?<!-- end of {name} -->", readme, flags=re.DOTALL)
        if len(places) != 1:
            message = f"README.md has {len(places)} parts that begin with <!-- {name} -->"
            raise ValueError(message)
        readme = readme.replace(places[0], part)
    return readme


def main() -> None:
    """Renew the README, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail on a difference")
    options = parser.parse_args()
    present = README.read_text()
    right = renewed(present)
    if options.check and present != right:
        sys.exit("README.md has other figures than benchmarks/results: moon run benchmarks:readme")
    if not options.check:
        README.write_text(right)


if __name__ == "__main__":
    main()
