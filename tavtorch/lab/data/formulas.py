"""Which parts of a song add up to a stem, where they determine it exactly."""

from collections.abc import Collection
from functools import lru_cache
from itertools import combinations, product

from tavtorch.lab.data.synthetic import STEMS

_BAND = tuple(stem for stem in STEMS if stem != "vocals")
_HOLDS = {stem: (stem,) for stem in STEMS} | {"accompaniment": _BAND, "mixture": STEMS}  # what is heard in each part
_RESTS = {"rest": ("vocals", "bass", "other")}  # stems that are no part
PARTS = tuple(_HOLDS)


def stem_formula(stem: str, parts: Collection[str]) -> dict[str, int]:
    """The parts, with their signs, that add up to a stem: itself, or a sum without differences, or few parts.

    What no part holds is silent: of `vocals` and `drums` without a mixture, the bass is an empty sum. Where there is a
    mixture, or an accompaniment, it holds what has no part of its own, and only what follows from them is an answer.

    Raises:
        ValueError: the parts do not determine the stem. The message says which parts would.

    >>> stem_formula("accompaniment", ["vocals", "drums", "bass"])
    {'drums': 1, 'bass': 1}
    >>> stem_formula("accompaniment", ["mixture", "vocals", "drums"])
    {'mixture': 1, 'vocals': -1}
    >>> stem_formula("rest", ["mixture", "drums"])                                             # all but the drums
    {'mixture': 1, 'drums': -1}
    """
    if stem in parts:
        return {stem: 1}
    if stem not in _HOLDS | _RESTS or not set(parts) <= set(PARTS):
        names = sorted({*parts, *_HOLDS, *_RESTS} if set(parts) <= set(PARTS) else parts)
        raise ValueError(f"{stem} is no stem of this song. It has {', '.join(names)}.")
    formula = _formula(stem, frozenset(parts))
    if formula is None:
        missing = ", or ".join(" and ".join(more) for more in _missing(stem, frozenset(parts)))
        raise ValueError(f"{stem} cannot be had from {', '.join(sorted(parts))}. Add {missing}.")
    return dict(formula)


@lru_cache(maxsize=1024)
def _formula(stem: str, parts: frozenset[str]) -> tuple[tuple[str, int], ...] | None:
    """The best of all sums and differences that hold each voice of the stem once, and no other; None if none does."""
    known = [part for part in PARTS if part in parts]
    held = {voice for part in known for voice in _HOLDS[part]}
    wanted = {voice: int(voice in (_HOLDS | _RESTS)[stem]) for voice in held}
    found = []
    for signs in product((1, 0, -1), repeat=len(known)):
        total = dict.fromkeys(held, 0)
        for part, sign in zip(known, signs, strict=True):
            for voice in _HOLDS[part]:
                total[voice] += sign
        if total == wanted:
            found.append(sorted(((p, s) for p, s in zip(known, signs, strict=True) if s), key=lambda term: -term[1]))
    best = min(found, key=lambda terms: (sum(sign < 0 for _, sign in terms), len(terms)), default=None)
    return None if best is None else tuple(best)


def _missing(stem: str, parts: frozenset[str]) -> list[tuple[str, ...]]:
    """The smallest sets of more parts that would determine a stem, the stem itself first."""
    others = [part for part in PARTS if part not in parts and part != stem]
    smallest: list[tuple[str, ...]] = []
    for count in range(1, len(others) + 1):
        for more in combinations(others, count):
            if not any(set(fewer) <= set(more) for fewer in smallest) and _formula(stem, parts.union(more)):
                smallest.append(more)
    return [(stem,), *smallest] if stem in PARTS else smallest
