"""The pattern of everything that another does not match, where it stays small.

The usual way: an automaton for the pattern, made deterministic; its other states accept; and back
to an expression by taking out one state after another.
"""

from __future__ import annotations

from itertools import pairwise

from cierzo.grammar.pattern.nodes import Chars, Choice, Node, Ranges, Repeat, Sequence, merged
from cierzo.grammar.pattern.spelling import spelled

MOST_STEPS = 400  # of the automaton for the pattern
MOST_STATES = 24  # of the deterministic one
MOST_TEXT = 4_000  # characters of the result


class _TooLarge(Exception):
    pass


def inverse_of(node: Node) -> str | None:
    """The expression, without anchors, of all texts that `node` is not the whole of."""
    try:
        return _inverse(node)
    except _TooLarge:
        return None


class _Automaton:
    """Steps on characters and steps on nothing, from 0 to `end`."""

    def __init__(self, node: Node) -> None:
        self.moves: list[list[tuple[Chars, int]]] = [[]]
        self.skips: list[list[int]] = [[]]
        self.end = self.add(node, 0)

    def new(self) -> int:
        if len(self.moves) > MOST_STEPS:
            raise _TooLarge
        self.moves.append([])
        self.skips.append([])
        return len(self.moves) - 1

    def add(self, node: Node, start: int) -> int:
        """Builds on from a step; gives the step where the node has matched."""
        if isinstance(node, Chars):
            end = self.new()
            self.moves[start].append((node, end))
            return end
        if isinstance(node, Sequence):
            for item in node.items:
                start = self.add(item, start)
            return start
        if isinstance(node, Choice):
            end = self.new()
            for option in node.options:
                self.skips[self.add(option, start)].append(end)
            return end
        assert isinstance(node, Repeat)
        for _ in range(node.low):
            start = self.add(node.item, start)
        if node.high is None:
            loop = self.new()
            self.skips[start].append(loop)
            self.skips[self.add(node.item, loop)].append(loop)
            return loop
        end = self.new()
        for _ in range(node.high - node.low):
            self.skips[start].append(end)
            start = self.add(node.item, start)
        self.skips[start].append(end)
        return end

    def closed(self, steps: set[int]) -> frozenset[int]:
        found, stack = set(steps), list(steps)
        while stack:
            for after in self.skips[stack.pop()]:
                if after not in found:
                    found.add(after)
                    stack.append(after)
        return frozenset(found)

    def parts(self) -> list[Ranges]:
        """Cuts all characters into sets that no step tells apart."""
        marks = {0, 0x110000}
        sets = list({chars for moves in self.moves for chars, _ in moves})
        for chars in sets:
            for low, high in chars.ranges:
                marks |= {low, high + 1}
        edges = sorted(marks)
        by_kind: dict[tuple[bool, ...], list[tuple[int, int]]] = {}
        if len(edges) * len(sets) > 200_000:
            raise _TooLarge
        for low, after in pairwise(edges):
            kind = tuple(chars.has(low) for chars in sets)
            by_kind.setdefault(kind, []).append((low, after - 1))
        return [merged(ranges) for ranges in by_kind.values()]


def _inverse(node: Node) -> str:
    automaton = _Automaton(node)
    parts = automaton.parts()
    first = automaton.closed({0})
    numbers = {first: 0}
    arrows: dict[tuple[int, int], list[tuple[int, int]]] = {}
    stack = [first]
    while stack:
        steps = stack.pop()
        for ranges in parts:
            point = ranges[0][0]
            after = automaton.closed(
                {to for step in steps for chars, to in automaton.moves[step] if chars.has(point)}
            )
            if after not in numbers:
                if len(numbers) >= MOST_STATES:
                    raise _TooLarge
                numbers[after] = len(numbers)
                stack.append(after)
            arrows.setdefault((numbers[steps], numbers[after]), []).extend(ranges)
    accepting = {number for steps, number in numbers.items() if automaton.end not in steps}
    edges = {ends: spelled(Chars(merged(ranges))) for ends, ranges in arrows.items()}
    return _expression(edges, len(numbers), accepting)


def _expression(edges: dict[tuple[int, int], str], states: int, accepting: set[int]) -> str:
    """Takes out the states until one arrow is left, from the start to the end."""
    start, end = states, states + 1
    edges[start, 0] = ""
    for state in accepting:
        edges[state, end] = ""
    left = set(range(states))
    while left:
        state = min(left, key=lambda one: sum(one in ends for ends in edges))
        left.remove(state)
        loop = edges.pop((state, state), None)
        again = "" if loop is None else f"(?:{loop})*"
        before = [(a, text) for (a, b), text in edges.items() if b == state]
        after = [(b, text) for (a, b), text in edges.items() if a == state]
        edges = {ends: text for ends, text in edges.items() if state not in ends}
        for a, head in before:
            for b, tail in after:
                path = f"{_group(head)}{again}{_group(tail)}"
                known = edges.get((a, b))
                edges[a, b] = path if known is None else f"{known}|{path}"
                if len(edges[a, b]) > MOST_TEXT:
                    raise _TooLarge
    return edges.get((start, end), spelled(Chars(())))


def _group(text: str) -> str:
    return f"(?:{text})" if "|" in text else text
