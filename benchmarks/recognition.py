"""How well and how fast songs are recognised: `uv run benchmarks/recognition.py DATA`, DATA holding music/ and speech/.

Thirty songs, drawn by a fixed seed, are left out of the library. For each row 200 clips (`--clips`) are cut from the
other songs and as many from those thirty, at random places. The rows:

- right: recall@1, the best match is the right song;
- right at 2 %: and its score is above that of all but 2 % of the clips of unknown songs under the same noise;
- right and accepted: and it is accepted by default;
- unknown and accepted: the share of clips of unknown songs that are.

`--tables` picks tables: ours, course, peer, changes, random, tracks, radio, speed; and day, which takes hours.
`--big` times a library of 1e8 landmarks.
"""

import argparse
import resource
import subprocess
import tempfile
import time
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import torch
from measure import tabled, timed
from torchaudio.functional import add_noise, phase_vocoder, resample

from tavtorch import Library, fingerprint, recognise
from tavtorch.audio.recognition import COURSE, Listener, Match, Peaks, Recipe, setlist
from tavtorch.audio.recognition.calibration import false_scores
from tavtorch.audio.recognition.index import Index
from tavtorch.lab.data.files import read_audio

RATE = 8000
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NOISES = ("clean", "speech", "white", "white -5 dB", "babble", "speech + white")


def recordings(folder, rate=RATE):
    """Name to mono wave."""
    waves = {}
    for path in sorted(folder.glob("*.ogg")):
        wave, own = read_audio(path)
        waves[path.stem] = resample(wave.mean(0), own, rate)
    return waves


def split_of(music, seed=1):
    """The songs of the library by name, in an order drawn by the seed, and the thirty that it does not have."""
    order = torch.randperm(len(music), generator=torch.Generator().manual_seed(seed)).tolist()
    names = [list(music)[i] for i in order]
    return {name: music[name] for name in names[30:]}, [music[name] for name in names[:30]]


def cut(waves, seconds, count, generator, rate=RATE):
    """Clips at random places of random songs, none silent: waves, songs, starts in seconds."""
    clips, songs, starts, length = [], [], [], round(seconds * rate)
    while len(clips) < count:
        song = int(torch.randint(len(waves), (), generator=generator))
        spare = len(waves[song]) - length
        if spare > 0:
            start = int(torch.randint(spare, (), generator=generator))
            clip = waves[song][start : start + length]
            if clip.square().mean() > 1e-6:
                clips.append(clip)
                songs.append(song)
                starts.append(start / rate)
    return torch.stack(clips), songs, starts


def noisy(clips, speech, generator):
    """The clips under each noise, at 0 dB where nothing else is said."""
    n, length = clips.shape

    def talker():
        begins = torch.randint(len(speech) - length, (n,), generator=generator)
        return torch.stack([speech[i : i + length] for i in begins])

    def add(wave, noise, snr=0.0):
        return add_noise(wave, noise, torch.full((n,), snr))

    white, one = torch.randn(n, length, generator=generator), talker()
    babble = sum(talker() for _ in range(5))
    both = add(clips, one) + add(clips, white) - clips
    return dict(
        zip(
            NOISES,
            (clips, add(clips, one), add(clips, white), add(clips, white, -5.0), add(clips, babble), both),
            strict=True,
        )
    )


def ask(library, waves, recipe=None, **options):
    """Name and score of the best match of each clip, and whether it is accepted."""
    answers = []
    for some in waves.split(50):
        marks = fingerprint(some[:, None].to(DEVICE), RATE, recipe, verify=recipe is None)
        answers += library.recognise(marks, **options)
    none = Match("", 0.0, 0, 0.0, False)
    best = [matches[0] if matches else none for matches in answers]
    return tuple(np.array([getattr(match, field) for match in best]) for field in ("name", "score", "accepted"))


def shares(library, names, songs, known, unknown, recipe=None, **options):
    """Right, right at 2 %, right and accepted, unknown and accepted: in percent."""
    found, score, sure = ask(library, known, recipe, **options)
    _, other, false = ask(library, unknown, recipe, **options)
    right = found == np.array([names[i] for i in songs])
    limit = np.sort(other)[::-1][len(other) // 50]  # of 200 the fifth: four are above
    return [100 * x.mean() for x in (right, right & (score > limit), right & sure, false)]


def under_noise(table, name, found):
    """A row for each kind of share, of those found under each noise."""
    kinds = "right", "right at 2 %", "right and accepted", "unknown and accepted"
    for kind, values in zip(kinds, zip(*found, strict=True), strict=False):
        table(f"{name}, {kind}", dict(zip(NOISES, values, strict=True)))


def recall(data, recipe, seconds, seed, count, **options):
    """`shares` for each noise."""
    library, names, inside, outside, speech = data[recipe]
    generator = torch.Generator().manual_seed(seed)
    clips, songs, _ = cut(inside, seconds, count, generator)
    strangers, _, _ = cut(outside, seconds, count, generator)
    known, unknown = noisy(clips, speech, generator), noisy(strangers, speech, generator)
    return [shares(library, names, songs, known[x], unknown[x], recipe, **options) for x in NOISES]


def index(songs, recipe):
    library = Library("sqlite://", recipe=recipe, device=DEVICE)
    for name, wave in songs.items():
        library.add(name, fingerprint(wave[None, None].to(DEVICE), RATE, recipe, verify=False))
    return library


def through(wave, *arguments):
    """A wave through ffmpeg."""
    raw = ["-f", "f32le", "-ar", str(RATE), "-ac", "1"]
    command = ["ffmpeg", "-v", "error", *raw, "-i", "-", *arguments, *raw, "-"]
    out = subprocess.run(command, input=wave.numpy().tobytes(), capture_output=True, check=True).stdout
    return torch.from_numpy(np.frombuffer(out, "<f4").copy())


def changed(wave, change):
    """A clip played or coded otherwise."""
    if change == "MP3, 64 kbit/s":
        with tempfile.NamedTemporaryFile(suffix=".mp3") as file:
            raw = ["-f", "f32le", "-ar", str(RATE), "-ac", "1", "-i", "-"]
            command = ["ffmpeg", "-v", "error", "-y", *raw, "-ar", "44100", "-b:a", "64k", file.name]
            subprocess.run(command, input=wave.numpy().tobytes(), check=True)
            return through(wave[:0], "-f", "mp3", "-i", file.name, "-map", "1:a")[: len(wave)]
    kind, factor = change
    faster = f"asetrate={round(RATE * factor)},aresample={RATE}"
    filters = {"tempo": f"atempo={factor}", "speed": faster, "pitch": f"{faster},atempo={1 / factor}"}
    return through(wave, "-af", filters[kind])


def changes(data, count):
    """Recall@1 and accepted of clean clips of 10 s under changes of tempo, pitch and both, and coding."""
    library, names, inside, _, _ = data[None]
    clips, songs, _ = cut(inside, 10, count, torch.Generator().manual_seed(5))
    truth = np.array([names[i] for i in songs])
    kinds = {f"{kind} {factor:g}": (kind, factor) for kind in ("tempo", "pitch", "speed") for factor in (0.98, 1.02)}
    with tabled("recognition: clean clips of 10 s, played or coded otherwise") as row:
        for name, change in ({"as it is": None, "MP3, 64 kbit/s": "MP3, 64 kbit/s"} | kinds).items():
            pieces = [changed(clip, change) if change else clip for clip in clips]
            answers = [ask(library, piece[None]) for piece in pieces]
            right = np.array([name[0] for name, _, _ in answers]) == truth
            sure = right & np.array([accepted[0] for *_, accepted in answers])
            row(name, {"clips": count, "right (%)": 100 * right.mean(), "and accepted (%)": 100 * sure.mean()})


def stretched(wave, factor):
    """A wave at `factor` times its tempo, by a phase vocoder."""
    window = torch.hann_window(1024)
    spectrum = torch.stft(wave, 1024, 128, window=window, return_complex=True)
    steps = torch.linspace(0, np.pi * 128, 513)[:, None]
    return torch.istft(phase_vocoder(spectrum[None], factor, steps)[0], 1024, 128, window=window)


def at_random(waves, kind, seconds, count, generator):
    """Clips, each changed by a factor of its own from -20 to +25 %: waves, songs, factors, starts in seconds."""
    clips, songs, factors, starts = [], [], [], []
    for _ in range(count):
        ratio = Fraction(1 / (0.8 * (1.25 / 0.8) ** float(torch.rand((), generator=generator)))).limit_denominator(150)
        factor = float(1 / ratio)
        taken = seconds * (1 if kind == "pitch" else factor) + 0.5
        (clip,), (song,), (start,) = cut(waves, taken, 1, generator)
        if kind != "speed":
            clip = stretched(clip, factor if kind == "tempo" else 1 / factor)
        if kind != "tempo":
            clip = resample(clip, ratio.denominator, ratio.numerator)
        clips.append(clip[: seconds * RATE])
        songs.append(song)
        factors.append(factor)
        starts.append(start)
    return torch.stack(clips), songs, np.array(factors), np.array(starts)


def random_changes(data, seed, count, seconds=10):
    """Clips at random speed, tempo or pitch from -20 to +25 %, and as many of unknown songs."""
    library, names, inside, outside, speech = data[None]
    with tabled("recognition: clips of 10 s at random changes from -20 to +25 %") as row:
        for kind in ("speed", "tempo", "pitch", None):
            generator = torch.Generator().manual_seed(seed)
            if kind:
                clips, songs, factors, starts = at_random(inside, kind, seconds, count, generator)
                strangers = at_random(outside, kind, seconds, count, generator)[0]
            else:
                clips, songs, starts = cut(inside, seconds, count, generator)
                strangers, factors = cut(outside, seconds, count, generator)[0], np.ones(count)
            known, unknown = noisy(clips, speech, generator), noisy(strangers, speech, generator)
            truth = [names[i] for i in songs], factors, np.array(starts)
            for noise in ("clean", "white", "speech"):
                values = answered(library, known[noise], unknown[noise], truth, kind or "speed")
                row(f"{kind or 'unchanged'}, {noise}", {"clips": count, **values})


def answered(library, known, unknown, truth, kind):
    """How right the answers are, how near the changes and places of the accepted ones, and what a clip costs."""
    (names, factors, starts), count = truth, len(known)
    begin = time.process_time()
    found = [matches[0] if matches else None for matches in recognise(known[:, None], RATE, library=library)]
    middle = time.process_time()
    other = recognise(unknown[:, None], RATE, library=library)
    end = time.process_time()
    right = np.array([m is not None and m.name == name for m, name in zip(found, names, strict=True)])
    sure = right & np.array([m is not None and m.accepted for m in found])
    told = [found[i] for i in np.flatnonzero(sure)]
    error = np.abs(np.array([getattr(match, kind) for match in told]) / factors[sure] - 1)
    place = np.abs(np.array([match.offset for match in told]) - starts[sure])
    return {
        "right (%)": 100 * right.mean(),
        "and accepted (%)": 100 * sure.mean(),
        "unknown and accepted (%)": 100 * np.mean([bool(m) and m[0].accepted for m in other]),
        "change within half a percent (%)": 100 * np.mean(error < 0.005),
        "place within half a second (%)": 100 * np.mean(place < 0.5),
        "median error of the change (%)": 100 * np.median(error),
        "a known clip (CPU s)": (middle - begin) / count,
        "an unknown clip (CPU s)": (end - middle) / count,
    }


def a_set(songs, strangers, generator, count):
    """Excerpts of 10 to 45 s that fade into one another within 2 s, every fourth of a stranger: a wave, and the truth.

    The truth is the name (None for a stranger), start and stop in seconds of each excerpt.
    """
    wave, truth, fade = torch.zeros(2 * RATE), [], torch.linspace(0, 1, 2 * RATE)
    for k in range(count):
        pool = strangers if k % 4 == 0 else songs
        name = list(pool)[int(torch.randint(len(pool), (), generator=generator))]
        length = min(len(pool[name]), int(torch.randint(10 * RATE, 45 * RATE, (), generator=generator)))
        start = int(torch.randint(len(pool[name]) - length + 1, (), generator=generator))
        part = pool[name][start : start + length]
        part = 0.1 * part / part.square().mean().sqrt()
        part[: len(fade)] *= fade
        part[-len(fade) :] *= fade.flip(0)
        begin = len(wave) - len(fade)
        wave[begin:] += part[: len(fade)]
        wave = torch.cat((wave, part[len(fade) :]))
        truth.append((None if k % 4 == 0 else name, begin / RATE, len(wave) / RATE))
    return wave, truth


def tracks(data, seed, count):
    """How many tracks are found in a set, at which times, and how many in the songs that are left out."""
    library, names, inside, outside, speech = data[None]
    generator = torch.Generator().manual_seed(seed)
    wave, truth = a_set(dict(zip(names, inside, strict=True)), dict(enumerate(outside)), generator, count)

    def tracks_of(wave):
        return setlist(library, lambda start, frames: wave[None, start : start + frames], len(wave), RATE)

    noises = {
        "clean": 0 * wave,
        "speech 0 dB": 0.1 * speech.repeat(1 + len(wave) // len(speech))[: len(wave)],
        "white -3 dB": 0.14 * torch.randn(len(wave), generator=generator),
    }
    known, unknown = [one for one in truth if one[0]], torch.cat(outside)
    with tabled("recognition: tracks of a set of excerpts of 10 to 45 s, and of songs left out") as row:
        for noise, added in noises.items():
            found = tracks_of(wave + added)
            pairs = [(t, of) for of in known for t in found if t.name == of[0] and t.start < of[2] and t.stop > of[1]]
            errors = [abs(x) for t, (_, start, stop) in pairs for x in (t.start - start, t.stop - stop)]
            values = {"minutes": len(wave) / RATE / 60, "tracks": len(known), "found": len({of for _, of in pairs})}
            values |= {"false": len(found) - len({t for t, _ in pairs}), "times off by (s)": np.median(errors)}
            row(noise, values)
        row("songs left out", {"minutes": len(unknown) / RATE / 60, "tracks": 0, "false": len(tracks_of(unknown))})


def a_radio_hour(songs, strangers, speech, generator, count):
    """Songs of 40 to 70 s at the speed of a DJ (-6 to +6 %), every fourth of a stranger, that fade into one another.

    Over the start of half of them, for 5 s, and after a third of them someone speaks. A wave, and the truth of `a_set`.
    """
    fade = torch.linspace(0, 1, 2 * RATE)
    wave, truth = torch.zeros(2 * RATE), []

    def chance():
        return float(torch.rand((), generator=generator))

    def talk(seconds):
        start = int(chance() * (len(speech) - seconds * RATE))
        return 0.1 * speech[start : start + seconds * RATE]

    for k in range(count):
        pool = strangers if k % 4 == 3 else songs
        ratio = Fraction(1 - 0.06 + 0.12 * chance()).limit_denominator(100)
        (part,), (song,), _ = cut(list(pool.values()), 40 + 30 * chance(), 1, generator)
        part = resample(part, ratio.denominator, ratio.numerator)
        part = 0.1 * part / part.square().mean().sqrt()
        part[: len(fade)] *= fade
        part[-len(fade) :] *= fade.flip(0)
        if k % 2:
            part[: 5 * RATE] += talk(5)
        begin = len(wave) - len(fade)
        wave[begin:] += part[: len(fade)]
        wave = torch.cat((wave, part[len(fade) :]))
        truth.append((None if k % 4 == 3 else list(pool)[song], begin / RATE, len(wave) / RATE))
        if k % 3 == 2:
            wave = torch.cat((wave, talk(8)))
    return torch.cat((wave, torch.zeros(15 * RATE))), truth


def listened(library, wave):
    """What a `Listener` tells of a wave, each with the second at which it told it."""
    listener, told = Listener(library), []
    for at, block in enumerate(wave.split(RATE)):
        told += [(heard, at + 1) for heard in listener.feed(block, RATE)]
    return listener, told + [(heard, len(wave) / RATE) for heard in listener.close()]


def radio(data, seed, count, minutes=40):
    """Tracks that a `Listener` finds in a generated radio hour, and in songs that the library does not have."""
    library, names, inside, outside, speech = data[None]
    generator = torch.Generator().manual_seed(seed)
    library.calibrate(generator=generator)
    songs, strangers = dict(zip(names, inside, strict=True)), dict(enumerate(outside))
    wave, truth = a_radio_hour(songs, strangers, speech, generator, count)
    begin = time.process_time()
    listener, told = listened(library, wave)
    cpu = (time.process_time() - begin) / (len(wave) / RATE)
    starts = [(heard, now) for heard, now in told if heard.kind == "start"]
    known = [of for of in truth if of[0]]
    pairs = [
        (heard.time - of[1], now - of[1], of)
        for of in known
        for heard, now in starts
        if heard.track.name == of[0] and of[1] - 5 < heard.time < of[2]
    ]
    found = {of for _, _, of in pairs}
    near, late = sum(abs(off) < 3 for off, _, _ in pairs), [now for _, now, _ in pairs]
    unknown = torch.cat(outside)[: minutes * 60 * RATE]
    false = [heard.track for heard, _ in listened(library, unknown)[1] if heard.kind == "start"]
    with tabled("recognition: tracks that a Listener tells") as row:
        values = {"minutes": len(wave) / RATE / 60, "tracks": len(known), "found": len(found)}
        values |= {"start within 3 s": near, "told twice": len(pairs) - len(found), "false": len(starts) - len(pairs)}
        values |= {"told after (s)": np.median(late), "at most (s)": max(late), "a second (CPU s)": cpu}
        row("a radio hour", values | {"threshold": listener.threshold})
        row("songs left out", {"minutes": len(unknown) / RATE / 60, "tracks": 0, "false": len(false)})


def day(data, seed, hours):
    """False tracks in so many hours of unknown music and speech, at the calibrated threshold.

    The songs left out are played at ever other speeds, from 0.8 to 1.25, and after each round speech for as long as a
    fifth of them, half of it over music; blocks of ten minutes are a stream of their own. Another seed leaves out
    other songs and has other speeds and speech, so that a day may be heard in parts.
    """
    library, _, _, outside, speech = data[None]
    generator = torch.Generator().manual_seed(seed)
    calibration = library.calibrate(seconds=1800, generator=generator)
    music, scores, heard, round_ = torch.cat(outside), [], 0.0, 0
    while heard < 3600 * hours:
        ratio = Fraction(1 / (0.8 + 0.45 * ((0.45 + 0.618 * (round_ + 40 * (seed - 1))) % 1.0))).limit_denominator(60)
        wave = resample(music, ratio.denominator, ratio.numerator) if round_ else music
        talk = 0.1 * speech.roll(-int(torch.randint(len(speech), (), generator=generator)))[: len(wave) // 5]
        talk[len(talk) // 2 :] += 0.5 * wave[: len(talk) - len(talk) // 2]
        for block in torch.cat((wave, talk)).split(600 * RATE):
            if len(block) > 10 * RATE:
                scores += false_scores(library, block, window=6.0, hop=2.0)
                heard += len(block) / RATE
        round_ += 1
        print(f"{heard / 3600:.1f} hours, highest {' '.join(f'{x:.1f}' for x in sorted(scores)[:-11:-1])}", flush=True)
    limit, found = calibration.threshold(1.0), np.array(scores)
    with tabled("recognition: unknown sound, a day in parts") as row:
        values = {"hours": heard / 3600, "false tracks": np.sum(found >= limit), "highest score": found.max()}
        row(f"seed {seed}", values | {"a track a day is told from": limit})


def speed(data, songs):
    library, _, inside, _, speech = data[None]
    wave = torch.cat(list(songs.values()))[: 600 * RATE]
    with tabled("recognition: speed") as row:
        for rate in (8000, 44100):
            song = wave if rate == RATE else torch.randn(600 * rate)
            song = song[None, None].to(DEVICE)
            wall, cpu = timed(lambda song=song, rate=rate: fingerprint(song, rate, verify=False), 3)
            values = {"times real time": 600 / wall, "by processor time": 600 / cpu}
            row(f"fingerprint of 10 minutes at {rate} Hz", values)
        clips, _, _ = cut(inside, 5, 50, torch.Generator().manual_seed(0))
        clips = noisy(clips, speech, torch.Generator().manual_seed(0))["speech + white"][:, None].to(DEVICE)
        for count in (1, 50) if DEVICE == "cpu" else (1, 50, 1000):
            some = clips.repeat(20, 1, 1)[:count]
            wall, cpu = timed(lambda some=some: library.recognise(fingerprint(some, RATE)))
            values = {"a clip (ms)": 1000 * wall / count, "a clip (CPU ms)": 1000 * cpu / count}
            row(f"{count} clips of 5 s at once, both noises", values)
        with tempfile.TemporaryDirectory() as folder:
            stored = Library(Path(folder) / "songs.db")
            for name, song in songs.items():
                stored.add(name, fingerprint(song[None, None].to(DEVICE), RATE, verify=False))
            hours = sum(len(song) for song in songs.values()) / RATE / 3600
            row("database", {"an hour (MB)": (Path(folder) / "songs.db").stat().st_size / 1e6 / hours})


def big(songs, strangers, sizes=(10**7, 3 * 10**7, 10**8)):
    """Real songs again and again, each time at another pitch and tempo, until there are so many landmarks.

    CPU seconds on one thread; the build is that of the index, without fingerprints and the database.
    """
    torch.set_num_threads(1)
    recipe, generator = Recipe(), torch.Generator().manual_seed(0)
    tables = [fingerprint(song[None, None], RATE, verify=False) for song in songs.values()]
    index, copies, seconds = Index(recipe, DEVICE), 0, 0.0
    waves, which, _ = cut(list(songs.values()), 5, 40, torch.Generator().manual_seed(1))
    others, _, _ = cut(strangers, 5, 40, torch.Generator().manual_seed(1))
    white = add_noise(waves, torch.randn(waves.shape, generator=generator), torch.zeros(len(waves)))
    marks = {
        name: [fingerprint(wave[None, None], RATE) for wave in some]
        for name, some in {"clean": waves, "white": white, "unknown": others}.items()
    }

    def copy(marks, original):
        peaks = Peaks(*(field[0] for field in marks.peaks))
        if original:
            return peaks
        frequency, time = 0.7 + 0.6 * torch.rand(2, generator=generator)
        moved = (peaks.frequency * frequency).round().long().clamp(8, 1024), (peaks.time * time).round().long()
        return Peaks(*(torch.where(peaks.rank < 0, -1, x) for x in (moved[1], moved[0])), peaks.rank)

    with tabled("recognition: libraries by the number of their landmarks, clips of 5 s, one thread") as row:
        for rows in sizes:
            while len(index) < rows:
                some, wanted = [], min(10**7, rows - len(index))
                while sum(int((p.rank < recipe.paired).sum()) for _, p, _ in some) * 5 < wanted + 1:
                    for one in tables:
                        some.append((copies, copy(one, copies < len(tables)), 1 + round(1.3 * one.frames)))
                        copies += 1
                begin = time.process_time()
                index.extend(some)
                seconds += time.process_time() - begin
            library = Library("sqlite://", device=DEVICE)
            library._index, library._names = index, {i: str(i % len(tables)) for i in range(copies)}
            library._version = library._store.version()
            library.recognise(marks["clean"][0])  # joins the peaks, once
            values = {"songs": copies, "hours with gaps": index.end * recipe.seconds / 3600, "build (CPU s)": seconds}
            values["held (GB)"] = sum(x.numel() * x.element_size() for x in index.tensors().values()) / 1e9
            values["at most (GB)"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            for name, some in marks.items():
                answers, times = [], []
                for mark in some:
                    begin = time.process_time()
                    answers.append(library.recognise(mark)[0])
                    times.append(1000 * (time.process_time() - begin))
                right = [bool(a) and a[0].name == str(i) for a, i in zip(answers, which, strict=True)]
                values |= {f"{name} (CPU ms)": np.median(times), f"{name}, least (CPU ms)": min(times)}
                values |= {f"{name} right (%)": 100 * np.mean(right)} if name != "unknown" else {}
            row(f"{len(index):.2e}", values)


def chromaprint(wave, rate=RATE):
    """Fingerprint of AcoustID, 32 bits about eight times a second."""
    command = ["ffmpeg", "-v", "error", "-f", "f32le", "-ar", str(rate), "-ac", "1", "-i", "-"]
    command += ["-f", "chromaprint", "-fp_format", "raw", "-"]
    return np.frombuffer(subprocess.run(command, input=wave.numpy().tobytes(), capture_output=True).stdout, "<u4")


def distance(clip, stored):
    """Of a clip the nearest stored song at any place, and minus the least mean of differing bits."""
    windows = (np.lib.stride_tricks.sliding_window_view(song, len(clip)) for song in stored if len(song) >= len(clip))
    bits = [np.bitwise_count(window ^ clip).mean(1).min() for window in windows]
    return int(np.argmin(bits)), -min(bits)


def at_two_percent(known, unknown, songs):
    """Recall@1, and recall at the score that 2 % of the unknown clips reach, in %, of songs and scores of clips."""
    limit = sorted(score for _, score in unknown)[-1 - len(unknown) // 50]
    right = np.array([found == song for (found, _), song in zip(known, songs, strict=True)])
    sure = right & (np.array([score for _, score in known]) > limit)
    return 100 * right.mean(), 100 * sure.mean()


def chromaprints(data, seconds, seed, count):
    """Of the peer, right and right at 2 % for each noise: every clip against every place of every song."""
    _, _, inside, outside, speech = data[None]
    stored = [chromaprint(wave) for wave in inside]
    generator = torch.Generator().manual_seed(seed)
    clips, songs, _ = cut(inside, seconds, count, generator)
    strangers, _, _ = cut(outside, seconds, count, generator)
    known, unknown = noisy(clips, speech, generator), noisy(strangers, speech, generator)
    cells = []
    for noise in NOISES:
        near = [[distance(chromaprint(wave), stored) for wave in some[noise]] for some in (known, unknown)]
        cells.append(at_two_percent(*near, songs))
    return cells


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--big", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--hours", type=float, default=24.0, help="of the table day (default: %(default)s)")
    parser.add_argument(
        "--tables", nargs="*", default=["ours", "course", "peer", "changes", "random", "tracks", "radio", "speed"]
    )
    arguments = parser.parse_args()
    music, voices = recordings(arguments.data / "music"), recordings(arguments.data / "speech")
    speech = torch.cat([voice / voice.square().mean().sqrt() for voice in voices.values()])
    inside, outside = split_of(music, arguments.seed)
    data = {
        recipe: (index(inside, recipe), list(inside), list(inside.values()), outside, speech)
        for recipe in ((None, COURSE) if "course" in arguments.tables else (None,))
    }
    noise = "recognition: clips under noise, in %"
    if "ours" in arguments.tables:
        with tabled(noise) as row:
            for s in (3, 5, 10, 15):
                under_noise(row, f"{s} s", recall(data, None, s, arguments.seed, arguments.clips))
    if "course" in arguments.tables:
        votes = {"count": {"vote": "count"}, "offset": {"pitches": ()}}
        with tabled(noise) as row:
            for s, (vote, how) in product((5, 15), votes.items()):
                how = {"tolerance": 0, "neighbours": 5, **how}
                found = recall(data, COURSE, s, arguments.seed, arguments.clips, **how)
                under_noise(row, f"{s} s, the course's by {vote}", [shares[:2] for shares in found])
    if "peer" in arguments.tables:
        with tabled(noise) as row:
            for s in (5, 10):
                found = chromaprints(data, s, arguments.seed, arguments.clips)
                under_noise(row, f"{s} s, chromaprint, every place tried, {arguments.clips} clips", found)
    if "changes" in arguments.tables:
        changes(data, arguments.clips // 2)
    if "random" in arguments.tables:
        random_changes(data, arguments.seed, arguments.clips // 2)
    if "tracks" in arguments.tables:
        tracks(data, arguments.seed, arguments.clips // 5)
    if "radio" in arguments.tables:
        radio(data, arguments.seed, arguments.clips // 5)
    if "day" in arguments.tables:
        day(data, arguments.seed, arguments.hours)
    if "speed" in arguments.tables:
        speed(data, inside)
    if arguments.big:
        big(inside, outside)


if __name__ == "__main__":
    main()
