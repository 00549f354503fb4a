"""Whatever a request says, it is answered or refused: never a 500, never a hang."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cierzo.api.openai.wire.chat import ChatRequest
from cierzo.api.openai.wire.completions import CompletionRequest
from tests.api.live import HELLO, Live

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 30)
    | st.integers()
    | st.floats(-3, 3)
    | st.text(max_size=5)
    | st.sampled_from(["auto", "none", "text", "tiny", "user", "stop"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "effort", "name", "1", "2"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
messages = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "user", "assistant", "tool", "developer"]),
            "content": st.text(max_size=8) | values,
        }
    ),
    max_size=4,
)
prompts = st.text(max_size=8) | st.lists(st.integers(0, 600), max_size=5) | values
many = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def fields_of(kind: Any) -> st.SearchStrategy[dict[str, Any]]:
    names = [name for name in kind.__struct_fields__ if name not in ("messages", "prompt")]
    return st.dictionaries(st.sampled_from(names), values, max_size=3)


def check(server: Live, path: str, body: dict[str, Any]) -> None:
    body = {"max_tokens": 2, **body}
    response = server.post(path, body)
    assert response.status_code in (200, 400, 404), (body, response.text)
    if response.status_code != 200:
        assert response.json()["error"]["message"]


@many
@given(messages, fields_of(ChatRequest), st.sampled_from(["/v1", "/api/v1"]))
def test_any_chat(server: Live, said: list[Any], fields: dict[str, Any], owner: str) -> None:
    check(server, f"{owner}/chat/completions", {"messages": said, **fields})


@many
@given(fields_of(ChatRequest))
def test_any_field_of_a_good_chat(server: Live, fields: dict[str, Any]) -> None:
    check(server, "/v1/chat/completions", {"messages": HELLO, **fields})


@many
@given(prompts, fields_of(CompletionRequest))
def test_any_completion(server: Live, prompt: Any, fields: dict[str, Any]) -> None:
    check(server, "/v1/completions", {"prompt": prompt, **fields})


def test_the_server_is_well_after_all_this(server: Live) -> None:
    server.until_idle()
    assert server.health() == (200, "ready")
    assert [line for line in server.lines if "Traceback" in line] == []
