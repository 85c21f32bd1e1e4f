"""Groups that share a member become one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

Member = TypeVar("Member", str, int)


def joined(groups: Iterable[Iterable[Member]]) -> list[list[Member]]:
    """Groups with nothing in common that hold the members of the given ones: whatever was together stays together.

    Each is sorted, and so are they; nothing depends on the order in which groups come.
    """
    home: dict[Member, set[Member]] = {}
    for group in groups:
        members = set(group)
        for member in list(members):
            members |= home.get(member, set())
        home.update(dict.fromkeys(members, members))
    return sorted(sorted(members) for members in {id(members): members for members in home.values()}.values())


def equal(keys: Sequence[str | None]) -> list[tuple[int, int]]:
    """Places of the first and of every later one with the same key; None is no key."""
    first: dict[str, int] = {}
    found = [(first.setdefault(key, place), place) for place, key in enumerate(keys) if key is not None]
    return [(earlier, later) for earlier, later in found if earlier < later]


def firsts(groups: Iterable[Iterable[int]], count: int) -> tuple[int, ...]:
    """For every place below ``count`` the first of those it is together with; its own where it is alone."""
    first_of = {place: together[0] for together in joined(groups) for place in together}
    return tuple(first_of.get(place, place) for place in range(count))
