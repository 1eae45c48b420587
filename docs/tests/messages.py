"""Every error that a user can meet, from the source; run as a program, it writes the page of them.

A message is found where the source makes an error of db-testing's, or pytest's UsageError. What an
f-string fills in is shown as {its name}.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import db_testing
from db_testing import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE: Final = Path(db_testing.__file__).parent
PAGE: Final = Path(__file__).parents[1] / "troubleshooting.md"
CLASSES: Final = {
    name: value for name, value in vars(errors).items() if isinstance(value, type)
} | {"UsageError": None}

HEAD: Final = """\
# Troubleshooting

<!-- Written by docs/tests/messages.py from the source, and compared with it by a test. Do not edit.
-->

Every error message, under the exception that carries it: the heading is how the message begins,
the text below is how it goes on. `{...}` stands for what differs from case to case. Search this
page for words of the message you have."""
NOTES: Final = {
    "SandboxDeadlockError": "Under rollback isolation transactions that write take turns, so one "
    "that has written and waits for another is waited for by it: see "
    "[the sandbox](explanation/sandbox.md#turns).",
    "SandboxConflictError": "Savepoints form a stack: see "
    "[the sandbox](explanation/sandbox.md#savepoints-form-a-stack).",
    "SandboxRefusedError": "[What rollback isolation does to PostgreSQL's semantics](semantics.md) "
    "lists what is refused, and why.",
    "SandboxLoopError": "See [event loops](explanation/event-loops.md).",
    "SandboxEscapeError": "See [isolations](explanation/isolations.md): only what goes through the "
    "fixtures' connections, or those of `db_bind`, can be rolled back.",
    "DataLayerError": "See [`db_layer`](reference/fixtures.md).",
}
"""What is worth reading beyond the messages of a class."""

PLAIN: Final = frozenset(
    ("str", "repr", "type", "min", "shorten", "indent", "join", "counted", "first_line")
)
"""Functions that show what they are given."""


@dataclass(frozen=True)
class Message:
    """A message in the source."""

    kind: str
    text: str

    @property
    def parts(self) -> tuple[str, str]:
        """Its beginning, which makes a heading, and the rest."""
        line, _, more = self.text.partition("\n")
        end = re.search(r"\. (?=[A-Z`{])", line)
        if end is None:
            return line.removesuffix("."), more.strip("\n")
        return line[: end.start()], f"{line[end.end() :]}\n{more}".strip("\n")


def messages() -> list[Message]:
    """Return them all, in the order of the errors' classes and of the source."""
    found = {
        message: None for path in sorted(SOURCE.rglob("*.py")) for message in _of(path.read_text())
    }
    order = list(CLASSES)
    return sorted(found, key=lambda message: order.index(message.kind))


def _of(source: str) -> Iterator[Message]:
    tree = ast.parse(source)
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args)
    for call in sorted(calls, key=lambda call: call.lineno):
        kind = ast.unparse(call.func).rpartition(".")[2]
        if kind not in CLASSES:
            continue
        first = call.args[0]
        texts = [first] if not isinstance(first, ast.Name) else _assigned(tree, first, call)
        yield from (Message(kind, _text(each)) for each in texts)


def _assigned(tree: ast.Module, name: ast.Name, call: ast.Call) -> list[ast.expr]:
    """Return what was last assigned to the name before it became an error's message."""
    values = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and node.lineno < call.lineno
        and any(isinstance(each, ast.Name) and each.id == name.id for each in node.targets)
    ]
    return [max(values, key=lambda node: node.lineno).value] if values else []


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) for value in node.values)
    if isinstance(node, ast.Call) and isinstance(node.args[0], ast.GeneratorExp):  # joined lines
        return _text(node.args[0].elt)
    if isinstance(node, ast.FormattedValue):
        return f"{{{_named(node.value)}}}"
    raise TypeError(ast.unparse(node))


def _named(node: ast.expr) -> str:
    """Name what an f-string fills in, for people: the last name in it."""
    node = node.value if isinstance(node, ast.Await) else node
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Call):
        inner = [each for each in node.args if not isinstance(each, ast.Constant)]
        called = ast.unparse(node.func).rpartition(".")[2]
        plain = called in PLAIN
        return _named(inner[0]) if inner and plain else called.strip("_")
    if isinstance(node, ast.Attribute):
        return node.attr.strip("_")
    names = [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]
    return names[-1].strip("_") if names else "..."


def page() -> str:
    """Return the whole page."""
    blocks, kind = [HEAD], None
    for message in messages():
        if message.kind != kind:
            kind = message.kind
            error = CLASSES[kind]
            about = error.__doc__ if error else "pytest's own: a setting or a marker is wrong."
            blocks += [f"## {kind}", about or "", NOTES.get(kind, "")]
        heading, rest = message.parts
        blocks += [f"### {_escaped(heading)}", f"```text\n{rest}\n```" if rest else ""]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _escaped(text: str) -> str:
    return re.sub(r"([*_<>\[\]`])", r"\\\1", text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
