"""The model's tokens over HTTP: as requests have them, in the forms of vLLM and llama-server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.model.readers.checkpoint import open_checkpoint
from tests.api.live import HELLO, Live, start
from tests.api.tools import TOOLS
from tests.support.checkpoints import write_mistral
from tests.support.tiny_model import tekken_model

TEXTS = [
    *("", " ", "Hello, world!", "naïve café 中文 🙂", "\n\n\t x", "a" * 3_000),
    *("<|im_start|>", "[INST] hi [/INST]", "a<|im_end|>b", "<|im_start", "[[INST]]", "<<s>>"),
]


@pytest.fixture(scope="module")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, Tokenizer]]:
    """Tekken v13, as Devstral Small 1.1 has it."""
    path = write_mistral(
        tmp_path_factory.mktemp("mistral") / "tiny", tekken_model(max_position_embeddings=8_192)
    )
    with start(path) as server:
        yield server, load_tokenizer(open_checkpoint(path).tokenizer)


@pytest.fixture(params=["chatml", "mistral"])
def either(
    request: pytest.FixtureRequest, server: Live, model: Any, mistral: tuple[Live, Tokenizer]
) -> tuple[Live, Tokenizer]:
    if request.param == "mistral":
        return mistral
    return server, load_tokenizer(open_checkpoint(model).tokenizer)


def sent(server: Live, path: str, **body: Any) -> Any:
    response = server.post(path, body)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("text", TEXTS, ids=[repr(text)[:20] for text in TEXTS])
def test_a_text_goes_to_tokens_and_back(either: tuple[Live, Tokenizer], text: str) -> None:
    server, words = either
    found = sent(server, "/tokenize", prompt=text, add_special_tokens=False)
    assert found["count"] == len(found["tokens"])
    assert found["max_model_len"] >= 8_192
    assert sent(server, "/detokenize", tokens=found["tokens"]) == {"prompt": text, "content": text}
    plain = sent(server, "/tokenize", prompt=text, add_special_tokens=False, parse_special=False)
    assert plain["tokens"] == words.encode(text)
    if not any(words.is_control(i) for i in found["tokens"]):
        assert found["tokens"] == plain["tokens"]


def test_spellings_of_control_tokens_are_those(either: tuple[Live, Tokenizer]) -> None:
    """As evaluations find the id of the end, and read what a chat template gave them."""
    server, words = either
    for name, token_id in list(words.control_tokens.items())[:40]:
        found = sent(server, "/tokenize", prompt=f"a{name}{name} b", add_special_tokens=False)
        (a,), (*b,) = words.encode("a"), words.encode(" b")
        assert found["tokens"] == [a, token_id, token_id, *b], name
        alone = sent(server, "/tokenize", prompt=name, add_special_tokens=False)
        assert alone["tokens"] == [token_id]


def test_a_text_begins_as_prompts_do_unless_told_otherwise(
    either: tuple[Live, Tokenizer],
) -> None:
    server, words = either
    for fields in ({}, {"add_special_tokens": True}, {"model": None}):
        found = sent(server, "/tokenize", prompt="Hello", **fields)
        assert found["tokens"] == words.encode("Hello", add_bos=words.adds_bos)
    used = sent(server, "/v1/completions", prompt="Hello", max_tokens=1)["usage"]
    assert sent(server, "/tokenize", prompt="Hello")["count"] == used["prompt_tokens"]


def test_llama_servers_form(either: tuple[Live, Tokenizer]) -> None:
    server, words = either
    plain = words.encode("Hello 🙂")
    assert sent(server, "/tokenize", content="Hello 🙂")["tokens"] == plain
    begun = sent(server, "/tokenize", content="Hello 🙂", add_special=True)["tokens"]
    assert begun == words.encode("Hello 🙂", add_bos=words.adds_bos)
    pieces = sent(server, "/tokenize", content="Hello 🙂", with_pieces=True)["tokens"]
    assert [piece["id"] for piece in pieces] == plain
    data = b"".join(
        piece["piece"].encode() if isinstance(piece["piece"], str) else bytes(piece["piece"])
        for piece in pieces
    )
    assert data.decode() == "Hello 🙂"


CHATS: list[dict[str, Any]] = [
    {},
    {"tools": TOOLS},
    {"tools": [{"name": "f", "input_schema": {"properties": None}}]},
    {"messages": [{"role": "system", "content": "Be <|im_end|> brief [/INST]."}, *HELLO]},
    {"messages": [*HELLO, {"role": "assistant", "content": "I"}]},
    {
        "messages": [*HELLO, {"role": "assistant", "content": "I"}],
        "continue_final_message": True,
        "add_generation_prompt": False,
    },
]


@pytest.mark.parametrize("fields", CHATS, ids=range(len(CHATS)))
def test_messages_have_the_tokens_that_a_request_has(
    either: tuple[Live, Tokenizer], fields: dict[str, Any]
) -> None:
    server, _ = either
    body = {"messages": HELLO, **fields}
    found = sent(server, "/tokenize", **body, return_token_strs=True)
    asked = {name: body[name] for name in ("messages", "tools") if name in body}
    used = sent(server, "/v1/chat/completions", **asked, tool_choice="none", max_tokens=1)["usage"]
    assert found["count"] == used["prompt_tokens"] == len(found["token_strs"])
    text = sent(server, "/detokenize", tokens=found["tokens"])["prompt"]
    assert HELLO[0]["content"] in text


def test_what_the_tokenizer_says_of_itself(either: tuple[Live, Tokenizer]) -> None:
    server, words = either
    with server.client() as client:
        info = client.get("/tokenizer_info").json()
        assert client.get("/v1/tokenizer_info").json() == info
    assert info["vocab_size"] == words.vocab_size
    assert info["pad_token"] is None
    for name, ids in (("eos", words.eos_token_ids[0]), ("bos", words.bos_token_id)):
        token = info[f"{name}_token"]
        assert info[f"{name}_token_id"] == ids
        if token is not None:
            assert sent(server, "/tokenize", prompt=token, add_special_tokens=False)["tokens"] == [
                ids
            ]
    assert info["model_max_length"] == sent(server, "/tokenize", prompt="")["max_model_len"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "content": "b"}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": HELLO}, "prompt"),
        ("/tokenize", {"prompt": 1}, "prompt"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"messages": [{"role": "user"}]}, "messages[0].content"),
        ("/tokenize", {"messages": HELLO, "tools": [{"type": "web_search"}]}, "tools[0].type"),
        ("/tokenize", {"messages": HELLO, "chat_template": "{{ x }}"}, "chat_template"),
        (
            "/tokenize",
            {"messages": HELLO, "add_generation_prompt": False},
            "add_generation_prompt",
        ),
        ("/tokenize", {"prompt": "a " * 2_000_000}, "prompt"),
        ("/tokenize", {"prompt": "a", "model": "another"}, "model"),
        ("/tokenize", {"prompt": "a", "nonsense": 1}, "nonsense"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("/detokenize", {"tokens": [10**6]}, "tokens"),
        ("/detokenize", {"tokens": [1.5]}, "tokens[0]"),
        ("/detokenize", {"tokens": [0] * 1_100_000}, "tokens"),
    ],
)
def test_what_is_wrong_is_named(server: Live, path: str, body: dict[str, Any], param: str) -> None:
    response = server.post(path, body)
    assert response.status_code in (400, 404), response.text
    assert response.json()["error"]["param"] == param


def test_they_need_a_key_where_there_is_one(model: Any) -> None:
    with start(model, server__api_keys=("the-key",)) as live:
        for path in ("/tokenize", "/detokenize"):
            assert live.post(path, {"prompt": "a"}).status_code == 401
            assert live.post("/v1" + path, {"prompt": "a"}).status_code == 401
        with live.client() as client:
            assert client.get("/tokenizer_info").status_code == 401
            headers = {"Authorization": "Bearer the-key"}
            assert client.get("/tokenizer_info", headers=headers).status_code == 200


def test_reading_spellings_takes_work_in_proportion_to_the_text(
    mistral: tuple[Live, Tokenizer],
) -> None:
    """Each run of text that a bracket begins is looked at once, however long it is."""
    from cierzo.chat.tokenizers import control_text

    class Counted(dict[str, int]):
        looked = 0

        def __contains__(self, key: object) -> bool:
            Counted.looked += len(str(key))
            return super().__contains__(key)

    _, words = mistral

    class Words:
        control_tokens = Counted(words.control_tokens)

    for unit in ("[", "<", "[INST]", "[INS", "<[", "[" + "x" * 300):
        counts = []
        for n in (1_000, 4_000):
            Counted.looked = 0
            text = unit * n
            list(control_text._segments(Words(), text))  # type: ignore[arg-type]
            counts.append(Counted.looked)
        assert counts[1] <= 4 * counts[0] + 1_000, unit
        assert counts[1] <= 300 * len(unit) * 4_000, unit
