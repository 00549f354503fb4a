"""From tokens back to the part of the request, with templates that write it in their own ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cierzo.chat.messages import Message, ToolCall
from cierzo.chat.tools import Tool
from cierzo.generate.ask import Ask, Conversation, Prompt
from cierzo.generate.model import Model, read_language
from cierzo.generate.prepare import prepare
from cierzo.generate.reuse.diagnosis import Cause, Change, Diagnosis
from cierzo.generate.reuse.parting import Tokens, packed, shared
from cierzo.generate.reuse.recent import RecentRequests
from cierzo.generate.reuse.watch import Watch, Watched
from tests.chat.templates.test_mistral_template import tekken_of
from tests.chat.vocabularies import tekken_source

RULES = "Grüße: höflich und knapp, stets. " * 8
SYSTEM = Message("system", RULES)
TOOLS = [Tool("grep", "Search", {"type": "object"}), Tool("read", "Read", {"type": "object"})]


def mistral(folder: Path, version: str) -> Model:
    """A model with Tekken's vocabulary, and so with bytes, in this version of the format."""
    folder.mkdir()
    path = folder / "tekken.json"
    path.write_text(tekken_of(version))
    language = read_language(tekken_source(path))
    return Model(language, 8_192, language.tokenizer.vocab_size)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """v13, as Devstral Small has it."""
    return mistral(tmp_path_factory.mktemp("tekken") / "v13", "v13")


class Session:
    """Requests one after the other, of which all is found in the cache that can be."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._recent = RecentRequests()
        self._computed: list[Tokens] = []

    def ask(self, prompt: Prompt, *answers: Sequence[int], cached: int | None = None) -> Diagnosis:
        (job,) = prepare(Ask(prompt=prompt), self._model, "r")
        id = str(len(self._computed))
        watched = Watched(id=id, prompt=prompt, tokens=job.prompt, session=b"s")
        watch = Watch(watched, self._recent, self._model.language.vocabulary.tokens)
        watch.look()
        for choice, answer in enumerate(answers):
            watch.take(choice, answer)
        if cached is None:
            tokens = packed(job.prompt)
            found = max((shared(tokens, other) for other in self._computed), default=0)
            cached = min(found, len(tokens) - 1)
        for answer in answers or ([],):
            self._computed.append(packed([*job.prompt, *answer][:-1]))
        diagnosis = watch.diagnose(cached)
        watch.keep()
        return diagnosis


def said(*words: str, system: Message = SYSTEM, tools: Sequence[Tool] = ()) -> Conversation:
    roles = ("user", "assistant")
    turns = [Message(roles[at % 2], text) for at, text in enumerate(words)]
    return Conversation(messages=[system, *turns], tools=tools)


@pytest.mark.parametrize(("old", "new"), [("ß", "ss"), ("stets", "immer"), ("ö", "ü")])
def test_a_place_is_in_characters_whatever_their_bytes(model: Model, old: str, new: str) -> None:
    session = Session(model)
    session.ask(said("Los."))
    changed = RULES.replace(old, new, 1)
    (miss,) = session.ask(said("Los.", system=Message("system", changed))).misses
    assert miss.cause is Cause.SYSTEM
    assert miss.place.part == ("messages", 0, "content")
    at = miss.place.character
    assert at == RULES.find(old)
    # A letter that differs in its last byte alone differs as a whole.
    assert miss.place.before.startswith(RULES[at : at + 20])
    assert miss.place.now.startswith(changed[at : at + 20])


@pytest.mark.parametrize("version", ["v7", "v11", "v13"])
def test_tools_that_the_format_moves_are_its_own_doing(tmp_path: Path, version: str) -> None:
    """Until v13 they stood before the last message of the user's, wherever that was."""
    session = Session(mistral(tmp_path / version, version))
    session.ask(said("Find it.", tools=TOOLS))
    long = "It is in the parser, which was not easy to find at all. " * 4
    misses = session.ask(said("Find it.", long, "Now mend it.", tools=TOOLS)).misses
    assert [miss.cause for miss in misses] == ([] if version == "v13" else [Cause.TEMPLATE])
    assert all(miss.place.part == () for miss in misses)


def test_calls_and_results_go_on_without_a_miss(model: Model) -> None:
    session = Session(model)
    turns = [SYSTEM, Message("user", "Find it.")]
    session.ask(Conversation(messages=turns, tools=TOOLS))
    call = ToolCall("grep", '{"a":  1}', id="abcdefghi")
    turns += [
        Message("assistant", None, tool_calls=(call,)),
        Message("tool", "f", tool_call_id="abcdefghi"),
    ]
    first = session.ask(Conversation(messages=turns, tools=TOOLS))
    assert first.misses == ()
    turns += [Message("assistant", "Found."), Message("tool", "f", tool_call_id="abcdefghi")]
    assert session.ask(Conversation(messages=turns, tools=TOOLS)).misses == ()


def test_of_several_answers_the_one_that_comes_back_is_meant(model: Model) -> None:
    """Though the model chose other tokens for it, from the first on, than its text is made of."""
    by_letter = [model.language.tokenizer.encode(letter)[0] for letter in "in the end"]
    other = list(model.language.tokenizer.encode("Who knows."))
    session = Session(model)
    session.ask(said("Find it."), other, by_letter)
    (miss,) = session.ask(said("Find it.", "in the end", "Good.")).misses
    assert miss.cause is Cause.RETOKENIZED


def test_tools_that_change_are_told_apart_from_messages_that_do(model: Model) -> None:
    session = Session(model)
    session.ask(said("Find it.", "Where?", "There.", tools=TOOLS))
    (miss,) = session.ask(said("Find it.", "Where?", "There.", tools=TOOLS[::-1])).misses
    assert (miss.cause, miss.place.change) == (Cause.TOOLS, Change.MOVED)
    assert (miss.place.part, miss.place.other) == (("tools", 0), ("tools", 1))
    turned = said("Find it.", "When?", "There.", tools=TOOLS[::-1])
    (miss,) = session.ask(turned).misses
    assert (miss.cause, miss.place.part) == (Cause.MESSAGES, ("messages", 2, "content"))


def test_tools_that_change_come_before_an_answer_that_is_missing(model: Model) -> None:
    session = Session(model)
    session.ask(said("Find it.", tools=TOOLS))
    turns = [SYSTEM, Message("user", "Find it."), Message("user", "Mend it.")]
    (miss,) = session.ask(Conversation(messages=turns, tools=TOOLS[:1])).misses
    assert (miss.cause, miss.place.change) == (Cause.TOOLS, Change.REMOVED)


def test_what_others_left_is_no_miss(model: Model) -> None:
    session = Session(model)
    session.ask(said("Los."))
    changed = said("Los.", system=Message("system", "Anders. " + RULES))
    diagnosis = session.ask(changed, cached=10**6)
    assert (diagnosis.lost, diagnosis.misses) == (0, ())


def test_of_tokens_the_place_is_the_token(model: Model) -> None:
    spare = replace(model, vocab_size=model.vocab_size + 9)  # some models have more than words
    session = Session(spare)
    session.ask((*range(40, 399), model.vocab_size + 1))
    (miss,) = session.ask((*range(40, 390), *range(500, 600), model.vocab_size + 5)).misses
    assert (miss.cause, miss.place.part, miss.place.character) == (Cause.PROMPT, ("prompt",), 350)
