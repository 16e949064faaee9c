"""Recognition all day: the tracks of a stream of samples, as they are heard."""

from math import log

import torch
from jaxtyping import Float
from torch import Tensor

from tavtorch.audio.check import check_rate, check_samples, finite
from tavtorch.audio.recognition.library import Library
from tavtorch.audio.recognition.tracks import RARER, WINDOWS, Heard, Tracker, Window, looked_up

_DAY = 86400.0

_PATIENCE = 10.0
"""Seconds after which a track that is not heard has ended."""

_SILENCE = 1e-4
"""Largest sample of a window that is passed over: -80 dB."""


class Listener:
    """Tells the tracks of a stream that may go on for days, in the memory of one window.

    Feed it blocks of any length. A song is told when its windows are sure together, at the latest two windows after it
    starts where it is heard well; its end once it was not heard for ten seconds. A song that is talked over, or played
    on at another speed, stays one track.

    Args:
        library: the known songs.
        alarms: false tracks in a day that are accepted. The threshold is that of `Library.calibrate`, or, where the
            library is not calibrated, the one measured on two hours of unknown music: 5 + ln(windows a day / alarms) /
            ln 3.
        window: length of a window in seconds.
        hop: seconds from one window to the next.
        changed: see `Library.recognise`.

    >>> library = Library("sqlite://")
    >>> song = torch.randn(1, 20 * 8000)
    >>> library.add("noise", fingerprint(song[None], 8000))
    True
    >>> listener, told = Listener(library, changed=False), []
    >>> for block in torch.cat((song, torch.zeros(1, 20 * 8000)), 1).split(1000, dim=1):
    ...     told += listener.feed(block, 8000)
    >>> [(heard.kind, round(heard.time)) for heard in told]
    [('start', 0), ('end', 20), ('gap', 20)]
    """

    def __init__(
        self, library: Library, *, alarms: float = 1.0, window: float = 6.0, hop: float = 2.0, changed: bool = True
    ):
        if not 0 < hop <= window:
            raise ValueError(f"hop: expected more than 0 and at most window = {window} s, got {hop}.")
        if not alarms > 0:
            raise ValueError(f"alarms: expected more than 0 false tracks a day, got {alarms}.")
        if not len(library):
            raise ValueError(f"library: {library.place} has no songs; add some first.")
        library.refresh()  # now, and not when the stream runs
        self.library, self.window, self.hop, self.changed = library, window, hop, changed
        calibration = library.calibration
        threshold = calibration.threshold(alarms) if calibration else 5.0 + log(_DAY / hop / alarms) / RARER
        self._tracker = Tracker(window, threshold, _PATIENCE)
        self._sample_rate = 0
        self._rest = torch.zeros(0, 0)  # samples from the start of the next window on
        self._number = 0  # of the next window
        self._length = 0

    @property
    def threshold(self) -> float:
        """Least score of a track."""
        return self._tracker.threshold

    @property
    def seconds(self) -> float:
        """How much was heard."""
        return self._length / self._sample_rate if self._sample_rate else 0.0

    def feed(self, block: Float[Tensor, "c t"] | Float[Tensor, "t"], sample_rate: int) -> list[Heard]:
        """The next samples of the stream, and what is told of it now, in the order of the times at which it is sure.

        Args:
            block: `(c, t)` or `(t,)`, of any length.
            sample_rate: in Hz, the same for all blocks; as is the number of channels.
        """
        block = block[None] if block.dim() == 1 else block
        self._check(block, sample_rate)
        self._length += block.shape[1]
        size, hop = round(self.window * sample_rate), round(self.hop * sample_rate)
        told: list[Heard] = []
        for part in block.split(WINDOWS * hop, dim=1):
            self._rest = torch.cat((self._rest, part), 1)
            count = max(0, (self._rest.shape[1] - size) // hop + 1)
            told += self._told([self._rest[:, i * hop : i * hop + size] for i in range(count)])
            self._rest = self._rest[:, count * hop :].clone()
        return told

    def close(self) -> list[Heard]:
        """The end of the stream: what its last seconds tell, and the end of all tracks."""
        told: list[Heard] = []
        heard_already = round((self.window - self.hop) * self._sample_rate) if self._number else 0
        if self._rest.shape[1] > heard_already:
            told += self._told([self._rest])
        self._rest = self._rest[:, :0]
        return told + self._tracker.finish()

    def _told(self, waves: list[Tensor]) -> list[Heard]:
        """What windows tell, which are the next ones; silent ones are not looked up."""
        first = self._number
        self._number += len(waves)
        windows: list[Window | None] = [None] * len(waves)
        sounding = [i for i, wave in enumerate(waves) if float(wave.abs().max()) > _SILENCE]
        if sounding:
            times = [(first + i) * self._step for i in sounding]
            some, numbers = torch.stack([waves[i] for i in sounding]), [first + i for i in sounding]
            found = looked_up(self.library, some, times, numbers, self._sample_rate, changed=self.changed)
            for i, heard in zip(sounding, found, strict=True):
                windows[i] = heard
        told: list[Heard] = []
        for i, heard in enumerate(windows, first):
            told += self._tracker.add(i, i * self._step, heard)
        return told

    @property
    def _step(self) -> float:
        """Seconds from one window to the next, a whole number of samples."""
        return round(self.hop * self._sample_rate) / self._sample_rate

    def _check(self, block: Tensor, sample_rate: int) -> None:
        check_rate(sample_rate)
        if block.dim() != 2 or not len(block):
            raise ValueError(f"block: expected samples (c, t) or (t,), got shape {tuple(block.shape)}.")
        check_samples(block)
        if not finite(block):
            raise ValueError("block: some samples are NaN or infinite; clean the stream first.")
        if not self._sample_rate:
            self._sample_rate, self._rest = sample_rate, block[:, :0]
            if round(self.hop * sample_rate) < 1:
                raise ValueError(f"hop: expected at least a sample at {sample_rate} Hz, got {self.hop} s.")
        if sample_rate != self._sample_rate:
            raise ValueError(
                f"sample_rate: the stream began at {self._sample_rate} Hz, got a block at {sample_rate}; resample it, "
                "or close this listener and begin another."
            )
        if len(block) != len(self._rest):
            raise ValueError(f"block: the stream began with {len(self._rest)} channels, got {len(block)}; mix them.")
