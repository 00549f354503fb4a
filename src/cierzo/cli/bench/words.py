"""Text of a wished length that means nothing: common words, about a token each anywhere."""

from __future__ import annotations

import random

_TEXT = """
the of and to in is that for it as was with be by on not he his but at are this have from or
had an they which one you were all her she there would their we him been has when who will no
more if out so up said what its about than into them can only other time new some could these
two may first then do any like my now over such our man me even most made after also did many
off before must well back through years where much your way down should because long each just
state those people too how little good world make very year still see own work men day get
here old life both between being under three never know same last another while us might great
go come since against right came take used himself few house use place during without again
home around small however found part school every away once given less almost enough water
side want night head going called room better eyes far think left set next end open city name
point form number line system file code list value class table type test data group
"""
_WORDS = tuple(_TEXT.split())


def words(seed: str, count: int) -> list[str]:
    """So many words, the same for the same seed on any machine."""
    return random.Random(seed).choices(_WORDS, k=count)
