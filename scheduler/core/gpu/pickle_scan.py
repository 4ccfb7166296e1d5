"""A Flight Recorder pickle read straight into columns by a compiled loop: no Python object per operation, no code run.

It knows the opcodes that put plain data together, and no other: what asks for a global, for an object or for anything
uncommon is left to the careful reader (`flight_recorder`), which refuses it with the reason. So is every shape but the
usual one. What is accepted here reads there as the same, but that this reader does not mind what stands in
fields it does not use. Time and memory are proportional to the file, whatever its numbers claim.
"""

from __future__ import annotations

import pickle
import threading
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.core.compiled import compiled

NONE, FALSE, TRUE, INT, FLOAT, TEXT, LIST, TUPLE, DICT = range(9)
KEYS: Final = (
    "version", "entries", "pg_config", "name", "ranks",
    "record_id", "collective_seq_id", "p2p_seq_id", "time_created_ns",
    "process_group", "profiling_name", "state", "is_p2p", "duration_ms",
)  # fmt: skip
(VERSION, ENTRIES, CONFIG, NAME, RANKS, RECORD, SEQUENCE, P2P_SEQUENCE, CREATED,
 GROUP, OPERATION, STATE, IS_P2P, DURATION) = range(len(KEYS))  # fmt: skip
(
    _APPEND, _APPENDS, _BINFLOAT, _BINGET, _BININT, _BININT1, _BININT2, _BINPUT, _BINUNICODE, _EMPTY_DICT,
    _EMPTY_LIST, _EMPTY_TUPLE, _FRAME, _LONG1, _LONG_BINGET, _LONG_BINPUT, _MARK, _MEMOIZE, _NEWFALSE, _NEWTRUE,
    _NONE, _PROTO, _SETITEM, _SETITEMS, _SHORT_BINUNICODE, _STOP, _TUPLE, _TUPLE1, _TUPLE3,
) = (code[0] for code in (
    pickle.APPEND, pickle.APPENDS, pickle.BINFLOAT, pickle.BINGET, pickle.BININT, pickle.BININT1, pickle.BININT2,
    pickle.BINPUT, pickle.BINUNICODE, pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.EMPTY_TUPLE, pickle.FRAME,
    pickle.LONG1, pickle.LONG_BINGET, pickle.LONG_BINPUT, pickle.MARK, pickle.MEMOIZE, pickle.NEWFALSE,
    pickle.NEWTRUE, pickle.NONE, pickle.PROTO, pickle.SETITEM, pickle.SETITEMS, pickle.SHORT_BINUNICODE,
    pickle.STOP, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE3,
))  # fmt: skip
_SIZES: Final = np.zeros(256, np.uint8)  # of what follows an opcode, in bytes
_SIZES[[_PROTO, _BINPUT, _BINGET, _SHORT_BINUNICODE, _LONG1, _BININT1]] = 1
_SIZES[_BININT2] = 2
_SIZES[[_BININT, _LONG_BINPUT, _LONG_BINGET, _BINUNICODE]] = 4
_SIZES[[_BINFLOAT, _FRAME]] = 8
_KEY_BYTES: Final = np.frombuffer("".join(KEYS).encode(), np.uint8)
_KEY_ENDS: Final = np.cumsum([len(key) for key in KEYS])

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


class Room(NamedTuple):
    """Room to take a pickle apart in, kept by each thread from file to file: to ask the system for it costs more than
    the work done in it.

    kind: of each value; a, b: an integer or the bits of a float; offset and length of a text; first and last cell of a
    list, tuple or dictionary (key, value, key, ...). key: which of KEYS a text is, or -1. word: its number among the
    words. value, after: a cell's value and the next cell. stack, marks, memo: the unpickler's own.
    """

    kind: NDArray[np.int8]
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    key: NDArray[np.int8]
    word: NDArray[np.int32]
    value: NDArray[np.int32]
    after: NDArray[np.int32]
    stack: NDArray[np.int32]
    marks: NDArray[np.int32]
    memo: NDArray[np.int32]

    @classmethod
    def of(cls, size: int) -> Room:
        """Room for a file of fewer bytes: an opcode makes at most one value, and every cell was pushed first."""
        small, large = (np.empty((2, size), kind) for kind in (np.int8, np.int64))
        return cls(small[0], large[0], large[1], small[1], *np.empty((6, size), np.int32))


class Columns(NamedTuple):
    """The entries of a dump. numbers: (N, 3) record, sequence, created ns. texts: (N, 3) group, name, state as numbers
    of `words`, -1 for none. words: (W, 2) offset and length in the file. groups: (G, 2, 2) the texts name and ranks of
    the process groups. version: offset and length."""

    numbers: NDArray[np.int64]
    texts: NDArray[np.int32]
    is_p2p: NDArray[np.bool_]
    duration_ms: NDArray[np.float64]
    words: NDArray[np.int64]
    groups: NDArray[np.int64]
    version: NDArray[np.int64]


def scan(data: bytes) -> Columns | None:
    """The columns of a pickled dump; None where the careful reader has to decide."""
    raw = np.frombuffer(data, np.uint8)
    room = getattr(_own, "room", None)
    if room is None or len(room.stack) <= len(data):
        room = _own.room = Room.of(len(data) + 1)
    root = _load(raw, room, _KEY_BYTES, _KEY_ENDS)
    if root < 0:
        return None
    is_plain, columns = _extract(raw, root, room)
    return columns if is_plain else None


_own = threading.local()


@compiled
def _which(raw: Bytes, start: int, length: int, keys: Bytes, ends: Ints) -> int:
    """The number of a text among the keys; -1 for another text, -2 for one that is not ASCII."""
    for i in range(start, start + length):
        if raw[i] >= 128:
            return -2
    first = 0
    for number in range(len(ends)):
        if ends[number] - first == length:
            same = True
            for i in range(length):
                if raw[start + i] != keys[first + i]:
                    same = False
                    break
            if same:
                return number
        first = ends[number]
    return -1


@compiled
def _integer(raw: Bytes, at: int, size: int, is_signed: bool) -> int:
    """The little-endian integer of so many bytes, at most eight."""
    number = 0
    for i in range(size):
        number |= int(raw[at + i]) << (8 * i)
    if is_signed and 0 < size < 8 and raw[at + size - 1] >= 128:
        number -= 1 << (8 * size)
    return number


@compiled
def _load(raw: Bytes, room: Room, keys: Bytes, ends: Ints) -> int:
    """The number of the pickle's value, or -1; the values it is made of are in `room`."""
    n = len(raw)
    kind, a, b, key, word, value, after, stack, marks, memo = room
    at = nodes = cells = height = depth = floor = puts = 0
    clear = 0  # what the memo of an earlier file held is gone below here
    while at < n:
        code = raw[at]
        at += 1
        size = int(_SIZES[code])
        if at + size > n:
            return -1
        number = int(raw[at]) if size == 1 else _integer(raw, at, size, code == _BININT)
        argument = at
        at += size
        made = -1
        if code in (_BINGET, _LONG_BINGET):
            if number < 0 or number >= clear or memo[number] < 0:
                return -1
            stack[height] = memo[number]
            height += 1
        elif code in (_BINPUT, _LONG_BINPUT, _MEMOIZE):
            if code == _MEMOIZE:
                number = puts
            if number < 0 or number >= n or height <= floor:
                return -1
            while clear <= number:
                memo[clear] = -1
                clear += 1
            if memo[number] < 0:
                puts += 1
            memo[number] = stack[height - 1]
        elif code in (_BININT1, _BININT2, _BININT):
            made, a[nodes] = INT, number
        elif code in (_SHORT_BINUNICODE, _BINUNICODE):
            if number < 0 or number > n - at:
                return -1
            which = _which(raw, at, number, keys, ends)
            if which < -1:
                return -1
            made, a[nodes], b[nodes], key[nodes], word[nodes] = TEXT, at, number, which, -1
            at += number
        elif code == _LONG1:
            if number > 8 or number > n - at:
                return -1
            made, a[nodes] = INT, _integer(raw, at, number, True)
            at += number
        elif code == _BINFLOAT:
            bits = 0
            for i in range(8):
                bits = (bits << 8) | int(raw[argument + i])
            made, a[nodes] = FLOAT, bits
        elif code == _NONE:
            made = NONE
        elif code == _NEWTRUE:
            made = TRUE
        elif code == _NEWFALSE:
            made = FALSE
        elif code in (_EMPTY_DICT, _EMPTY_LIST, _EMPTY_TUPLE):
            made = DICT if code == _EMPTY_DICT else LIST if code == _EMPTY_LIST else TUPLE
            a[nodes] = b[nodes] = -1
        elif code == _MARK:
            marks[depth] = height
            depth += 1
            floor = height
        elif _TUPLE1 <= code <= _TUPLE3 or code in (_TUPLE, _APPEND, _SETITEM, _APPENDS, _SETITEMS):
            # Values move from the stack into cells.
            if code in (_TUPLE, _APPENDS, _SETITEMS):
                if depth == 0:
                    return -1
                depth -= 1
                first = marks[depth]
                floor = marks[depth - 1] if depth else 0
            else:
                first = height - (1 if code == _APPEND else 2 if code == _SETITEM else code - _TUPLE1 + 1)
            is_tuple = (_TUPLE1 <= code <= _TUPLE3) or code == _TUPLE
            if first < floor + (0 if is_tuple else 1):
                return -1
            if is_tuple:
                into = nodes
                made, a[into], b[into] = TUPLE, -1, -1
            else:
                into = stack[first - 1]
                is_dict = code in (_SETITEM, _SETITEMS)
                if kind[into] != (DICT if is_dict else LIST) or (is_dict and (height - first) % 2):
                    return -1
            for i in range(first, height):
                value[cells], after[cells] = stack[i], -1
                if b[into] < 0:
                    a[into] = cells
                else:
                    after[b[into]] = cells
                b[into] = cells
                cells += 1
            height = first
        elif code == _STOP:
            return stack[0] if height == 1 and depth == 0 else -1
        elif code == _PROTO:
            if number > 5:
                return -1
        elif code != _FRAME:
            return -1
        if made >= 0:
            kind[nodes] = made
            stack[height] = nodes
            height += 1
            nodes += 1
    return -1


@compiled
def _fields(room: Room, node: int, slots: NDArray[np.int32]) -> bool:
    """Put the value that a dictionary has under each of KEYS into `slots`, -1 for none; False where it is none, or has
    a key that is no text."""
    slots[:] = -1
    if node < 0 or room.kind[node] != DICT:
        return False
    cell = room.a[node]
    while cell >= 0:
        key = room.value[cell]
        if room.kind[key] != TEXT:
            return False
        cell = room.after[cell]
        if room.key[key] >= 0:
            slots[room.key[key]] = room.value[cell]
        cell = room.after[cell]
    return True


@compiled
def _word(raw: Bytes, room: Room, node: int, table: NDArray[np.int32], words: Ints, known: int) -> int:
    """The number of a text among `words`, of which `known` are filled; a new one takes the next number. table: open
    addressing by the text's hash."""
    if room.word[node] >= 0:
        return room.word[node]
    start, length = room.a[node], room.b[node]
    mixed = np.uint64(14695981039346656037)  # FNV-1a
    for i in range(start, start + length):
        mixed = (mixed ^ np.uint64(raw[i])) * np.uint64(1099511628211)
    slot = np.int64(mixed & np.uint64(len(table) - 1))
    while table[slot] >= 0:
        other = table[slot]
        if words[other, 1] == length:
            same = True
            for i in range(length):
                if raw[words[other, 0] + i] != raw[start + i]:
                    same = False
                    break
            if same:
                room.word[node] = other
                return other
        slot = (slot + 1) & (len(table) - 1)
    table[slot] = known
    words[known, 0], words[known, 1] = start, length
    room.word[node] = known
    return known


@compiled
def _config(room: Room, node: int, slots: NDArray[np.int32]) -> tuple[bool, Ints]:
    """The texts name and ranks of the process groups under pg_config, and whether all is as usual."""
    count = 0
    if node >= 0 and room.kind[node] == DICT:
        cell = room.a[node]
        while cell >= 0:
            count += 1
            cell = room.after[room.after[cell]]
    found = np.empty((count, 2, 2), np.int64)
    if count == 0:
        return node < 0 or room.kind[node] == DICT, found
    cell, row = room.a[node], 0
    while cell >= 0:
        if room.kind[room.value[cell]] != TEXT or not _fields(room, room.value[room.after[cell]], slots):
            return False, found
        for column, key in enumerate((NAME, RANKS)):
            text = slots[key]
            if text < 0 or room.kind[text] != TEXT:
                return False, found
            found[row, column, 0], found[row, column, 1] = room.a[text], room.b[text]
        row += 1
        cell = room.after[room.after[cell]]
    return True, found


@compiled
def _extract(raw: Bytes, root: int, room: Room) -> tuple[bool, Columns]:
    """Whether the pickle's value is a dump of the usual shape, and its columns."""
    slots = np.empty(len(_KEY_ENDS), np.int32)
    version = np.zeros(2, np.int64)
    empty = Columns(
        np.empty((0, 3), np.int64), np.empty((0, 3), np.int32), np.empty(0, np.bool_), np.empty(0, np.float64),
        np.empty((0, 2), np.int64), np.empty((0, 2, 2), np.int64), version,
    )  # fmt: skip
    if not _fields(room, root, slots):
        return False, empty
    entries, config = slots[ENTRIES], slots[CONFIG]
    if slots[VERSION] < 0 or room.kind[slots[VERSION]] != TEXT or entries < 0 or room.kind[entries] != LIST:
        return False, empty
    version[0], version[1] = room.a[slots[VERSION]], room.b[slots[VERSION]]
    is_plain, groups = _config(room, config, slots)
    if not is_plain:
        return False, empty
    count = 0
    cell = room.a[entries]
    while cell >= 0:
        count += 1
        cell = room.after[cell]
    numbers, texts = np.empty((count, 3), np.int64), np.full((count, 3), -1, np.int32)
    is_p2p, duration = np.empty(count, np.bool_), np.full(count, np.nan)
    size = 16
    while size < 6 * count:
        size *= 2
    table, words, known = np.full(size, -1, np.int32), np.empty((3 * count, 2), np.int64), 0
    bits = np.empty(1, np.int64)
    as_float = bits.view(np.float64)
    cell = room.a[entries]
    for row in range(count):
        if not _fields(room, room.value[cell], slots):
            return False, empty
        cell = room.after[cell]
        flag = slots[IS_P2P]
        if flag >= 0 and room.kind[flag] > TRUE:
            return False, empty
        is_p2p[row] = flag >= 0 and room.kind[flag] == TRUE
        for column, key in enumerate((RECORD, P2P_SEQUENCE if is_p2p[row] else SEQUENCE, CREATED)):
            node = slots[key]
            if node < 0 or room.kind[node] != INT:
                return False, empty
            numbers[row, column] = room.a[node]
        group = slots[GROUP]
        if group < 0 or (room.kind[group] != LIST and room.kind[group] != TUPLE) or room.a[group] < 0:
            return False, empty
        slots[GROUP] = room.value[room.a[group]]
        for column, key in enumerate((GROUP, OPERATION, STATE)):
            node = slots[key]
            if node >= 0 and room.kind[node] == TEXT:
                texts[row, column] = _word(raw, room, node, table, words, known)
                known = max(known, texts[row, column] + 1)
            elif node >= 0 or key == GROUP:
                return False, empty
        node = slots[DURATION]
        if node >= 0 and room.kind[node] == FLOAT:
            bits[0] = room.a[node]
            duration[row] = as_float[0]
        elif node >= 0 and room.kind[node] == INT:
            duration[row] = room.a[node]
        elif node >= 0 and room.kind[node] != NONE:
            return False, empty
    return True, Columns(numbers, texts, is_p2p, duration, words[:known], groups, version)
