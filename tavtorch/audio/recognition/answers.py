"""Answers to clips: recognised as they are, at nearby pitches, then as clips whose speed, tempo or pitch is changed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tavtorch.audio.recognition.changes import (
    DOUBTFUL,
    NEAR,
    SEARCHED,
    TOLD,
    WEAK,
    fitted,
    is_speed,
    measured,
    small,
    stretched,
)
from tavtorch.audio.recognition.constellation import Change
from tavtorch.audio.recognition.index import Index, least_rest
from tavtorch.audio.recognition.landmarks import Landmarks
from tavtorch.audio.recognition.match import Match, best_per_song
from tavtorch.audio.recognition.search import CANDIDATES, by_count, by_offset, select
from tavtorch.audio.recognition.shards import Shards

_MEASURED_CLIPS = 8
"""Clips whose changes are searched for at once."""


_MOMENT = 5
"""A moment is so small a part of the clip."""

_REST = 0.3
"""Share of the threshold that the levels of an accepted clip reach without any moment of it."""


@dataclass(frozen=True)
class Answers:
    """How clips are answered from an index; see `Library.recognise`.

    Args:
        index: the known songs.
        names: name of each song by its id.
        threshold, neighbours, tolerance: see `Library.recognise`.
    """

    index: Index | Shards
    names: Mapping[int, str]
    threshold: float
    neighbours: int
    tolerance: int

    def by_count(self, clips: Landmarks) -> list[list[Match]]:
        """The matches of each clip by the number of shared hashes, best first."""
        candidates = by_count(self.index, clips, neighbours=self.neighbours, tolerance=self.tolerance)
        return self._matches(candidates, [(1.0, 1.0)] * len(clips.hash))

    def by_offset(self, clips: Landmarks, pitches: Sequence[float], *, changed: bool) -> list[list[Match]]:
        """The matches of each clip at the first pitch; while it is not accepted, at the next ones, then if `changed`.

        Matches are best first.
        """
        found: list[list[Match]] = [[] for _ in clips.hash]
        for pitch in pitches:
            some = _not_accepted(found)
            self._add(found, clips, some, _as_change([(1.0, pitch)] * len(some), self.index.device))
        if clips.evidence is None:
            return found
        if changed:
            self._add_changed(found, clips)
            self._fit_tempo(found, clips)
        self._refuse_moments(found, clips)
        return found

    def _add_changed(self, found: list[list[Match]], clips: Landmarks) -> None:
        """Add the matches of clips that may be changed, and measure small changes of the others."""
        # Clips that were accepted may be changed a little, or, if they hardly were, more: most of all in tempo alone.
        some = _not_accepted(found)
        accepted = [i for i in range(len(found)) if i not in some]
        self._measure_small(found, clips, accepted)
        self._add_stretched(found, clips, [i for i in accepted if found[i][0].score < WEAK])
        some = [i for i, best in enumerate(found) if i not in accepted or best[0].score < DOUBTFUL]
        for first in range(0, len(some), _MEASURED_CLIPS):
            few = some[first : first + _MEASURED_CLIPS]
            change = measured(self.index, select(clips, torch.tensor(few), self.index.device))
            for tempo, pitch in zip(change.tempo.T, change.pitch.T, strict=True):
                self._add(found, clips, few, Change(tempo, pitch), less=SEARCHED)

    def _add(
        self, found: list[list[Match]], clips: Landmarks, some: list[int], change: Change, less: float = 0.0
    ) -> None:
        """Add the matches of some of the clips, each at its change, with `less` taken off their scores."""
        if not some:
            return
        asked = select(clips, torch.tensor(some), self.index.device)
        candidates = by_offset(self.index, asked, change, neighbours=self.neighbours, tolerance=self.tolerance)
        changes = list(zip(*(x.tolist() for x in change), strict=True))
        for i, more in zip(some, self._matches(candidates, changes, less), strict=True):
            found[i] = best_per_song(found[i] + more, CANDIDATES)

    def _measure_small(self, found: list[list[Match]], clips: Landmarks, some: list[int]) -> None:
        """Put changes that are too small to matter for recognition into the best matches of some clips."""
        if not some:
            return
        best = [found[i][0] for i in some]
        starts, _ = starts_of(best, self.index, self.names)
        change = small(self.index, select(clips, torch.tensor(some), self.index.device), starts)
        for i, match, tempo, pitch in zip(some, best, change.tempo.tolist(), change.pitch.tolist(), strict=True):
            offset = match.offset + (1 - tempo) * clips.frames / 2 * clips.recipe.seconds  # the middle stays
            found[i][0] = match._replace(offset=offset).changed(tempo, pitch)

    def _add_stretched(self, found: list[list[Match]], clips: Landmarks, some: list[int]) -> None:
        """Add the matches of those of some clips that are changed in tempo."""
        if not some:
            return
        starts, _ = starts_of([found[i][0] for i in some], self.index, self.names)
        other, change = stretched(self.index, select(clips, torch.tensor(some), self.index.device), starts)
        few = [i for i, is_other in zip(some, other.tolist(), strict=True) if is_other]
        self._add(found, clips, few, Change(*(x[other] for x in change)), less=SEARCHED)

    def _fit_tempo(self, found: list[list[Match]], clips: Landmarks) -> None:
        """Fit the tempo of best matches where levels do not tell it: where the pitch is as it is, or so little changed
        that it may be a change of speed too.
        """
        some = [i for i, matches in enumerate(found) if matches and matches[0].accepted and _has_open_tempo(matches[0])]
        if not some:
            return
        best, asked = [found[i][0] for i in some], select(clips, torch.tensor(some), self.index.device)
        starts, change = starts_of(best, self.index, self.names)
        fit, tempos = fitted(self.index, asked, starts, change)
        faster = is_speed(self.index, asked, fit, tempos)
        moved = ((fit - starts) * clips.recipe.seconds).tolist()
        for i, match, seconds, tempo, pitch, speed in zip(
            some, best, moved, tempos.tolist(), change.pitch.tolist(), faster.tolist(), strict=True
        ):
            if pitch != 1:
                tempo = pitch if abs(pitch - tempo) < abs(1 - tempo) else 1.0
            elif abs(tempo - 1) < TOLD:
                continue
            elif speed:
                pitch = tempo
            found[i][0] = match._replace(offset=match.offset + seconds).changed(tempo, pitch)

    def _refuse_moments(self, found: list[list[Match]], clips: Landmarks) -> None:
        """No longer accept matches for which one moment of the clip speaks alone: a sound that two songs share."""
        places = [(i, k) for i, matches in enumerate(found) for k, match in enumerate(matches) if match.accepted]
        if not places:
            return
        starts, change = starts_of([found[i][k] for i, k in places], self.index, self.names)
        asked = select(clips, torch.tensor([i for i, _ in places]), self.index.device)
        rest = least_rest(self.index.by_frame(starts, asked, tempo=change.tempo, pitch=change.pitch), _MOMENT)
        for (i, k), score in zip(places, rest.tolist(), strict=True):
            found[i][k] = found[i][k]._replace(accepted=score >= _REST * self.threshold)

    def _matches(
        self, candidates: tuple[Tensor, ...], changes: Sequence[tuple[float, float]], less: float = 0.0
    ) -> list[list[Match]]:
        """Matches of each clip, best first, from the song, offset, votes and score of its candidates."""
        answers = []
        for clip, (tempo, pitch) in zip(zip(*(x.tolist() for x in candidates), strict=True), changes, strict=True):
            found = [
                Match(
                    self.names[self.index.ids[song]],
                    offset * self.index.recipe.seconds,
                    votes,
                    score - less,
                    score - less >= self.threshold,
                ).changed(tempo, pitch)
                for song, offset, votes, score in zip(*clip, strict=True)
                if votes
            ]
            answers.append(sorted(found, key=lambda match: -match.score))
        return answers


def starts_of(matches: Collection[Match], index: Index | Shards, names: Mapping[int, str]) -> tuple[Tensor, Change]:
    """The frame of the timeline at which each match's clip starts, and its change."""
    wanted = {match.name for match in matches}
    begin = {names[song]: first for song, first in index.begins().items() if names[song] in wanted}
    starts = [begin[match.name] + round(match.offset / index.recipe.seconds) for match in matches]
    change = _as_change([(match.rate, match.speed * match.pitch) for match in matches], index.device)
    return torch.tensor(starts, device=index.device), change


def _as_change(change: Sequence[tuple[float, float]], device: torch.device) -> Change:
    return Change(*torch.tensor(change, dtype=torch.float64, device=device).reshape(-1, 2).T)


def _not_accepted(found: Sequence[Sequence[Match]]) -> list[int]:
    return [i for i, matches in enumerate(found) if not (matches and matches[0].accepted)]


def _has_open_tempo(match: Match) -> bool:
    return abs(match.speed * match.pitch - 1) < NEAR
