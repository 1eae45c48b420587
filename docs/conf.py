"""Configuration of Sphinx."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "db-testing"
author = "the contributors of db-testing"
project_copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "pytest_reference"]
exclude_patterns = ["build", "examples", "tests", "walk"]

# A broken link or anchor, a file or an object of the API that is not there: each is a warning, and
# docs:build makes of every warning an error.
nitpicky = True
# What belongs to others: their inventories would have to be fetched from the network.
nitpick_ignore_regex = [
    (r"py:.*", r"(collections|os|pathlib|pytest|sqlalchemy|typing)\..*"),
    # Imported for type checkers only, so that importing db-testing stays cheap.
    (r"py:class", r"Iterable|MetaData|SeedFunction|Sequence|URL"),
]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = "db-testing"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sphinx = False

copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
