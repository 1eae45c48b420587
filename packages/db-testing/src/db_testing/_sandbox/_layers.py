"""The server's stack of savepoints, as the sandbox's model has it; nothing here waits.

Each change returns the statements that make it true on the server, or leaves them to be sent with
the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ._transaction import Frame, Transaction

if TYPE_CHECKING:
    from .._statements._routines import Routines

BASE: Final = "db_testing"
"""The savepoint beneath all others: a return to it undoes everything but sequences and locks."""


@dataclass(eq=False, slots=True)
class Layer:
    """A savepoint on the server."""

    name: str
    owner: Transaction
    frame: Frame | None
    """That of its owner whose statements run in it; None once the owner has ended."""
    readonly: bool
    """Whether the server refuses writes in it, and so in every layer above."""
    wrote: Transaction | None = None
    """The last transaction that may have changed something in it for its frame."""
    foreign: Transaction | None = None
    """A transaction that has committed into it without being its owner."""
    cursor: Transaction | None = None
    """Its owner, when that has opened a cursor in it, which a rollback beneath would close."""

    def serves(self, frame: Frame) -> bool:
        """Tell whether statements of a frame may run in it, when it is the top one."""
        return (
            self.readonly == self.owner.readonly  # which may have become so
            and self.frame is frame
            and self.foreign is None
        )

    @property
    def plain(self) -> bool:
        """Whether its savepoint is as good as a new one."""
        return not (self.readonly or self.wrote or self.foreign)

    @property
    def keeps(self) -> bool:
        """Whether a return beneath it would undo more than its owner's reading."""
        if self.foreign is not None:
            return True
        owner = self.owner
        # A commit has put settings back, which must not be undone either.
        outlasting = owner.outlasting or bool(owner.local_settings)
        until_its_end = self.frame is not None and bool(owner.endings)
        return (outlasting or until_its_end) and not self.doomed

    @property
    def doomed(self) -> bool:
        """Whether its frame is aborted, so that nothing its owner did in it can be kept."""
        return self.owner.failed and self.frame is self.owner.frames[-1]


@dataclass(eq=False, slots=True)
class Ground:
    """A savepoint to fall back to in the middle of a test, beneath which nothing may be undone."""

    origin: str
    layer: Layer
    transactions: frozenset[Transaction]
    """Those that were open when it was laid."""
    schema_changed: bool
    routines: Routines
    prepared: frozenset[str] = frozenset()
    """The statements prepared in SQL until then."""
    restoring: str = ""
    """The statement that puts sequences back to their positions here."""

    def __str__(self) -> str:
        return f"the data layer begun at {self.origin}"


class Layers:
    """The stack, and what of it the server has yet to be told."""

    def __init__(self) -> None:
        """Begin outside of any transaction."""
        self.begun = False
        """Whether the outer transaction has been begun."""
        self.aborted = False
        """Whether the server has aborted the top layer."""
        self.grounds: list[Ground] = []
        self._stack: list[Layer] = []
        self._pending: list[str] = []
        """Returns to savepoints that are due before the next statement."""
        self._names = 0

    def ready(self, frame: Frame) -> Layer | None:
        """Return the top layer if a statement of a frame may run in it now."""
        if self._stack and self._stack[-1].serves(frame) and not self._pending and not self.aborted:
            return self._stack[-1]
        return None

    def readonly_besides(self, transaction: Transaction) -> Transaction | None:
        """Return another transaction that keeps its read-only layer beneath this one."""
        for layer in self._stack:
            if not layer.readonly:
                continue
            if layer.cursor is not None and layer.cursor is not transaction:
                return layer.cursor
            if layer.keeps and layer.owner is not transaction:
                return layer.owner
        return None

    # ----------------------------------------------------------------- statements

    def enter(self, transaction: Transaction) -> list[str]:
        """Make the top layer one of the transaction's innermost frame; return what that takes."""
        frame = transaction.frames[-1]
        script = self._due(transaction)
        ended, changed = self._take_ended()
        top = self._stack[-1] if self._stack else None
        if top is not None and top.serves(frame):
            script += [f"RELEASE {layer.name}" for layer in ended[:1]]
        elif ended and not changed and not transaction.readonly:
            script += [f"RELEASE {layer.name}" for layer in ended[1:2]]
            self._stack.append(Layer(ended[0].name, transaction, frame, readonly=False))
        else:
            script += self._push(transaction, ended)
        return script

    def lay(self, origin: str) -> tuple[list[str], Layer]:
        """Take a layer for a ground on top of all others; return what that takes, and the layer."""
        script = self._due(None)
        ended, _ = self._take_ended()
        script += self._push(Transaction(origin, origin), ended)
        return script, self._stack[-1]

    def _due(self, transaction: Transaction | None) -> list[str]:
        """Return what the server must do before it can build on the top layer."""
        self._drop_readonly(transaction)
        self._heal()
        script, self._pending = self._pending, []
        if not self.begun:
            script += ["BEGIN", f"SAVEPOINT {BASE}"]
            self.begun = True
        return script

    def _push(self, owner: Transaction, ended: list[Layer]) -> list[str]:
        """Take a new layer in place of ended ones; return what the server must do for it."""
        self._names += 1
        layer = Layer(f"{BASE}_{self._names}", owner, owner.frames[-1], owner.readonly)
        self._stack.append(layer)
        script = [f"RELEASE {old.name}" for old in ended[:1]]
        script.append(f"SAVEPOINT {layer.name}")
        if layer.readonly:
            script.append("SET LOCAL transaction_read_only = on")
        return script

    def _drop_readonly(self, transaction: Transaction | None) -> None:
        """Return beneath read-only layers of others, in which nobody could write."""
        name = None
        while self._stack and (top := self._stack[-1]).readonly:
            if top.frame is not None and top.owner is transaction:
                break
            if top.keeps and (transaction is not None or top.frame is None):
                break  # an ended one is released with the next savepoint
            if top.cursor is not None and top.cursor.open:
                break
            name = self._stack.pop().name
        if name is not None:
            self._return_to(name)

    def _heal(self) -> None:
        """Return an aborted top layer to health before another frame builds on it."""
        if self.aborted and not self._pending:
            self._pending.append(f"ROLLBACK TO {self._stack[-1].name}")
            self._stack[-1].wrote = None
        self.aborted = False

    def _take_ended(self) -> tuple[list[Layer], bool]:
        """Take the ended layers off the top, lowest first; tell whether they hold changes."""
        ended: list[Layer] = []
        changed = False
        while self._stack and self._stack[-1].frame is None:
            layer = self._stack.pop()
            ended.insert(0, layer)
            changed |= not layer.plain
            if self._stack:
                below = self._stack[-1]
                below.foreign = layer.wrote or layer.foreign or below.foreign
        return ended, changed

    # ----------------------------------------------------------------- ends

    def relabel(self, frames: list[Frame], outer: Frame | None) -> None:
        """Hand the layers of frames that ended to the frame around them, or to nobody."""
        for layer in self._stack:
            if layer.frame in frames:
                layer.frame = outer

    def undo(self, frames: list[Frame]) -> str | None:
        """Schedule the return to the lowest layer in which frames wrote.

        Returns what of another transaction stands in the way, if something does.
        """
        lowest = next(
            (
                index
                for index, layer in enumerate(self._stack)
                if layer.frame in frames and layer.wrote
            ),
            None,
        )
        if lowest is not None:
            for ground in self.grounds:
                if ground.layer in self._stack[lowest:]:
                    return f"{ground} was laid"
            for layer in self._stack[lowest:]:
                if layer.foreign is not None:
                    return f"{layer.foreign} has written"
                if layer.frame in frames or layer.doomed:
                    continue
                if layer.wrote is not None:
                    return f"{layer.wrote} has written"
                if layer.cursor is not None and layer.cursor.open:
                    return f"{layer.cursor} has opened a cursor"
            name = self._stack[lowest].name
            del self._stack[lowest:]
            self._return_to(name)
        self.leave_cursors(frames)
        self.relabel(frames, None)
        return None

    def leave_cursors(self, frames: list[Frame]) -> None:
        """Schedule the return beneath layers in which frames have only read, with a cursor.

        That closes it, which else would keep its tables from DDL. Where something of another
        transaction is above, it stays open until the end of the test.
        """
        for index, layer in enumerate(self._stack):
            if layer.cursor is not None and layer.frame in frames:
                above = self._stack[index:]
                if all(each.frame in frames and not (each.wrote or each.foreign) for each in above):
                    del self._stack[index:]
                    self._return_to(layer.name)
                return

    def finish(self) -> list[str]:
        """Return what the server must do before the outer transaction can be committed."""
        self._heal()
        script, self._pending = self._pending, []
        return script

    def _return_to(self, name: str) -> None:
        self._pending += [f"ROLLBACK TO {name}", f"RELEASE {name}"]

    def give_up(self, ground: Ground) -> None:
        """Schedule the return beneath a ground that could not be laid."""
        self.grounds.remove(ground)
        del self._stack[self._stack.index(ground.layer) :]
        self._return_to(ground.layer.name)

    def drop(self, ground: Ground) -> None:
        """Forget a ground and all above it: the server has returned beneath it."""
        del self.grounds[self.grounds.index(ground) :]
        del self._stack[self._stack.index(ground.layer) :]
        self._pending.clear()
        self.aborted = False

    def clear(self) -> None:
        """Forget everything: the outer transaction has been rolled back."""
        self.begun = self.aborted = False
        self.grounds.clear()
        self._stack.clear()
        self._pending.clear()
