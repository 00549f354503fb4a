"""The older interface, as evaluations use it: echo, scores, token ids, many prompts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.live import NO_END, Live
from tests.api.openai.test_chat import events

PATH = "/v1/completions"
IDS = [40, 41, 42, 43, 44]


def choices(server: Live, **fields: Any) -> list[dict[str, Any]]:
    response = server.post(PATH, {"seed": 1, **fields})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["choices"]
    assert [choice["index"] for choice in found] == list(range(len(found)))
    return found


def test_the_default_is_sixteen_tokens(server: Live) -> None:
    answer = server.post(PATH, {"prompt": "The wind", "logit_bias": NO_END}).json()
    assert answer["object"] == "text_completion"
    assert answer["usage"]["completion_tokens"] == 16
    assert answer["choices"][0]["finish_reason"] == "length"


def test_echo_puts_the_prompt_in_front(server: Live) -> None:
    (plain,) = choices(server, prompt="The wind", max_tokens=5)
    (echoed,) = choices(server, prompt="The wind", max_tokens=5, echo=True)
    assert echoed["text"] == "The wind" + plain["text"]
    (alone,) = choices(server, prompt="The wind", max_tokens=0, echo=True)
    assert alone["text"] == "The wind"


@pytest.mark.parametrize("max_tokens", [0, 1])
def test_scores_of_a_prompt_as_evaluations_ask_for_them(server: Live, max_tokens: int) -> None:
    (choice,) = choices(
        server, prompt=[IDS], max_tokens=max_tokens, echo=True, logprobs=1, temperature=0
    )
    table = choice["logprobs"]
    length = len(IDS) + max_tokens
    assert [len(column) for column in table.values()] == [length] * 4
    assert table["token_logprobs"][0] is table["top_logprobs"][0] is None
    for name, logprob, top in list(
        zip(table["tokens"], table["token_logprobs"], table["top_logprobs"], strict=True)
    )[1:]:
        assert logprob <= 0
        assert top[name] == logprob
        assert 1 <= len(top) <= 2
    if max_tokens:  # greedy: the token is the most likely one
        assert table["token_logprobs"][-1] == max(table["top_logprobs"][-1].values())


def test_the_last_token_is_scored_even_when_it_ends_the_answer(server: Live) -> None:
    """Evaluations cut one token off, whichever it is."""
    (choice,) = choices(
        server, prompt=IDS, max_tokens=1, echo=True, logprobs=1, logit_bias={"2": 100}
    )
    assert choice["finish_reason"] == "stop"
    assert len(choice["logprobs"]["tokens"]) == len(IDS) + 1
    assert choice["logprobs"]["tokens"][-1] == "<|im_end|>"
    assert (
        choice["text"]
        == server.post(PATH, {"prompt": IDS, "max_tokens": 0, "echo": True}).json()["choices"][0][
            "text"
        ]
    )


def test_scores_of_a_prompt_are_those_of_generating_it(server: Live) -> None:
    (first,) = choices(server, prompt=IDS, max_tokens=6, logprobs=2, logit_bias=NO_END)
    scores = first["logprobs"]["token_logprobs"]
    text = first["text"]
    (again,) = choices(server, prompt=IDS, max_tokens=6, echo=True, logprobs=2, logit_bias=NO_END)
    assert again["logprobs"]["token_logprobs"][len(IDS) :] == scores
    assert again["text"].endswith(text)


def test_many_prompts_come_back_in_order(server: Live) -> None:
    prompts = [[40 + i, 50, 60] for i in range(100)]
    many = choices(server, prompt=prompts, max_tokens=1, echo=True, logprobs=1, temperature=0)
    assert len(many) == 100
    for index in (0, 1, 50, 99):
        (alone,) = choices(
            server, prompt=prompts[index], max_tokens=1, echo=True, logprobs=1, temperature=0
        )
        assert many[index]["text"] == alone["text"]
        assert many[index]["logprobs"] == alone["logprobs"]


def test_texts_and_n(server: Live) -> None:
    found = choices(server, prompt=["The wind", "A model"], n=2, max_tokens=4, echo=True)
    assert [choice["text"][:7] for choice in found] == ["The win"] * 2 + ["A model"] * 2


def test_offsets_point_at_tokens(server: Live) -> None:
    prompt = "The wind: \u00e9\u4e16 \U0001f32c!"
    (choice,) = choices(server, prompt=prompt, max_tokens=0, echo=True, logprobs=0)
    table = choice["logprobs"]
    assert table["text_offset"] == sorted(table["text_offset"])
    for name, at in zip(table["tokens"], table["text_offset"], strict=True):
        if not name.startswith("bytes:"):
            assert choice["text"][at : at + len(name)] == name
    assert all(len(top) == 1 for top in table["top_logprobs"][1:])


def test_a_stream_adds_up(server: Live) -> None:
    fields: dict[str, Any] = {
        "prompt": ["The wind", IDS],
        "max_tokens": 6,
        "echo": True,
        "logprobs": 1,
        "logit_bias": NO_END,
        "seed": 3,
    }
    whole = choices(server, **fields)
    texts = ["", ""]
    tokens: list[list[str]] = [[], []]
    for event in events(server.post(PATH, {**fields, "stream": True}).text):
        for choice in event["choices"]:
            texts[choice["index"]] += choice["text"]
            tokens[choice["index"]] += choice["logprobs"]["tokens"]
    assert texts == [choice["text"] for choice in whole]
    assert tokens == [choice["logprobs"]["tokens"] for choice in whole]


def test_usage_counts_every_prompt_once(server: Live) -> None:
    answer = server.post(
        PATH, {"prompt": [IDS, IDS[:2]], "n": 3, "max_tokens": 2, "logit_bias": NO_END}
    ).json()
    assert answer["usage"]["prompt_tokens"] == 7
    assert answer["usage"]["completion_tokens"] == 12
