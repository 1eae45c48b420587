"""Directives for Sphinx: what the plugin tells pytest of its fixtures and options."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from _pytest.fixtures import FixtureFunctionDefinition
from sphinx.util.docutils import SphinxDirective

from db_testing import _settings, plugin

if TYPE_CHECKING:
    import pytest
    from docutils.nodes import Node
    from sphinx.application import Sphinx


@dataclass
class Recorder:
    """Stands where pytest's parser does, and keeps what it is told."""

    flags: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    keys: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def getgroup(self, *_: str) -> Recorder:
        """Return the group, which is the parser."""
        return self

    def addoption(self, flag: str, **options: Any) -> None:  # noqa: ANN401  # argparse's
        """Keep a flag."""
        self.flags.append((flag, options))

    def addini(self, key: str, text: str, **options: Any) -> None:  # noqa: ANN401  # pytest's
        """Keep an ini key."""
        self.keys.append((key, text, options))


def section(title: str, about: str, text: str) -> str:
    """Return one entry: a heading that can be linked to, a line about it, its description."""
    return f"### `{title}`\n\n{about}\n\n{text}\n\n"


def sentence(text: str) -> str:
    """Return a help text as a sentence."""
    text = text[0].upper() + text[1:]
    return text if text.endswith((".", ")")) else f"{text}."


class Fixtures(SphinxDirective):
    """`{fixtures}`: each public fixture, from its docstring."""

    def run(self) -> list[Node]:
        """Return the entries."""
        entries = []
        for name, value in vars(plugin).items():
            if isinstance(value, FixtureFunctionDefinition) and not name.startswith("_"):
                function = value._get_wrapped_function()  # noqa: SLF001
                scope = value._fixture_function_marker.scope  # noqa: SLF001
                returns = inspect.signature(function).return_annotation
                entries.append(section(name, f"`{returns}`, {scope} scope", described(function)))
        return self.parse_text_to_nodes("".join(entries), allow_section_headings=True)


def described(function: object) -> str:
    """Return a docstring as Markdown: its Raises section becomes a list."""
    text = inspect.getdoc(function) or ""
    before, raises, after = text.partition("\nRaises:\n")
    if not raises:
        return text
    joined = re.sub(r"\n {8}", " ", after)
    return f"{before}\nRaises:\n\n" + re.sub(r"(?m)^ {4}(\w+):", r"- `\1`:", joined)


class Flags(SphinxDirective):
    """`{flags}`: each option of the command line, from its help text."""

    def run(self) -> list[Node]:
        """Return the entries."""
        entries = []
        for flag, options in recorded().flags:
            value = f"={options['metavar']}" if "metavar" in options else ""
            choices = ", ".join(f"`{each}`" for each in options.get("choices", ()) if each)
            about = f"`{flag}{value}`" + (f", one of {choices}" if choices else "")
            entries.append(section(flag, about, sentence(options["help"])))
        return self.parse_text_to_nodes("".join(entries), allow_section_headings=True)


class Keys(SphinxDirective):
    """`{keys}`: each ini key, from its help text."""

    def run(self) -> list[Node]:
        """Return the entries."""
        entries = [
            section(key, f"default: `{options['default']!r}`", sentence(text))
            for key, text, options in recorded().keys
        ]
        return self.parse_text_to_nodes("".join(entries), allow_section_headings=True)


def recorded() -> Recorder:
    """Return what the plugin registers."""
    recorder = Recorder()
    _settings.add_options(cast("pytest.Parser", recorder))
    return recorder


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("fixtures", Fixtures)
    app.add_directive("flags", Flags)
    app.add_directive("keys", Keys)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
