"""A prediction makes an answer come sooner, or not; it never changes it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.live import HELLO, Live

BODY: dict[str, Any] = {"messages": HELLO, "max_tokens": 40, "seed": 3, "temperature": 0.7}


def answered(server: Live, **fields: Any) -> tuple[str, dict[str, int]]:
    response = server.chat(**{**BODY, **fields})
    assert response.status_code == 200, response.text
    body = response.json()
    return body["choices"][0]["message"]["content"], body["usage"]["completion_tokens_details"]


@pytest.mark.parametrize(
    "content",
    [
        "It was said that the wind would turn.",
        [{"type": "text", "text": "It was said "}, {"type": "text", "text": "otherwise."}],
        ["in", "parts"],
        "x" * 100_000,
        "",
        None,
        7,
        {"a": [{}]},
    ],
)
def test_any_prediction_leaves_the_answer_as_it_is(server: Live, content: Any) -> None:
    text, _ = answered(server)
    predicted = {"type": "content", "content": content}
    assert answered(server, prediction=predicted)[0] == text
    assert answered(server, prediction=content)[0] == text


def test_a_wrong_prediction_is_rejected(server: Live) -> None:
    words = "Hello there, how is the wind today? " * 4
    details = answered(server, prediction={"type": "content", "content": words})[1]
    assert details["accepted_prediction_tokens"] <= details["rejected_prediction_tokens"]
