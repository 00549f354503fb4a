"""lm-evaluation-harness: its models over HTTP, with their tokenizer on this server."""

from __future__ import annotations

from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.utils import RemoteTokenizer, check_remote_tokenizer_support

from tests.api.live import Live
from tests.clients.questions import CAPITAL, SERVED

UNTIL = {"until": ["\n\n", "Question:"], "do_sample": False, "temperature": 0.0, "max_gen_toks": 12}


def opened(server: Live, kind: str, path: str, **fields: Any) -> Any:
    return get_model(kind)(
        base_url=f"{server.url}/v1/{path}", model=SERVED, num_concurrent=1, max_retries=1, **fields
    )


def requests(kind: str, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [
        Instance(kind, {}, given, index, metadata=("task", index, 1))
        for index, given in enumerate(arguments)
    ]


def test_its_tokenizer_on_the_server(server: Live) -> None:
    url = f"{server.url}/v1/completions"
    assert check_remote_tokenizer_support(url)
    words = RemoteTokenizer(url)
    assert words.decode(words.encode("The capital of France is")) == "The capital of France is"
    assert words.eos_token is not None
    assert words.encode(words.eos_token) == [words.eos_token_id]
    text = words.apply_chat_template([{"role": "user", "content": "Hi"}])
    chat = server.post("/tokenize", {"messages": [{"role": "user", "content": "Hi"}]}).json()
    assert words.encode(text) == chat["tokens"]


@pytest.mark.parametrize("tokenized", [True, False])
def test_generate_until(server: Live, tokenized: bool) -> None:
    backend = {"tokenizer_backend": "remote"} if tokenized else {"tokenizer_backend": None}
    model = opened(
        server, "local-completions", "completions", tokenized_requests=tokenized, **backend
    )
    asked = requests(
        "generate_until",
        ("The capital of France is", dict(UNTIL)),
        ("One, two, three,", {**UNTIL, "until": [","]}),
    )
    france, numbers = model.generate_until(asked, disable_tqdm=True)
    assert "Paris" in france
    assert "," not in numbers


def test_generate_until_in_chat(server: Live) -> None:
    model = opened(server, "local-chat-completions", "chat/completions")
    asked = requests("generate_until", (model.apply_chat_template(CAPITAL), dict(UNTIL)))
    (text,) = model.generate_until(asked, disable_tqdm=True)
    assert "Paris" in text


def test_likelihoods_of_choices(server: Live) -> None:
    """What multiple choice is scored by: the right word is the likelier one."""
    model = opened(server, "local-completions", "completions", tokenizer_backend="remote")
    context = "The capital of France is"
    asked = requests("loglikelihood", (context, " Paris"), (context, " yellow"))
    (right, greedy), (wrong, _) = model.loglikelihood(asked, disable_tqdm=True)
    assert wrong < right < 0
    assert greedy
