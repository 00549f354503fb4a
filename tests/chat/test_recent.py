"""What is remembered is what was kept, for nobody else, and no more than there is room for."""

from __future__ import annotations

import threading
from array import array

from cierzo.chat.recent import Recent, RecentOf

SMALL = 20_000


def ids(*values: int) -> array[int]:
    return array("i", values)


def keep(recent: RecentOf, text: str, *values: int) -> None:
    recent.put((text,), ids(*values), (text,))


def test_a_text_is_found_again() -> None:
    recent = RecentOf(Recent(), "")
    assert recent.get("a text") is None
    keep(recent, "a text", 1, 131_071)
    assert recent.get("a text") == ids(1, 131_071)
    assert recent.get("a text", 1) is None


def test_tenants_do_not_see_each_other() -> None:
    recent = Recent()
    keep(RecentOf(recent, "one"), "a text", 1)
    assert RecentOf(recent, "other").get("a text") is None
    assert RecentOf(recent, "").get("a text") is None
    assert RecentOf(recent, "one").get("a text") == ids(1)


def test_a_tenant_is_forgotten() -> None:
    recent = Recent()
    for salt in ("one", "other"):
        keep(RecentOf(recent, salt), "a text", 1)
        keep(RecentOf(recent, salt), "another", 2)
    recent.forget("one")
    assert RecentOf(recent, "one").get("a text") is None
    assert RecentOf(recent, "one").get("another") is None
    assert RecentOf(recent, "other").get("another") == ids(2)
    recent.forget("other")
    assert recent.size == 0


def test_the_latest_used_are_kept() -> None:
    recent = RecentOf(store := Recent(SMALL), "")
    for letter in "abcdefghij":
        keep(recent, letter * 1000, ord(letter))
    while store.size + 1600 < SMALL:
        keep(recent, f"{store.size:01000}", 1)
    assert recent.get("a" * 1000) == ids(97)  # used again
    keep(recent, "k" * 1000, 1)
    assert recent.get("b" * 1000) is None
    assert recent.get("a" * 1000) == ids(97)
    size = store.size
    keep(recent, "k" * 1000, 1)  # takes no more room
    assert store.size == size
    assert recent.get("c" * 1000) == ids(99)


def test_no_more_than_there_is_room_for() -> None:
    recent = RecentOf(store := Recent(SMALL), "")
    for number in range(500):
        keep(recent, "\N{WIND BLOWING FACE}" * (number % 300), *range(number % 77))
        assert store.size <= SMALL
    assert store.size > SMALL // 2


def test_what_would_push_out_the_others_is_not_kept() -> None:
    recent = RecentOf(Recent(SMALL), "")
    keep(recent, "short", 1)
    keep(recent, "x" * SMALL, 1)
    keep(recent, "many tokens", *range(SMALL // 4))
    assert recent.get("x" * SMALL) is None
    assert recent.get("many tokens") is None
    assert recent.get("short") == ids(1)


def test_threads() -> None:
    recent = RecentOf(store := Recent(SMALL), "")

    def work(start: int) -> None:
        for number in range(start, start + 500):
            text = f"{number % 40}".rjust(1000)
            found = recent.get(text)
            assert found is None or found == ids(number % 40)
            keep(recent, text, number % 40)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = sum(recent.get(f"{number}".rjust(1000)) is not None for number in range(40))
    assert 0 < kept < 40
    assert store.size <= SMALL
