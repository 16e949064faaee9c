"""How well and how fast songs are recognised: `uv run benchmarks/recognition.py DATA`, DATA holding music/ and speech/.

Thirty songs, drawn by a fixed seed, are left out of the library. For each row 200 clips (`--clips`) are cut from the
other songs and as many from those thirty, at random places. The columns:

- recall@1: the best match is the right song;
- at 2 %: and its score is above that of all but 2 % of the clips of unknown songs under the same noise;
- accepted: and it is accepted by default; beside it the share of unknown clips that are.

`--tables` picks tables: ours, course, peer, changes, random, tracks, radio, speed; and day, which takes hours.
`--big` times a library of 1e8 landmarks.
"""

import argparse
import resource
import subprocess
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from measure import record, timed
from torchaudio.functional import add_noise, phase_vocoder, resample

from tavtorch import Library, fingerprint, recognise
from tavtorch.audio.recognition import COURSE, Listener, Match, Peaks, Recipe, setlist
from tavtorch.audio.recognition.calibration import false_scores
from tavtorch.audio.recognition.index import Index
from tavtorch.audio.recognition.tracks import RARER
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


def row(library, names, songs, known, unknown, recipe=None, **options):
    """Recall@1, recall at 2 %, recall accepted, unknown accepted: in percent."""
    found, score, sure = ask(library, known, recipe, **options)
    _, other, false = ask(library, unknown, recipe, **options)
    right = found == np.array([names[i] for i in songs])
    limit = np.sort(other)[::-1][len(other) // 50]  # of 200 the fifth: four are above
    return [100 * x.mean() for x in (right, right & (score > limit), right & sure, false)]


def table(title, cells):
    print(f"\n{title}\n{'':26}" + "".join(f"{noise:>19}" for noise in NOISES))
    for name, values in cells.items():
        print(f"{name:26}" + "".join(f"{value:>19}" for value in values), flush=True)


def recall(data, recipe, seconds, seed, count, **options):
    """One row: for each noise recall@1 (at 2 %), and what the default threshold does."""
    library, names, inside, outside, speech = data[recipe]
    generator = torch.Generator().manual_seed(seed)
    clips, songs, _ = cut(inside, seconds, count, generator)
    strangers, _, _ = cut(outside, seconds, count, generator)
    known, unknown = noisy(clips, speech, generator), noisy(strangers, speech, generator)
    return [row(library, names, songs, known[x], unknown[x], recipe, **options) for x in NOISES]


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
    print(f"\n10 s, clean, {count} clips: recall@1 / accepted")
    kinds = [(kind, factor) for kind in ("tempo", "pitch", "speed") for factor in (0.98, 1.02)]
    for change in [None, "MP3, 64 kbit/s", *kinds]:
        pieces = [changed(clip, change) if change else clip for clip in clips]
        answers = [ask(library, piece[None]) for piece in pieces]
        right = np.array([name[0] for name, _, _ in answers]) == truth
        sure = right & np.array([accepted[0] for *_, accepted in answers])
        print(f"{change or 'as it is'!s:26}{100 * right.mean():6.1f} / {100 * sure.mean():.1f}", flush=True)


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


def random_changes(data, seed, count, seconds=10, kinds=("speed", "tempo", "pitch", None)):
    """Clips at random speed, tempo or pitch: what is accepted, what of unknown songs, how near the change is, cost."""
    library, names, inside, outside, speech = data[None]
    print(f"\n{seconds} s, {count} clips at random changes from -20 to +25 %, as many of unknown songs")
    print("kind, noise: recall@1, right and accepted, unknown accepted in %; change within 0.5 % of those accepted,")
    print("place within 0.5 s, median error of the change in %; CPU s a clip, known and unknown")
    for kind in kinds:
        generator = torch.Generator().manual_seed(seed)
        if kind:
            clips, songs, factors, starts = at_random(inside, kind, seconds, count, generator)
            strangers = at_random(outside, kind, seconds, count, generator)[0]
        else:
            clips, songs, starts = cut(inside, seconds, count, generator)
            strangers, factors = cut(outside, seconds, count, generator)[0], np.ones(count)
        known, unknown = noisy(clips, speech, generator), noisy(strangers, speech, generator)
        for noise in ("clean", "white", "speech"):
            begin = time.process_time()
            answers = recognise(known[noise][:, None], RATE, library=library)
            found = [matches[0] if matches else None for matches in answers]
            middle = time.process_time()
            other = recognise(unknown[noise][:, None], RATE, library=library)
            end = time.process_time()
            right = np.array([m is not None and m.name == names[i] for m, i in zip(found, songs, strict=True)])
            sure = right & np.array([m is not None and m.accepted for m in found])
            false = np.mean([bool(m) and m[0].accepted for m in other])
            told = np.array([getattr(found[i], kind or "speed") for i in np.flatnonzero(sure)])
            error = np.abs(told / factors[sure] - 1)
            place = np.abs(np.array([found[i].offset for i in np.flatnonzero(sure)]) - np.array(starts)[sure])
            print(
                f"{kind or 'unchanged':10}{noise:7}{100 * right.mean():6.1f}{100 * sure.mean():6.1f}{100 * false:6.1f};"
                f"{100 * np.mean(error < 0.005):6.1f}{100 * np.mean(place < 0.5):6.1f}{100 * np.median(error):6.2f};"
                f"{(middle - begin) / count:6.2f}{(end - middle) / count:6.2f}",
                flush=True,
            )


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
    known = [one for one in truth if one[0]]
    print(f"\na set of {len(wave) / RATE / 60:.0f} minutes, {len(known)} tracks of the library")
    for noise, added in noises.items():
        found = tracks_of(wave + added)
        pairs = [(t, of) for of in known for t in found if t.name == of[0] and t.start < of[2] and t.stop > of[1]]
        kept = {of for _, of in pairs}
        errors = [abs(x) for t, (_, start, stop) in pairs for x in (t.start - start, t.stop - stop)]
        false = len(found) - len({t for t, _ in pairs})
        print(
            f"{noise:20} found {len(kept)}, false {false}, times off by {np.median(errors):.1f} s (median)", flush=True
        )
    unknown = torch.cat(outside)
    print(f"songs left out, {len(unknown) / RATE / 60:.0f} minutes: {len(tracks_of(unknown))} tracks")


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
    print(f"\na radio hour of {len(wave) / RATE / 60:.0f} minutes, {len(known)} tracks; ", end="")
    print(f"threshold {listener.threshold:.1f}")
    print(f"found {len(found)}, start within 3 s {near}, told twice {len(pairs) - len(found)}, ", end="")
    print(f"false {len(starts) - len(pairs)}, told after {np.median(late):.0f} s (median), {max(late):.0f} s (most)")
    print(f"{cpu:.3f} CPU s a second")
    unknown = torch.cat(outside)[: minutes * 60 * RATE]
    false = [heard.track for heard, _ in listened(library, unknown)[1] if heard.kind == "start"]
    print(f"songs left out, {len(unknown) / RATE / 60:.0f} minutes: {len(false)} tracks", flush=True)


def day(data, seed, hours):
    """False tracks in so many hours of unknown music and speech, at the calibrated threshold and at the other.

    The songs left out are played at ever other speeds, from 0.8 to 1.25, and after each round speech for as long as a
    fifth of them, half of it over music; blocks of ten minutes are a stream of their own. Another seed leaves out
    other songs and has other speeds and speech, so that a day may be heard in parts.
    """
    library, _, _, outside, speech = data[None]
    generator = torch.Generator().manual_seed(seed)
    calibration = library.calibrate(seconds=1800, generator=generator)
    print(f"\ncalibrated: a false track a day from {calibration.threshold(1.0):.1f} on")
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
        found = np.array(scores)
        limits = {"calibrated": calibration.threshold(1.0), "as it comes": 5 + np.log(43200) / RARER}
        counts = ", ".join(f"{name} ({limit:.1f}): {np.sum(found >= limit)}" for name, limit in limits.items())
        top = " ".join(f"{x:.1f}" for x in np.sort(found)[::-1][:10])
        print(f"{heard / 3600:.1f} hours of unknown sound, false tracks {counts}; highest {top}", flush=True)
    hours, false = round(heard / 3600, 1), int(np.sum(found >= limits["calibrated"]))
    record("day", {(f"unknown sound, seed {seed}", "hours"): hours, (f"false tracks in it, seed {seed}", ""): false})


def speed(data, songs):
    library, _, inside, _, speech = data[None]
    wave = torch.cat(list(songs.values()))[: 600 * RATE]
    print(f"\n{torch.get_num_threads()} threads, {DEVICE}; wall clock (and CPU seconds)")
    for rate in (8000, 44100):
        song = wave if rate == RATE else torch.randn(600 * rate)
        song = song[None, None].to(DEVICE)
        wall, cpu = timed(lambda song=song, rate=rate: fingerprint(song, rate, verify=False), 3)
        print(f"fingerprint 10 minutes at {rate} Hz    {600 / wall:8.0f} x real time ({600 / cpu:.0f})")
    clips, _, _ = cut(inside, 5, 50, torch.Generator().manual_seed(0))
    clips = noisy(clips, speech, torch.Generator().manual_seed(0))["speech + white"][:, None].to(DEVICE)
    wall, cpu = timed(lambda: library.recognise(fingerprint(clips[:1], RATE)))
    print(f"one clip of 5 s, both noises       {1000 * wall:8.1f} ms ({1000 * cpu:.1f})")
    wall, cpu = timed(lambda: library.recognise(fingerprint(clips, RATE)))
    print(f"the same in a batch of 50          {1000 * wall / 50:8.1f} ms a clip ({1000 * cpu / 50:.1f})")
    if DEVICE == "cuda":
        many = clips.repeat(20, 1, 1)
        print(
            f"a batch of 1,000 clips             {timed(lambda: library.recognise(fingerprint(many, RATE)))[0]:8.2f} s"
        )
    with tempfile.TemporaryDirectory() as folder:
        stored = Library(Path(folder) / "songs.db")
        for name, song in songs.items():
            stored.add(name, fingerprint(song[None, None].to(DEVICE), RATE, verify=False))
        hours = sum(len(song) for song in songs.values()) / RATE / 3600
        megabytes = (Path(folder) / "songs.db").stat().st_size / 1e6
        print(f"database                           {megabytes / hours:8.2f} MB an hour")


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

    print("\nlandmarks, songs, hours with gaps; build; memory; 5 s clips: recall@1, CPU ms a query (median, least)")
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
        held = sum(x.numel() * x.element_size() for x in index.tensors().values()) / 1e9
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{len(index):.2e} landmarks, {copies} songs, {index.end * recipe.seconds / 3600:.0f} hours; "
            f"{seconds:.0f} s; {held:.2f} GB held, {most:.1f} at most"
        )
        for name, some in marks.items():
            answers, times = [], []
            for mark in some:
                begin = time.process_time()
                answers.append(library.recognise(mark)[0])
                times.append(1000 * (time.process_time() - begin))
            right = 100 * np.mean([bool(a) and a[0].name == str(i) for a, i in zip(answers, which, strict=True)])
            said = f"{np.sum([bool(a) and a[0].accepted for a in answers])} accepted" if name == "unknown" else right
            print(f"    {name:8} {said}  {np.median(times):.0f}  {min(times):.0f}", flush=True)


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
    """One row of the peer: every clip against every place of every song."""
    _, _, inside, outside, speech = data[None]
    stored = [chromaprint(wave) for wave in inside]
    generator = torch.Generator().manual_seed(seed)
    clips, songs, _ = cut(inside, seconds, count, generator)
    strangers, _, _ = cut(outside, seconds, count, generator)
    known, unknown = noisy(clips, speech, generator), noisy(strangers, speech, generator)
    cells = []
    for noise in NOISES:
        near = [[distance(chromaprint(wave), stored) for wave in some[noise]] for some in (known, unknown)]
        cells.append("{:.1f} ({:.1f})".format(*at_two_percent(*near, songs)))
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
    if "ours" in arguments.tables:
        rows = {f"{s} s": recall(data, None, s, arguments.seed, arguments.clips) for s in (3, 5, 10, 15)}
        table("ours: recall@1 (at 2 %)", {s: [f"{a:.1f} ({b:.1f})" for a, b, _, _ in r] for s, r in rows.items()})
        accepted = {s: [f"{c:.1f} / {d:.1f}" for *_, c, d in r] for s, r in rows.items()}
        table("ours: right and accepted / unknown and accepted", accepted)
    if "course" in arguments.tables:
        asked = {"vote": "count", "tolerance": 0, "neighbours": 5}, {"pitches": (), "tolerance": 0, "neighbours": 5}
        rows = {
            f"{s} s, by {name}": [
                f"{a:.1f} ({b:.1f})" for a, b, *_ in recall(data, COURSE, s, arguments.seed, arguments.clips, **how)
            ]
            for s in (5, 15)
            for name, how in zip(("count", "offset"), asked, strict=True)
        }
        table("the course's recipe: recall@1 (at 2 %)", rows)
    if "peer" in arguments.tables:
        rows = {f"{s} s": chromaprints(data, s, arguments.seed, arguments.clips) for s in (5, 10)}
        table("chromaprint, exhaustive: recall@1 (at 2 %)", rows)
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
