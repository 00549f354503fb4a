"""No character that some client takes for the end of a line stands raw in what is sent."""

from __future__ import annotations

import json

import pytest

from cierzo.api.errors import bad_request
from cierzo.api.http.sse import event, json_response
from cierzo.api.http.to_json import to_json
from cierzo.api.openai.dialect import OPENAI
from tests.api.live import Live

LINE_ENDS = [chr(code) for code in range(0x110000) if len(f"a{chr(code)}b".splitlines()) == 2]


def test_these_are_all_that_python_knows() -> None:
    assert {"\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"} == set(
        LINE_ENDS
    )


@pytest.mark.parametrize("end", LINE_ENDS, ids=lambda end: f"U+{ord(end):04X}")
def test_a_value_is_one_line_and_comes_back(end: str) -> None:
    value = {"content": f"a{end}b", end: [f"\\{end}", "é\U0001f600\u2027\u202a\xc2\x84"]}
    text = to_json(value).decode()
    assert len(text.splitlines()) == 1
    assert json.loads(text) == value
    assert event(value).decode().splitlines() == [f"data: {text}", ""]
    assert json_response(value).body == text.encode()


def test_errors_are_one_line(server: Live) -> None:
    model = "".join(LINE_ENDS)
    error = bad_request(model)
    assert len(OPENAI.error_body(error).decode().splitlines()) == 1
    assert len(OPENAI.broken_event(error, {}, {}).decode().splitlines()) == 2
    response = server.chat(model=model, max_tokens=1)
    assert response.status_code == 404
    assert len(response.text.splitlines()) == 1
    assert model in response.json()["error"]["message"]
