"""Reading a pattern. ECMA-262's syntax, with the few things of Python's that schemas also use."""

from __future__ import annotations

import re
from functools import lru_cache

from cierzo.grammar.pattern import classes
from cierzo.grammar.pattern.nodes import (
    EMPTY,
    Anchor,
    Chars,
    Choice,
    Look,
    Node,
    Ranges,
    Repeat,
    Sequence,
    complement,
    merged,
)

MOST_NESTED = 60
MOST_REPEATS = 100_000
_CONTROLS = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "0": 0, "a": 7}
_COUNTS = re.compile(r"\{(\d+)(,(\d*))?\}|\{,(\d+)\}")
_LOOKS = {"?=": (True, False), "?!": (True, True), "?<=": (False, False), "?<!": (False, True)}
_NAMED = re.compile(r"\?P?<([A-Za-z_][A-Za-z0-9_]*)>")
_FLAGS = re.compile(r"\?([aimsux]+)([:)])")


_LINE_FEED = Chars(((10, 10),))
_BEFORE_THE_END = Look(True, False, Sequence((Repeat(_LINE_FEED, 0, 1), Anchor("$"))))  # Python's $


class PatternError(ValueError):
    """The text is not a regular expression, or uses something that is not supported."""


@lru_cache(maxsize=512)
def parse(pattern: str, *, as_python: bool = False) -> Node:
    """Reads a pattern; PatternError if it is not one.

    What matches matches in every engine. With `as_python`, what matches in Python: that is more,
    and where something must not match, it matters.
    """
    reader = _Reader(pattern, as_python)
    node = reader.choice(0)
    if reader.at < len(pattern):
        raise PatternError(f"unmatched {pattern[reader.at]!r} at {reader.at}")
    return node


def is_clear(pattern: str) -> bool:
    """Whether every engine reads a pattern in the same way."""
    return parse(pattern) == parse(pattern, as_python=True)


class _Reader:
    def __init__(self, text: str, as_python: bool) -> None:
        self.text = text
        self.as_python = as_python
        self.at = 0
        self.folds = False  # (?i)
        self.all = False  # (?s)

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, text: str) -> bool:
        if self.text.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def choice(self, depth: int) -> Node:
        if depth > MOST_NESTED:
            raise PatternError("groups are nested too deep")
        options = [self.sequence(depth)]
        while self.take("|"):
            options.append(self.sequence(depth))
        if all(isinstance(option, Chars) for option in options):
            sets = [option.ranges for option in options if isinstance(option, Chars)]
            return Chars(merged(part for ranges in sets for part in ranges))
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def sequence(self, depth: int) -> Node:
        items: list[Node] = []
        while self.peek() not in ("", "|", ")"):
            items.append(self.repeated(self.atom(depth)))
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def repeated(self, item: Node) -> Node:
        while True:
            counts = _COUNTS.match(self.text, self.at)
            if self.take("*"):
                low, high = 0, None
            elif self.take("+"):
                low, high = 1, None
            elif self.take("?"):
                low, high = 0, 1
            elif counts:
                self.at = counts.end()
                low = int(counts[1] or 0)
                most = counts[4] or (counts[1] if counts[2] is None else counts[3])
                high = int(most) if most else None
                if max(low, high or 0) > MOST_REPEATS:
                    raise PatternError("a repetition is too long")
                if high is not None and high < low:
                    raise PatternError("a repetition's bounds are out of order")
            else:
                return item
            if isinstance(item, Repeat) and (item.low, item.high) == (0, None):
                low, high = 0, None
            item = Repeat(item, low, high)
            _ = self.take("?") or self.take("+")  # lazy or not, the same texts match

    def atom(self, depth: int) -> Node:
        char = self.peek()
        self.at += 1
        if char == "(":
            return self.group(depth)
        if char == "[":
            return self.char_class()
        if char == "\\":
            return self.escape()
        if char == ".":
            ends = _LINE_FEED.ranges if self.as_python else classes.NEWLINES
            return Chars(((0, 0x10FFFF),) if self.all else complement(ends))
        if char in "^$":
            return self.edge(char)
        if char in "*+?":
            raise PatternError(f"nothing to repeat at {self.at - 1}")
        return self.literal(ord(char))

    def edge(self, char: str) -> Node:
        if char == "^":
            return Anchor("^")
        return _BEFORE_THE_END if self.as_python else Anchor("$")

    def literal(self, point: int) -> Node:
        return Chars(self.folded(((point, point),)))

    def folded(self, ranges: Ranges) -> Ranges:
        if not self.folds:
            return ranges
        more = [*ranges]
        for low, high in ranges:
            if high - low > 0x300:
                continue
            for point in range(low, high + 1):
                cases = (chr(point).lower(), chr(point).upper())
                more.extend((ord(other), ord(other)) for other in cases if len(other) == 1)
        return merged(more)

    def group(self, depth: int) -> Node:
        flags = _FLAGS.match(self.text, self.at)
        if flags:
            return self.flagged(flags, depth)
        look = next((key for key in ("?<=", "?<!", "?=", "?!") if self.take(key)), None)
        named = None if look else _NAMED.match(self.text, self.at)
        if named:
            self.at = named.end()
        elif not look and not self.take("?:") and self.peek() == "?":
            raise PatternError(f"an unknown kind of group at {self.at}")
        inner = self.choice(depth + 1)
        if not self.take(")"):
            raise PatternError("a group is not closed")
        return Look(*_LOOKS[look], inner) if look else inner

    def flagged(self, flags: re.Match[str], depth: int) -> Node:
        """Reads a group with flags: for itself if it has something in it, else for what follows."""
        self.at = flags.end()
        before = self.folds, self.all
        self.folds |= "i" in flags[1]
        self.all |= "s" in flags[1]
        if set(flags[1]) & set("mx"):
            raise PatternError(f"the flags {flags[1]!r} are not supported")
        if flags[2] == ")":
            return EMPTY
        inner = self.choice(depth + 1)
        self.folds, self.all = before
        if not self.take(")"):
            raise PatternError("a group is not closed")
        return inner

    def escape(self) -> Node:
        char = self.peek()
        if char in ("b", "B"):
            self.at += 1
            return self.boundary(char)
        if char in ("A", "Z", "z"):
            self.at += 1
            return Anchor("^" if char == "A" else "$")
        if char == "k" or (char.isdigit() and char != "0"):
            raise PatternError("references back to a group are not supported")
        named = self.class_escape(negative=False)
        return Chars(named) if named is not None else self.literal(self.character())

    def boundary(self, char: str) -> Node:
        if not self.as_python:
            return Anchor("b" if char == "b" else "B")
        word = Chars(classes.python("w"))
        sides = ((True, False), (False, True)) if char == "b" else ((True, True), (False, False))
        looks = [
            (Look(False, not before, word), Look(True, not after, word)) for before, after in sides
        ]
        return Choice(tuple(Sequence(both) for both in looks))

    def class_escape(self, *, negative: bool) -> Ranges | None:
        """Reads a set after a backslash. `negative`: the set will be excluded."""
        char = self.peek()
        if char.lower() in classes.NARROW and char:
            self.at += 1
            excluded = char.isupper()
            name = char.lower()
            if self.as_python:
                return complement(classes.python(name)) if excluded else classes.python(name)
            ranges = classes.wide(name) if excluded != negative else classes.NARROW[name]
            return complement(ranges) if excluded else ranges
        if char in ("p", "P"):
            match = re.compile(r"[pP]\{(?:(?:General_Category|gc)=)?(\w+)\}|[pP]([LMNPSZC])").match(
                self.text, self.at
            )
            found = classes.category(match[1] or match[2]) if match else None
            if match is None or found is None:
                raise PatternError("a \\p property that is not supported")
            self.at = match.end()
            return complement(found) if char == "P" else found
        return None

    def character(self) -> int:
        """Reads one character after a backslash."""
        char = self.peek()
        if not char:
            raise PatternError("a backslash at the end")
        self.at += 1
        hexadecimal = {
            "x": r"(?:\{([0-9a-fA-F]{1,6})\}|([0-9a-fA-F]{2}))",
            "u": r"(?:\{([0-9a-fA-F]{1,6})\}|([0-9a-fA-F]{4}))",
        }
        if char in hexadecimal:
            match = re.compile(hexadecimal[char]).match(self.text, self.at)
            if match:
                self.at = match.end()
                return self.whole(int(match[match.lastindex or 1], 16))
        if char == "c" and self.peek().isalpha() and self.peek().isascii():
            self.at += 1
            return ord(self.text[self.at - 1]) % 32
        return _CONTROLS.get(char, ord(char))

    def whole(self, point: int) -> int:
        """The code point. Two halves of a character are one to ECMA-262, and two to Python."""
        if point > 0x10FFFF:
            raise PatternError("a character beyond Unicode")
        low = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})").match(self.text, self.at)
        if 0xD800 <= point < 0xDC00 and low:
            char = chr(0x10000 + ((point - 0xD800) << 10) + (int(low[1], 16) - 0xDC00))
            raise PatternError(f"engines disagree about a character in two halves; write {char!r}")
        return point

    def char_class(self) -> Node:
        negative = self.take("^")
        ranges: list[tuple[int, int]] = []
        if self.take("]"):  # as Python reads it; where no other ] follows, as ECMA-262 does
            if "]" not in self.text[self.at :]:
                return Chars(complement(()) if negative else ())
            ranges.append((ord("]"), ord("]")))
        while not self.take("]"):
            if not self.peek():
                raise PatternError("a set of characters is not closed")
            self.class_item(ranges, negative=negative)
        found = self.folded(merged(ranges))
        return Chars(complement(found) if negative else found)

    def class_item(self, ranges: list[tuple[int, int]], *, negative: bool) -> None:
        posix = re.compile(r"\[:(\w+):\]").match(self.text, self.at)
        if posix and posix[1] in classes.POSIX:
            self.at = posix.end()
            ranges.extend(classes.POSIX[posix[1]])
            return
        low = self.class_member(ranges, negative=negative)
        if low is None or self.peek() != "-" or self.text[self.at + 1 : self.at + 2] in ("]", ""):
            if low is not None:
                ranges.append((low, low))
            return
        self.at += 1
        high = self.class_member(ranges, negative=negative)
        if high is None:
            ranges.extend([(low, low), (ord("-"), ord("-"))])
        elif high < low:
            raise PatternError("a range of characters is out of order")
        else:
            ranges.append((low, high))

    def class_member(self, ranges: list[tuple[int, int]], *, negative: bool) -> int | None:
        char = self.peek()
        self.at += 1
        if char != "\\":
            return ord(char)
        named = self.class_escape(negative=negative)
        if named is not None:
            ranges.extend(named)
            return None
        if self.take("b"):
            return 8
        return self.character()
