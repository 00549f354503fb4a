"""What is remembered of requests is bounded, each tenant's own, and finds a session's last turn."""

from __future__ import annotations

from cierzo.chat.messages import Message
from cierzo.generate.ask import Conversation
from cierzo.generate.reuse.outline import outline_of
from cierzo.generate.reuse.parting import packed
from cierzo.generate.reuse.recent import Recent, RecentRequests

SYSTEM = Message("system", "Be brief.")


def request(
    id: str, *words: str, tokens: list[int] | None = None, salt: str = "", session: bytes = b""
) -> Recent:
    """One whose user and assistant say these words in turn; a token a word, unless they are given.

    The first word is the system's.
    """
    system, *rest = words
    roles = ("user", "assistant")
    messages = [Message("system", system)]
    messages += [Message(roles[at % 2], word) for at, word in enumerate(rest)]
    prompt = packed([hash(word) % 1_000_000 for word in words] if tokens is None else tokens)
    return Recent(id, salt, session, prompt, outline_of(Conversation(messages=messages)))


def found(recent: RecentRequests, new: Recent, id: str | None = None) -> str | None:
    compared = recent.compared(new, id)
    return compared.earlier.id if compared else None


def test_the_turn_that_shares_most_is_the_one_before() -> None:
    recent = RecentRequests()
    for kept in (
        request("1", "s", "a"),
        request("2", "s", "a", "b", "c"),
        request("other", "s", "x", "y", "z"),
    ):
        recent.keep(kept)
    assert found(recent, request("new", "s", "a", "b", "c", "d", "e")) == "2"
    assert found(recent, request("new", "s", "a", "B", "c", "d", "e")) == "2"
    assert found(recent, request("new", "s", "p", "q", "r")) is None
    assert found(recent, request("new", "s", "A", "b", "c", "d", "e")) == "2"


def test_instructions_of_another_kind_are_another_conversation() -> None:
    recent = RecentRequests()
    recent.keep(request("title", "t", "a", tokens=[1, 2, *range(100, 120)]))
    assert found(recent, request("new", "s", "a", tokens=[1, *range(500, 600)])) is None
    # A date in the same instructions leaves most tokens as they were.
    recent.keep(request("turn", "s1", "a", tokens=[1, 7, *range(500, 600)]))
    assert found(recent, request("new", "s2", "a", tokens=[1, 8, *range(500, 600)])) == "turn"


def test_a_name_finds_a_session_that_shares_something() -> None:
    recent = RecentRequests()
    recent.keep(request("named", "s", "a", "b", "c", session=b"n"))
    shortened = ("s", "summary", "x", "c")
    assert found(recent, request("new", *shortened, session=b"n")) == "named"
    assert found(recent, request("new", *shortened, session=b"m")) is None
    assert found(recent, request("new", "s", "p", "q", "r", session=b"n")) is None


def test_an_id_finds_whatever_it_names_but_nobody_elses() -> None:
    recent = RecentRequests()
    recent.keep(request("1", "s", "a", salt="one"))
    assert found(recent, request("new", "t", "x", salt="one"), "1") == "1"
    assert found(recent, request("new", "s", "a", salt="other"), "1") is None
    assert found(recent, request("new", "s", "a", salt="other")) is None
    recent.forget("other")
    assert len(recent) == 1
    recent.forget("one")
    assert (len(recent), recent.nbytes) == (0, 0)


def test_the_oldest_go_when_there_are_too_many() -> None:
    recent = RecentRequests(most_requests=3)
    for at in range(5):
        recent.keep(request(str(at), "s", str(at)))
    new = request("new", "s", "x")
    assert [found(recent, new, str(at)) for at in range(5)] == [None, None, "2", "3", "4"]


def test_the_oldest_go_when_they_are_too_large() -> None:
    recent = RecentRequests(most_bytes=100_000)
    for at in range(40):
        recent.keep(request(str(at), "s", str(at), tokens=[at] * 4_000))
        assert recent.nbytes <= 100_000
    assert 3 <= len(recent) <= 6
    recent.keep(request("large", "s", "x", tokens=[1] * 50_000))
    assert (len(recent), recent.nbytes) == (0, 0)


def test_turns_of_a_session_share_their_tokens() -> None:
    recent = RecentRequests(most_bytes=1_000_000)
    words = ["s", "a"]
    for turn in range(50):
        tokens = list(range(10_000 + 100 * turn))
        new = request(str(turn), *words, tokens=tokens)
        compared = recent.compared(new)
        recent.keep(new, compared.earlier if compared else None)
        words += ["b", "c"]
    assert len(recent) == 50  # 25 MB if each had its own
    new = request("new", *words, tokens=list(range(20_000)))
    compared = recent.compared(new, "7")
    assert compared is not None
    assert compared.parting.common == 10_700 - 1
