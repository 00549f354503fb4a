"""Bodies that are not what they should be, and the one line that says so."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cierzo.api.errors import ApiError
from cierzo.api.openai.reading.messages import to_chat_message
from cierzo.api.openai.wire.chat import ChatRequest
from cierzo.api.openai.wire.completions import CompletionRequest
from cierzo.api.openai.wire.decode import Decoder, decode_request
from cierzo.api.openai.wire.foreign import RequestDecoder
from cierzo.chat.messages import Message
from cierzo.settings import Limits

CHAT = RequestDecoder(ChatRequest)
COMPLETION = RequestDecoder(CompletionRequest)
MESSAGES = '"messages": [{"role": "user", "content": "a"}]'


def read(body: bytes, decoder: Decoder[object] = CHAT) -> list[Message]:
    """The messages of a request, read as the server does."""
    request = decode_request(body, decoder, Limits())
    if not isinstance(request, ChatRequest):
        return []
    return [to_chat_message(m, f"messages[{at}]") for at, m in enumerate(request.messages)]


def refused(body: str | bytes, decoder: Decoder[object] = CHAT) -> ApiError:
    data = body if isinstance(body, bytes) else body.encode()
    with pytest.raises(ApiError) as caught:
        read(data, decoder)
    assert caught.value.status == 400
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("field", "param"),
    [
        ('"temperature": "warm"', "temperature"),
        ('"temperature": true', "temperature"),
        ('"temperature": 2.5', "temperature"),
        ('"temperature": 1e999', "temperature"),
        ('"top_p": -0.1', "top_p"),
        ('"top_k": -2', "top_k"),
        ('"max_tokens": 1.5', "max_tokens"),
        ('"max_tokens": "many"', "max_tokens"),
        ('"max_tokens": -2', "max_tokens"),
        ('"n": true', "n"),
        ('"seed": 0.5', "seed"),
        ('"seed": ' + "9" * 5000, "seed"),
        ('"stop": 3', "stop"),
        ('"stop": ["a", 1]', "stop[1]"),
        ('"logit_bias": {"5": 101}', "logit_bias[...]"),
        ('"logit_bias": {"five": 1}', "logit_bias"),
        ('"stream": "yes"', "stream"),
        ('"stream_options": {"usage": true}', "stream_options.usage"),
        ('"frobnicate": 1', "frobnicate"),
        ('"tempratur": 1', "tempratur"),
    ],
)
def test_the_field_at_fault_is_named(field: str, param: str) -> None:
    error = refused(f"{{{MESSAGES}, {field}}}")
    assert error.param == param
    assert str(error).startswith(param)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ("[]", "messages"),
        ('"hello"', "messages"),
        ('["hello"]', "messages[0]"),
        ('[{"content": "a"}]', "messages[0].role"),
        ('[{"role": "user"}]', "messages[0].content"),
        (
            '[{"role": "assistant", "tool_calls": [{"id": "a"}]}]',
            "messages[0].tool_calls[0].function",
        ),
        ('[{"role": "user", "content": {"a": 1}}]', "messages[0].content"),
        ('[{"role": "user", "content": [{"a": 1}]}]', "messages[0].content"),
        ('[{"role": "user", "content": [[]]}]', "messages[0].content"),
        ('[{"role": "user", "content": [{"type": "text"}]}]', "messages[0].content[0].text"),
        ('[{"role": "user", "content": "a", "images": ["iVBO"]}]', "messages[0].images"),
        ('[{"role": "tool", "content": [{"type": "image"}]}]', "messages[0].content[0].type"),
        ('[{"role": "user", "content": [{"type": "tool_result"}]}]', "messages[0].content[0].type"),
    ],
)
def test_the_part_of_a_message_at_fault_is_named(messages: str, param: str) -> None:
    assert refused(f'{{"messages": {messages}}}').param == param


def test_an_unknown_role_lists_the_known_ones() -> None:
    error = refused('{"messages": [{"role": "wizard", "content": "a"}]}')
    assert "'wizard'" in str(error)
    assert "system, developer, user, assistant, tool" in str(error)


def test_an_image_is_refused_by_name() -> None:
    part = '{"type": "image_url", "image_url": {"url": "http://example.org/a.png"}}'
    error = refused(f'{{"messages": [{{"role": "user", "content": [{part}]}}]}}')
    assert "'image_url'" in str(error)
    assert "'text' only" in str(error)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no body"),
        (b"{", "line 1, column"),
        (b'{"messages": [}', "line 1, column 15"),
        (f"{{{MESSAGES}, \n 'a': 1}}".encode(), "line 2, column 2"),
        (f'{{{MESSAGES}, "temperature": NaN}}'.encode(), "NaN is not a JSON number"),
        (f'{{{MESSAGES}, "temperature": -Infinity}}'.encode(), "-Infinity is not a JSON number"),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', "not UTF-8 at byte 43"),
        (b'{"messages": [{"role": "user", "content": "\\ud800', "too early, at line 1, column 50"),
        (b'{"model": "\\\\\\', "too early, at line 1, column 15"),
        (b"[1]", "expected object"),
        (b"null", "expected object"),
        (f"{{{MESSAGES}}} {{}}".encode(), "line 1, column"),
    ],
)
def test_what_is_not_json_is_explained(body: bytes, words: str) -> None:
    assert words in str(refused(body))


def test_a_byte_order_mark_is_no_part_of_the_json() -> None:
    assert decode_request(b"\xef\xbb\xbf{" + MESSAGES.encode() + b"}", CHAT, Limits()).messages
    assert "no body" in str(refused(b"\xef\xbb\xbf"))


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting_is_refused_before_it_is_parsed(opening: str) -> None:
    error = refused(f'{{{MESSAGES}, "trace": {{"a": {opening * 1_000_000}')
    assert "nested deeper than 64" in str(error)


ESCAPES = st.lists(
    st.sampled_from(
        ["\\ud83d", "\\ude00", "\\uD800", "\\u0041", "\\\\", "\\n", '\\"', "u", "d83d", "é", "a"]
    ),
    max_size=12,
)


@given(ESCAPES)
def test_half_of_a_surrogate_pair_is_read_as_an_encoder_writes_it(pieces: list[str]) -> None:
    text = f'"{"".join(pieces)}"'
    plain = json.loads(text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    body = f'{{"messages": [{{"role": "user", "content": {text}}}]}}'
    (message,) = read(body.encode())
    assert message.content == plain


def status_of(body: bytes, decoder: Decoder[object]) -> int:
    try:
        read(body, decoder)
    except ApiError as error:
        return error.status
    return 200


@given(st.binary(max_size=60))
def test_no_bytes_do_worse_than_a_400(data: bytes) -> None:
    for body in (data, f"{{{MESSAGES}, ".encode() + data, b'{"prompt": ' + data + b"}"):
        for decoder in (CHAT, COMPLETION):
            assert status_of(body, decoder) in (200, 400)
