"""What ``check`` says of pictures that are there twice: in a folder, or in the support and among the test images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distillfss.checking.findings import Finding
from distillfss.checking.inspecting import Look
from distillfss.same_pictures import twins


def repeated(looks: Sequence[Look], tests: Sequence[Look]) -> list[Finding]:
    """Findings on pictures that are there twice."""
    known = [look for look in looks if look.small is not None]
    others = [look for look in tests if look.small is not None]
    together = [*known, *others]
    if len(together) < 2:
        return []
    pictures = np.stack([look.small for look in together if look.small is not None])
    found = []
    exact: dict[str, Look] = {}
    copies: set[int] = set()
    for index, look in enumerate(together):
        first = exact.setdefault(look.image_digest, look)
        if first is look:
            continue
        if index < len(known) or first in known:
            copies.add(index)
            found.append(_copy(first, look, leaked=index >= len(known)))
    for pair in twins(pictures, len(known)):
        if pair.second in copies:
            continue
        first, second = together[pair.first], together[pair.second]
        how = "mirrored or turned" if pair.mirrored else "nearly the same"
        if pair.second >= len(known):
            cure = "Take it out of the test images, or its twin out of the support"
            found.append(_pair("leak", first, second, f"is {how} as {first.pair.image.name} of the support", cure))
        else:
            cure = "Keep one of them, and never split them between support and test"
            found.append(_pair("near-duplicate", first, second, f"is {how} as {first.pair.image.name}", cure))
    return found


def _copy(first: Look, second: Look, *, leaked: bool) -> Finding:
    name = first.pair.image.name
    if leaked:
        cure = "Take it out of the test images, or out of the support"
        return _pair("leak", first, second, f"is {name} of the support, pixel by pixel", cure)
    if first.mask_digest and second.mask_digest and first.mask_digest != second.mask_digest:
        cure = "Decide which mask is right, and remove the other with its image"
        return _pair("contradiction", first, second, f"is {name}, pixel by pixel, with another mask", cure)
    same = bool(first.mask_digest) and first.mask_digest == second.mask_digest
    cure = "Remove one of them" + (", or let --fix leave it out" if same else "")
    finding = _pair("near-duplicate", first, second, f"is {name}, pixel by pixel", cure)
    return Finding(
        finding.kind, finding.file, finding.problem, finding.cure, finding.image, other=finding.other, fixable=same
    )


def _pair(kind: str, first: Look, second: Look, problem: str, cure: str) -> Finding:
    return Finding(kind, second.pair.image, problem, cure, second.pair.image, other=first.pair.image)
