"""A prompt's tokens end where the answer begins, and what is wrong with it is found."""

from __future__ import annotations

import pytest

from cierzo.chat.messages import Message
from cierzo.chat.tools import Tool
from cierzo.generate.ask import Conversation
from cierzo.generate.model import Model, read_language
from cierzo.generate.prompt import prompt_tokens
from cierzo.generate.refused import Reason, Refused
from tests.chat.vocabularies import tekken_source
from tests.support.tokenizers import tekken_json

HELLO = Message("user", "Hello")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("tekken") / "tekken.json"
    path.write_text(tekken_json())
    language = read_language(tekken_source(path))
    return Model(language, 4_096, language.tokenizer.vocab_size)


def test_names_of_tools_are_checked_where_nothing_else_is(model: Model) -> None:
    with pytest.raises(Refused) as caught:
        prompt_tokens(Conversation(messages=[HELLO], tools=[Tool("f"), Tool("f")]), model)
    assert (caught.value.reason, caught.value.part) == (Reason.INVALID, ("tools", 1, "name"))


def test_an_answer_is_continued(model: Model) -> None:
    said = [HELLO, Message("assistant", "Well")]
    tokens = prompt_tokens(Conversation(messages=said), model)
    assert model.language.tokenizer.decode(tokens).endswith("Well")
    whole = prompt_tokens(Conversation(messages=said, continue_final=False), model)
    assert [*tokens, *model.language.tokenizer.eos_token_ids] == list(whole)


def test_an_empty_beginning_says_no_more_than_none(model: Model) -> None:
    empty = Conversation(messages=[HELLO, Message("assistant", "")])
    assert list(empty.turns) == [HELLO]
    assert empty.beginning == ""
    assert prompt_tokens(empty, model) == prompt_tokens(Conversation(messages=[HELLO]), model)
