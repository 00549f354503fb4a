"""Requests in the forms in which clients send them, each with what is right for it.

`tests/data/requests/` has a file for each client or kind, and in it a list of cases:

    name      of its own among all files; others may refer to it
    path      /v1/chat/completions where it is not said
    body      the request; or `text`, where it is none that a JSON writer would make
    status    200 where it is not said
    same_as   the name of a case that gets the same answer: what the two differ in changed nothing
    shows     values in the answer by their place, such as "choices.0.finish_reason"
    schema    what the content, or the arguments of every call, must be valid under by `jsonschema`
    headers   words in headers of the answer
    error     `param` and `code` of a refusal, and `words` in its message

An answer that was streamed is put together first, so that it may be the same as one that was not.
The bodies are made, not recorded: short prompts, few tokens, and a seed where answers are compared.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from cierzo.api.openai.wire.chat import ChatRequest
from cierzo.api.openai.wire.foreign import _ONLY, _UNUSED
from tests.api.live import Live
from tests.api.openai.test_chat import events
from tests.api.tools import joined

FOLDER = Path(__file__).parents[2] / "data" / "requests"
CASES: dict[str, dict[str, Any]] = {
    case["name"]: case
    for file in sorted(FOLDER.glob("*.json"))
    for case in json.loads(file.read_text(encoding="utf-8"))
}
KEYS = {"name", "path", "body", "text", "status", "same_as", "shows", "schema", "headers", "error"}
NAMES = list(CASES)


def post(server: Live, case: dict[str, Any]) -> httpx.Response:
    """Sends it, as text of its own where it has one."""
    text = case.get("text")
    content = json.dumps(case["body"]) if text is None else text
    with server.client() as client:
        return client.post(
            case.get("path", "/v1/chat/completions"),
            content=content.encode(),
            headers={"content-type": "application/json"},
        )


def answer_of(case: dict[str, Any], response: httpx.Response) -> dict[str, Any]:
    """The whole answer, without what is new in each."""
    if case.get("body", {}).get("stream") in (True, "true", 1):
        answer = _put_together(events(response.text))
    else:
        answer = response.json()
    for name in ("id", "created", "service_tier", "object"):
        answer.pop(name, None)
    return answer


def _put_together(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """What the answer would be without `stream`. Usage is there if it was sent."""
    answer = {k: v for k, v in chunks[-1].items() if k != "choices"}
    indexes = sorted({choice["index"] for chunk in chunks for choice in chunk["choices"]})
    answer["choices"] = [joined(chunks, index) for index in indexes]
    return answer


def said(answer: dict[str, Any]) -> list[Any]:
    """What two answers that are the same have alike, streamed or not."""
    found: list[Any] = []
    for choice in answer["choices"]:
        message = choice.get("message", {})
        found.append(
            (
                choice.get("text"),
                message.get("content") or None,
                json.dumps(message.get("tool_calls") or None),
                choice["finish_reason"],
            )
        )
    return found


@functools.cache
def _answer(url: str, name: str) -> str:
    """Of a case that others are compared with, asked for once."""
    case = CASES[name]
    with httpx.Client(base_url=url, timeout=240) as client:
        path = case.get("path", "/v1/chat/completions")
        response = client.post(path, json=case["body"])
    assert response.status_code == 200, response.text
    return json.dumps(answer_of(case, response))


def _of(server: Live, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_answer(server.url, name))
    return found


def at(answer: Any, place: str) -> Any:
    """The value at a place such as "choices.0.message.content"."""
    for part in place.split("."):
        answer = answer[int(part) if isinstance(answer, list) else part]
    return answer


@pytest.mark.parametrize("name", NAMES)
def test_a_request_gets_what_is_right(server: Live, name: str) -> None:
    case = CASES[name]
    response = post(server, case)
    assert response.status_code == case.get("status", 200), response.text
    for header, words in case.get("headers", {}).items():
        assert words in response.headers[header]
    if response.status_code != 200:
        error = response.json()["error"]
        wanted = case["error"]
        assert {key: error[key] for key in wanted if key != "words"} == {
            key: value for key, value in wanted.items() if key != "words"
        }
        assert wanted.get("words", "") in error["message"]
        return
    answer = answer_of(case, response)
    for place, value in case.get("shows", {}).items():
        assert at(answer, place) == value, place
    if "same_as" in case:
        other = _of(server, case["same_as"])
        assert said(answer) == said(other)
        if "usage" in answer and "usage" in other:
            for part in ("prompt_tokens", "completion_tokens"):
                assert answer["usage"][part] == other["usage"][part]
    if "schema" in case:
        (choice,) = answer["choices"]
        calls = choice["message"].get("tool_calls") or []
        texts = [call["function"]["arguments"] for call in calls]
        for text in texts or [choice["message"]["content"]]:
            jsonschema.validate(json.loads(text), case["schema"])


def test_the_corpus_is_large_and_says_what_is_right() -> None:
    files = [json.loads(file.read_text(encoding="utf-8")) for file in FOLDER.glob("*.json")]
    assert len(CASES) == sum(map(len, files)) >= 150
    for name, case in CASES.items():
        assert set(case) <= KEYS, name
        assert ("body" in case) != ("text" in case), name
        assert case.get("same_as", name) in CASES
        assert (case.get("status", 200) == 200) != ("error" in case), name
        assert re.fullmatch(r"[ -~]+", name)


def test_every_parameter_of_others_is_known_and_named(server: Live) -> None:
    """Off or without effect, they change nothing; on, they are refused by their names."""
    plain = CASES["plain"]
    of_chats = set(ChatRequest.__struct_fields__)  # some are of others where texts are gone on with
    for name in _UNUSED - of_chats:
        case = {"name": name, "body": {**plain["body"], name: {"any": [1, "form"]}}}
        assert said(answer_of(case, post(server, case))) == said(_of(server, "plain")), name
    for name, harmless in _ONLY.items():
        if name in of_chats:
            continue
        for value in (None, [], *harmless):
            case = {"name": name, "body": {**plain["body"], name: value}}
            assert said(answer_of(case, post(server, case))) == said(_of(server, "plain")), name
        for value in ("on", [["on"]], {"on": [1] * 100}):
            response = post(server, {"name": name, "body": {**plain["body"], name: value}})
            assert response.status_code == 400, name
            assert response.json()["error"]["param"] == name


def test_the_test_can_fail(server: Live) -> None:
    """Another seed is another answer, and both are compared by what they say."""
    one, other = (
        {"name": "n", "body": {**CASES["plain"]["body"], "seed": seed, "max_tokens": 12}}
        for seed in (1, 2)
    )
    answers = [answer_of(case, post(server, case)) for case in (one, other, one)]
    assert said(answers[0]) == said(answers[2]) != said(answers[1])
