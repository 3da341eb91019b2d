"""Read pickles safely: an interpreter of the pickle language that can build data and do nothing else.

A pickle is a program for a small stack machine. Python's own machine imports the names in the program and calls them,
so that opening a file can execute anything. This machine cannot import: a named class or function stays a name
(`Global`), a call of it becomes a `Record`, and only names in a table given by the caller are replaced, by functions of
this project. Nothing that the file names is ever called. Large byte strings are not read; their place is kept.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import CheckpointError
from .window import Cursor, Window

MAX_STEPS = 1_000_000  # a checkpoint of StyleGAN2 takes up to 40,000
MAX_TEXT = 1 << 26
MAX_NAME = 1 << 10
MAX_ARGUMENTS = 16
INLINE_BYTES = 1 << 12
HIGHEST_PROTOCOL = 5
_INT64 = 1 << 63

# Errors that a damaged program causes: an empty stack, an unknown memo entry, a wrong type.
_STUMBLES = (LookupError, TypeError, ValueError, AttributeError, OverflowError, struct.error, MemoryError)


@dataclass(frozen=True)
class Global:
    """The name of a class or function that the file refers to; never the class or function itself."""

    path: str
    """Module and name, as in "collections.OrderedDict"."""


class Record:
    """Inert stand-in for an object whose class is not in the table, with the arguments and state from the file."""

    __slots__ = ("args", "items", "kind", "state")

    def __init__(self, kind: str, args: tuple[Any, ...] = (), state: Any = None):
        self.kind = kind
        """The class or function that would have been called."""
        self.args = args
        self.state = state
        """The argument that __setstate__ would have got, usually the attributes as a dict."""
        self.items: list[Any] = []


Callables = Mapping[str, Callable[..., Any]]
_Operation = Callable[["PickleMachine"], None]
_OPCODES: dict[int, _Operation] = {}


def _opcode(code: bytes) -> Callable[[_Operation], _Operation]:
    """Register a method for an opcode; a comment gives the opcode's name in the protocol."""

    def register(method: _Operation) -> _Operation:
        _OPCODES[code[0]] = method
        return method

    return register


class PickleMachine:
    """Runs one pickle program.

    Args:
        cursor: a cursor at the program's first byte; `run` leaves it after the last byte.
        callables: functions of this project, by the path of the global that each replaces. A program can call them any
            number of times with the same large argument, so each must take constant time and memory.
        persistent: returns the object for a persistent id (torch files keep storages that way); None refuses such ids.
        steps: largest number of instructions.
    """

    def __init__(
        self,
        cursor: Cursor,
        callables: Callables,
        persistent: Callable[[Any], Any] | None = None,
        steps: int = MAX_STEPS,
    ):
        self.cursor = cursor
        self.callables = callables
        self.persistent = persistent
        self.steps = steps
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}
        self.text_bytes = 0  # memory of all texts so far
        self.running = True

    def run(self) -> Any:
        """Run the program and return the object that it builds.

        Returns:
            None, bool, int, float, str, bytes, Window (large bytes), list, tuple, dict, Global, Record, or the result
            of a function in the table.

        Raises:
            CheckpointError: the program is damaged, too long, or uses an instruction that data never needs.
        """
        try:
            for _ in range(self.steps):
                self._step()
                if not self.running:
                    return self.stack.pop()
        except _STUMBLES as error:
            raise CheckpointError(f"the file is damaged: its pickle breaks at byte {self.cursor.position}") from error
        raise CheckpointError(
            f"the file's pickle has more than {self.steps} instructions; no generator needs that many"
        )

    def _step(self) -> None:
        code = self.cursor.take(1)[0]
        if code not in _OPCODES:
            raise CheckpointError(f"the file's pickle is damaged, or uses the unsupported instruction 0x{code:02x}")
        _OPCODES[code](self)

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self.cursor.take(struct.calcsize(layout)))[0]

    def _text(self, size: int, encoding: str) -> str:
        if size > MAX_TEXT:
            raise CheckpointError(f"the file's pickle holds a text of {size} bytes; the limit is {MAX_TEXT}")
        text = self.cursor.take(size).decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict")
        # Arrays that are texts, as in protocol 2, take no more than in the file; one rare letter can take four times.
        self.text_bytes += sys.getsizeof(text) - sys.getsizeof("")
        if self.text_bytes > self.cursor.window.size + MAX_TEXT:
            raise CheckpointError("the file's pickle is damaged or hostile: its texts take more memory than the file")
        return text

    def _bytes(self, size: int) -> bytes | Window:
        return self.cursor.take(size) if size <= INLINE_BYTES else self.cursor.skip(size)

    def _items(self) -> list[Any]:
        """Pop and return the values pushed since the last mark."""
        items, self.stack = self.stack, self.marked.pop()
        return items

    def _top(self, *kinds: type) -> Any:
        top = self.stack[-1]
        if not isinstance(top, kinds):
            raise CheckpointError(f"the file's pickle is damaged or hostile: it alters a {type(top).__name__}")
        return top

    def _call(self, callee: Any, args: Any) -> Any:
        if not isinstance(args, tuple):
            raise CheckpointError("the file's pickle is damaged or hostile: the arguments of a call are not a tuple")
        path = callee.path if isinstance(callee, Global) else "?"
        if path not in self.callables:
            return Record(path, args)
        if len(args) > MAX_ARGUMENTS:
            raise CheckpointError(f"the file's pickle is damaged or hostile: {path} gets {len(args)} arguments")
        return self.callables[path](*args)

    # Constants, numbers, texts and bytes are tables below the class.

    @_opcode(b"\x80")  # PROTO
    def proto(self) -> None:
        if self._number("<B") > HIGHEST_PROTOCOL:
            raise CheckpointError("the file's pickle has an unknown protocol; it is damaged, or newer than supported")

    @_opcode(b"\x95")  # FRAME: only a hint how much to read ahead.
    def frame(self) -> None:
        self._number("<Q")

    @_opcode(b".")  # STOP
    def stop(self) -> None:
        self.running = False

    @_opcode(b"\x8a")  # LONG1
    def long1(self) -> None:
        self.stack.append(int.from_bytes(self.cursor.take(self._number("<B")), "little", signed=True))

    # The stack, its marks, and the memo.

    @_opcode(b"(")  # MARK
    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    @_opcode(b"0")  # POP
    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._items()

    @_opcode(b"1")  # POP_MARK
    def pop_mark(self) -> None:
        self._items()

    @_opcode(b"2")  # DUP
    def dup(self) -> None:
        self.stack.append(self.stack[-1])

    @_opcode(b"q")  # BINPUT
    def binput(self) -> None:
        self.memo[self._number("<B")] = self.stack[-1]

    @_opcode(b"r")  # LONG_BINPUT
    def long_binput(self) -> None:
        self.memo[self._number("<I")] = self.stack[-1]

    @_opcode(b"\x94")  # MEMOIZE
    def memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    @_opcode(b"h")  # BINGET
    def binget(self) -> None:
        self.stack.append(self.memo[self._number("<B")])

    @_opcode(b"j")  # LONG_BINGET
    def long_binget(self) -> None:
        self.stack.append(self.memo[self._number("<I")])

    # Tuples, lists, sets (read as lists), dicts.

    @_opcode(b"t")  # TUPLE
    def make_tuple(self) -> None:
        items = self._items()
        self.stack.append((*items,))

    @_opcode(b"l")  # LIST, FROZENSET
    @_opcode(b"\x91")
    def make_list(self) -> None:
        items = self._items()
        self.stack.append(items)

    @_opcode(b"d")  # DICT
    def make_dict(self) -> None:
        items = self._items()
        self.stack.append(dict_of(zip(items[::2], items[1::2], strict=True)))

    @_opcode(b"a")  # APPEND
    def append(self) -> None:
        self._extend([self.stack.pop()])

    @_opcode(b"e")  # APPENDS, ADDITEMS
    @_opcode(b"\x90")
    def appends(self) -> None:
        self._extend(self._items())

    def _extend(self, items: list[Any]) -> None:
        top = self._top(list, Record)
        (top.items if isinstance(top, Record) else top).extend(items)

    @_opcode(b"s")  # SETITEM
    def setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    @_opcode(b"u")  # SETITEMS
    def setitems(self) -> None:
        self._update(self._items())

    def _update(self, items: list[Any]) -> None:
        pairs = zip(items[::2], items[1::2], strict=True)
        top = self._top(dict, Record)
        if isinstance(top, Record):
            top.items.extend(pairs)
        else:
            top.update(dict_of(pairs))

    # Names and calls: where Python's machine would import and call, this one records them.

    @_opcode(b"c")  # GLOBAL
    def global_(self) -> None:
        module, name = self.cursor.line().decode(), self.cursor.line().decode()
        self._name(module, name)

    @_opcode(b"\x93")  # STACK_GLOBAL
    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise CheckpointError("the file's pickle is damaged or hostile: a name is not a text")
        self._name(module, name)

    def _name(self, module: str, name: str) -> None:
        if len(module) + len(name) > MAX_NAME:
            raise CheckpointError(f"the file's pickle is damaged or hostile: a name exceeds {MAX_NAME} characters")
        self.stack.append(Global(f"{module}.{name}"))

    @_opcode(b"R")  # REDUCE, NEWOBJ
    @_opcode(b"\x81")
    def reduce(self) -> None:
        args, callee = self.stack.pop(), self.stack.pop()
        self.stack.append(self._call(callee, args))

    @_opcode(b"\x92")  # NEWOBJ_EX: keywords are dropped; no function in the table takes any.
    def newobj_ex(self) -> None:
        self.stack.pop()
        self.reduce()

    @_opcode(b"o")  # OBJ
    def obj(self) -> None:
        callee, *args = self._items()
        self.stack.append(self._call(callee, (*args,)))

    @_opcode(b"b")  # BUILD: an object's attributes. Attributes of dicts (torch's version numbers) are ignored.
    def build(self) -> None:
        state = self.stack.pop()
        top = self._top(Record, dict)
        if isinstance(top, Record):
            top.state = state

    @_opcode(b"Q")  # BINPERSID
    def binpersid(self) -> None:
        if self.persistent is None:
            raise CheckpointError("the file's pickle is damaged or hostile: it refers to objects outside of itself")
        self.stack.append(self.persistent(self.stack.pop()))


def dict_of(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Make a dict of pairs, in which only short texts and ordinary numbers are keys by value.

    Any other key is wrapped so that it equals no other: comparing keys, or resolving hash collisions that a hostile
    file has arranged, could take hours.
    """
    return {key if _is_plain(key) else Record("key", (key,)): value for key, value in pairs}


def _is_plain(key: Any) -> bool:
    if isinstance(key, str):
        return len(key) <= MAX_NAME
    return key is None or (isinstance(key, int) and -_INT64 <= key < _INT64)


def _constant(make: Callable[[], Any]) -> _Operation:
    return lambda machine: machine.stack.append(make())


def _fixed(layout: str) -> _Operation:
    return lambda machine: machine.stack.append(machine._number(layout))


def _sized(layout: str, encoding: str | None) -> _Operation:
    def push(machine: PickleMachine) -> None:
        size = machine._number(layout)
        machine.stack.append(machine._bytes(size) if encoding is None else machine._text(size, encoding))

    return push


_CONSTANTS: dict[bytes, Callable[[], Any]] = {b"N": lambda: None, b"\x88": lambda: True, b"\x89": lambda: False}
_CONSTANTS |= {b")": lambda: (), b"]": list, b"}": dict, b"\x8f": list}  # the last is a set
_NUMBERS = {b"K": "<B", b"M": "<H", b"J": "<i", b"G": ">d"}
_TEXTS = {b"\x8c": ("<B", "utf-8"), b"X": ("<I", "utf-8"), b"\x8d": ("<Q", "utf-8")}
_TEXTS |= {b"U": ("<B", "latin-1"), b"T": ("<I", "latin-1")}  # str of Python 2
_BYTES: dict[bytes, tuple[str, None]] = {
    b"C": ("<B", None),
    b"B": ("<I", None),
    b"\x8e": ("<Q", None),
    b"\x96": ("<Q", None),
}
_OPCODES.update({code[0]: _constant(make) for code, make in _CONSTANTS.items()})
_OPCODES.update({code[0]: _fixed(layout) for code, layout in _NUMBERS.items()})
_OPCODES.update({code[0]: _sized(*spec) for code, spec in {**_TEXTS, **_BYTES}.items()})


def _tuple_of(count: int) -> _Operation:
    def push(machine: PickleMachine) -> None:
        if len(machine.stack) < count:
            raise CheckpointError("the file's pickle is damaged: a tuple has too few items")
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return push


_OPCODES.update({0x84 + count: _tuple_of(count) for count in (1, 2, 3)})
