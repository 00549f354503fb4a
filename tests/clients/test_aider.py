"""What aider sends through litellm: an edit in a stream, its commit message, a cut answer's rest.

aider itself pins three hundred packages, so its calls are made here as `aider/models.py` makes
them: `send_completion` adds temperature and a time-out, and nothing else to what the chat is.
"""

from __future__ import annotations

from typing import Any

import litellm
import pytest

from tests.api.live import Live
from tests.clients.questions import SERVED

FENCE = "```python\n"
SYSTEM = "Act as an expert software developer. Answer with edits in search/replace blocks."
FILES = (
    f"I have *added these files to the chat* so you can go ahead and edit them.\n\na.py\n{FENCE}"
)
# System, two turns of an example, the files, the wish, and a reminder at the end.
CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": "Change the greeting."},
    {"role": "assistant", "content": f"a.py\n{FENCE}<<<<<<< SEARCH\nhi\n=======\nhello\n>>>>>>>"},
    {"role": "user", "content": "I switched to a new code base. Don't consider the above files."},
    {"role": "assistant", "content": "Ok."},
    {"role": "user", "content": f"{FILES}print('hi')\n```\n"},
    {"role": "assistant", "content": "Ok, any changes I propose will be to those files."},
    {"role": "user", "content": "Print hello."},
    {"role": "system", "content": "Only ever answer with search/replace blocks."},
]


def complete(server: Live, **fields: Any) -> Any:
    return litellm.completion(
        model=f"openai/{SERVED}",
        api_base=f"{server.url}/v1",
        api_key="none",
        timeout=600,
        temperature=0,
        **fields,
    )


def streamed(server: Live, messages: list[dict[str, Any]], **fields: Any) -> tuple[str, str]:
    text, finish = "", ""
    for chunk in complete(server, messages=messages, stream=True, **fields):
        text += chunk.choices[0].delta.content or ""
        finish = chunk.choices[0].finish_reason or finish
    return text, finish


def test_an_edit_in_a_stream_and_its_rest(server: Live) -> None:
    """After `length` it sends what came as a last assistant message, with `prefix`."""
    text, finish = streamed(server, CHAT, max_tokens=8)
    assert finish == "length"
    rest, _ = streamed(
        server, [*CHAT, {"role": "assistant", "content": text, "prefix": True}], max_tokens=8
    )
    both, _ = streamed(server, CHAT, max_tokens=16)
    assert both == text + rest


def test_the_same_with_marks_for_a_cache(server: Live) -> None:
    marked = []
    for message in CHAT:
        part = {"type": "text", "text": message["content"], "cache_control": {"type": "ephemeral"}}
        marked.append({"role": message["role"], "content": [part]})
    assert streamed(server, marked, max_tokens=8) == streamed(server, CHAT, max_tokens=8)


def test_a_commit_message(server: Live) -> None:
    asked = [
        {"role": "system", "content": "Write a one-line commit message for the diff."},
        {"role": "user", "content": "# Diffs:\n-print('hi')\n+print('hello')"},
    ]
    assert complete(server, messages=asked, stream=False, max_tokens=20).choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
def test_an_edit_as_a_function(server: Live, stream: bool) -> None:
    edit = {
        "name": "replace_lines",
        "description": "create or update one or more files",
        "parameters": {
            "type": "object",
            "required": ["explanation"],
            "properties": {"explanation": {"type": "string", "maxLength": 20}},
            "additionalProperties": False,
        },
    }
    answer = complete(
        server,
        messages=CHAT,
        stream=stream,
        tools=[{"type": "function", "function": edit}],
        tool_choice={"type": "function", "function": {"name": "replace_lines"}},
        max_tokens=200,
    )
    if stream:
        answer = litellm.stream_chunk_builder(list(answer), messages=CHAT)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "replace_lines"
    assert "explanation" in call.function.arguments
