"""Groups that share a member become one."""

from __future__ import annotations

from collections.abc import Iterable
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
