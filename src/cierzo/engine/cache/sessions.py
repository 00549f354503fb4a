"""Where each session left the tree last, and what it has thereby replaced.

A session that says its name is followed from request to request. Where a request leaves the path of
the last one, the rest of that was rewritten: an edit, a retry, a history that changed. Nobody is
likely to ask for it again. But a much shorter request may be another agent of the same session, and
a session that comes back to what it seemed to have replaced has several: nothing is said of it any
more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from cierzo.engine.cache.prefix_tree import Node

Key: TypeAlias = tuple[str, bytes]  # salt and name

MOST_SESSIONS = 4_096
MOST_BRANCHES = 16  # of a session that are remembered
AS_LONG = 0.5


@dataclass(eq=False, slots=True)
class _Session:
    """One session."""

    last: Node
    replaced: list[tuple[int, bytes]] = field(default_factory=list)  # depth, tokens: first nodes
    has_agents: bool = False


class Sessions:
    """The sessions that left something in the tree, the one that did so last at the end."""

    def __init__(self) -> None:
        self._sessions: dict[Key, _Session] = {}
        self._ends: dict[Node, set[Key]] = {}  # of sessions, by their last node

    def __len__(self) -> int:
        return len(self._sessions)

    def leave(self, key: Key, path: list[Node]) -> list[Node]:
        """A session leaves this path; the nodes that it has replaced, the last one first, and that
        nobody else has used since."""
        if not path:
            return []
        session = self._sessions.pop(key, None)
        replaced: list[Node] = []
        if session is None:
            session = _Session(path[-1])
        else:
            self._forget_end(key, session.last)
            replaced = [node for node in _replaced(session, path) if node.session == key]
            session.last = path[-1]
        self._sessions[key] = session
        self._ends.setdefault(path[-1], set()).add(key)
        if len(self._sessions) > MOST_SESSIONS:
            oldest = next(iter(self._sessions))
            self._forget_end(oldest, self._sessions.pop(oldest).last)
        return replaced

    def detach(self, node: Node) -> None:
        """A node leaves the tree."""
        for key in self._ends.pop(node, ()):
            session = self._sessions[key]
            if node.parent is None or node.parent.parent is None:
                del self._sessions[key]
            else:
                session.last = node.parent
                self._ends.setdefault(node.parent, set()).add(key)

    def check(self) -> None:
        """Raises AssertionError unless each session's last node is in the tree, and known here."""
        ends = {(key, session.last) for key, session in self._sessions.items()}
        assert ends == {(key, node) for node, keys in self._ends.items() for key in keys}
        assert all(node.in_tree for node in self._ends)

    def _forget_end(self, key: Key, node: Node) -> None:
        keys = self._ends[node]
        keys.discard(key)
        if not keys:
            del self._ends[node]


def _replaced(session: _Session, path: list[Node]) -> list[Node]:
    """The nodes of a session's last path that are not on this one, and not its beginning."""
    session.has_agents |= any(_is_on(path, *branch) for branch in session.replaced)
    if session.has_agents or len(path) < session.last.depth * AS_LONG:
        return []
    gone: list[Node] = []
    node = session.last
    while node.parent is not None and (node.depth > len(path) or path[node.depth - 1] is not node):
        gone.append(node)
        node = node.parent
    branch = (node.depth + 1, gone[-1].tokens if gone else b"")
    if len(path) < branch[0] or _is_on(path, *branch):
        return []
    session.replaced = [*session.replaced, branch][-MOST_BRANCHES:]
    return gone


def _is_on(path: list[Node], depth: int, tokens: bytes) -> bool:
    """Whether a path goes through a node that was there with these tokens, if it was full."""
    return depth <= len(path) and path[depth - 1].tokens.startswith(tokens)
