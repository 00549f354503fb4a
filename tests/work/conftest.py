"""The edges that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.work.edge import Edge, source_of


@pytest.fixture(scope="session")
def make_edge(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Edge]:
    """An edge in front of a model of some kind."""
    made: dict[str, Edge] = {}

    def make(kind: str) -> Edge:
        if kind not in made:
            made[kind] = Edge(source_of(kind, tmp_path_factory.mktemp(kind)))
        return made[kind]

    return make


@pytest.fixture
def edge(make_edge: Callable[[str], Edge]) -> Edge:
    """The one with a Jinja template."""
    return make_edge("jinja")
