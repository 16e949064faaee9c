"""How fast songs are separated, made and loaded: `uv run benchmarks/separation.py`, on an idle machine.

`hpss`, `nmf [SONG]` and `minima SONGS` after it measure those, beside librosa, scikit-learn and torchnmf (group
`bench`); SONG is a folder of stems, SONGS a folder of such. `drums SONGS` scores hpss on them, `songs SONGS [CKPT]` the
network that was trained last, or that of a checkpoint, or of the `package`, `four SONGS` that of `unet_four`. `files
[HOURS [SUFFIX]]` separates a long recording from disk to disk, `live` generated songs while they play. `speed`, or no
word: how fast the network is.

What is printed is added to results/separation.jsonl, and the tables of README.md are made of it.
"""

import csv
import math
import subprocess
import sys
import tempfile
import time
import warnings
from bisect import bisect_left
from functools import partial
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from measure import front, tabled, timed
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio as si_sdr

import tavtorch
from tavtorch.audio.resampling import rate_ratio, resampled
from tavtorch.lab.data.files import AudioWriter
from tavtorch.lab.data.synthetic import band
from tavtorch.lab.run import precision
from train import CONFIGS

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
STEPS, STARTS = 100, 5  # of nmf
TRAINED, FOUR = "runs/separate/checkpoints/best.ckpt", "runs/unet_four/checkpoints/best.ckpt"


def seconds(run, repeats=3):
    """Least time of some runs: what the machine can do when nobody disturbs it; with one thread, processor time."""
    wall, cpu = timed(run, repeats)
    return cpu if DEVICE == "cpu" and torch.get_num_threads() == 1 else wall


def configured():
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        return compose("train", ["name=bench", "out=runs/bench"])


def separating(config):
    """A song of four minutes, stereo at 44.1 kHz, through the default network: times real time."""
    net = instantiate(config.task.op, _convert_="all").to(DEVICE)
    song = torch.randn(1, 2, 240 * 44100, device=DEVICE)
    with torch.inference_mode():
        return 240 / seconds(lambda: tavtorch.separate(song, 44100, net), repeats=1)


def memory(minutes):
    """Peak memory of a process that separates so many minutes of mono at 16 kHz, in MiB, without song and stems."""
    script = f"""
import resource, torch, tavtorch
net, song = tavtorch.UNet(width=16), torch.randn(1, 1, {minutes} * 60 * 16000)
with torch.inference_mode():
    stems = tavtorch.separate(song, 16000, net)
held = (song.numel() + stems.numel()) * 4 / 2**20
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - held)
"""
    return float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)


def making():
    """Generated music, four stems: times real time."""
    generator = torch.Generator(DEVICE).manual_seed(0)
    return 16 * 12 / seconds(lambda: band(16, 12.0, generator=generator, device=DEVICE))


def loading(config, steps=30):
    """Seconds a training step with a fresh batch each time, and with one batch again and again."""
    data = instantiate(config.data, _convert_="all")
    data.setup("fit")
    task = instantiate(config.task, _convert_="all").to(DEVICE)
    optimizer = task.optimizer(task.parameters())
    loader = iter(data.train_dataloader())
    cached = next(loader)
    half = precision(config) == "bf16-mixed"

    def train(batch):
        wave, truth = batch["inputs"]["wave"].to(DEVICE), batch["truth"].to(DEVICE)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=half):
            loss = task.loss(task.op(wave), truth).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), config.trainer.gradient_clip_val)
        optimizer.step()

    times = {"fresh": [], "cached": []}
    for _ in range(steps):  # in turn, so that a disturbance meets both
        for kind in times:
            start = time.perf_counter()
            train(next(loader) if kind == "fresh" else cached)
            times[kind].append(time.perf_counter() - start)
    return {kind: sorted(values)[len(values) // 2] for kind, values in times.items()}


def least(*runs, repeats=4):
    """Least seconds of each of some functions, in turn, so that a disturbance meets all."""
    return [min(times) for times in zip(*([seconds(run, 1) for run in runs] for _ in range(repeats)), strict=True)]


def hpss():
    """A spectrum of 60 s at 22.05 kHz, eagerly and compiled, beside librosa."""
    import librosa

    spectrum = torch.randn(1025, 2584, dtype=torch.complex64)
    numbers = spectrum.numpy()
    spectrum = spectrum.to(DEVICE)
    with tabled("separation: hpss of a minute, 1025 x 2584 bins") as row:
        for kind, after in (("eager", float("inf")), ("compiled", 0)):
            tavtorch.solve.COMPILE_AFTER = after
            for size in (17, 31):
                peer, ours, many = least(
                    lambda size=size: librosa.decompose.hpss(numbers, kernel_size=size),
                    lambda size=size: tavtorch.hpss(spectrum, kernel=size),
                    lambda size=size: tavtorch.hpss(spectrum.expand(16, -1, -1), kernel=size),
                )
                values = {"librosa (ms)": 1e3 * peer, "tavtorch (ms)": 1e3 * ours, "faster (times)": peer / ours}
                row(f"kernel {size}, {kind}", values | {"16 at once, each (ms)": 1e3 * many / 16})
                if size == 17:
                    front("hpss", {(f"a minute, kernel 17, {kind}: librosa", "times"): round(peer / ours, 2)})


def music(song=None):
    """Sonogram of a minute of a song, a folder of stems, or of a generated one, 1025 x 2584."""
    if song is None:
        wave = band(1, 60.0, sample_rate=22050, generator=torch.Generator().manual_seed(0)).sum(1)
    else:
        import librosa

        stems = [librosa.load(path, sr=22050, duration=60.0)[0] for path in Path(song).iterdir()]
        wave = torch.from_numpy(sum(stems))[None, None]
    return tavtorch.spectrum(wave, n_fft=2048, hop=512).abs()[0, 0, :, :2584].contiguous()


def divergence(v, y):
    """Kullback-Leibler, in float64."""
    v, y = v.double() + 1e-9, y.double() + 1e-9
    return ((v / y).log() * v - v + y).sum().item()


def random_start(v, r, seed):
    """Templates and activations whose product has the mean of a sonogram."""
    generator = torch.Generator().manual_seed(seed)
    w, h = (torch.rand(shape, generator=generator) for shape in ((len(v), r), (r, v.shape[1])))
    return w, h * v.mean() / (w @ h).mean()


def nmf_systems(v):
    """What approximates a sonogram after n steps from templates w and activations h: the peers, and ours last."""
    import torchnmf.nmf
    from sklearn.decomposition import NMF

    there = v.to(DEVICE)

    def scikit(numbers, n, w, h):
        peer = NMF(w.shape[1], init="custom", solver="mu", beta_loss="kullback-leibler", max_iter=n, tol=0)
        found = peer.fit_transform(numbers, W=w.numpy().copy(), H=h.numpy().copy())
        return torch.from_numpy(found @ peer.components_)

    def torch_nmf(n, w, h):
        peer = torchnmf.nmf.NMF(W=h.mT.clone(), H=w.clone())
        peer.fit(v, beta=1, tol=0, max_iter=n)
        return peer().detach()

    def ours(n, w, h):
        stop = tavtorch.Stop(tol=0, max_iter=n, every=n)
        found = tavtorch.nmf(there, w.shape[1], templates=w.to(DEVICE), activations=h.to(DEVICE), stop=stop)
        return (found.templates @ found.activations).cpu()

    return {
        "scikit-learn": partial(scikit, v.numpy()),
        "scikit-learn, memory order of librosa.stft": partial(scikit, v.numpy().T.copy().T),
        "torchnmf": torch_nmf,
        "tavtorch": ours,
    }


def nmf(song=None):
    """Kullback-Leibler beside scikit-learn and torchnmf from the same start: a step, and to the peer's fit."""
    warnings.filterwarnings("ignore")
    v, name = music(song), Path(song).name if song else "generated song"
    systems = nmf_systems(v)
    with tabled("separation: nmf of a minute, 100 steps, and ours to the same divergence") as row:
        for r in (8, 32):
            w, h = random_start(v, r, seed=0)
            runs = [partial(run, w=w, h=h) for run in systems.values()]
            few = least(*(partial(run, 2) for run in runs), repeats=3)
            many = least(*(partial(run, STEPS) for run in runs), repeats=2)
            for system, run, short, long in zip(systems, runs, few, many, strict=True):
                fit = divergence(v, run(STEPS))
                need = 1 + bisect_left(range(1, 2 * STEPS), -fit, key=lambda n, mine=runs[-1]: -divergence(v, mine(n)))
                (mine,) = least(partial(runs[-1], need), repeats=2)
                if need == 2 * STEPS:
                    need = mine = math.nan  # another minimum
                values = {"a step (ms)": 1e3 * (long - short) / (STEPS - 2), "divergence": fit, "our steps to it": need}
                row(f"{name}, r {r}, {system}", values | {"our time (s)": mine, "faster (times)": long / mine})


def minima(folder):
    """Kullback-Leibler divergence from several random starts, and from `distinct_frames`."""
    with tabled("separation: divergence of nmf after 100 steps from five random starts") as row:
        for song in sorted(Path(folder).glob("eif_*")):
            v = music(song)
            systems = nmf_systems(v)
            for r in (8, 32):
                *starts, (_, h) = (random_start(v, r, seed) for seed in range(STARTS + 1))
                values = {}
                for system in ("tavtorch", "torchnmf"):
                    fits = [divergence(v, systems[system](STEPS, *start)) for start in starts]
                    values |= {f"{system}, mean": sum(fits) / STARTS, f"{system}, least": min(fits)}
                frames = tavtorch.audio.separation.distinct_frames(v, r) + 0.01 * v.mean()
                fit = divergence(v, systems["tavtorch"](STEPS, frames, h))
                row(f"{song.name}, r {r}", values | {"tavtorch, from distinct frames": fit})


def with_drums(folder, most=30):
    """Name, mixture and drums of the beginning of the songs of a folder in which drums are heard."""
    import librosa

    for song in sorted(Path(folder).iterdir()):
        found = next(iter(song.glob("drums.*")), None) if song.is_dir() else None
        if found is None:
            continue
        stems = [librosa.load(path, sr=22050, duration=most)[0] for path in song.glob("*.*") if path.stem != "mixture"]
        mixture, (truth, _) = sum(stems), librosa.load(found, sr=22050, duration=most)
        if abs(truth).max() >= 1e-3 * abs(mixture).max():
            yield song.name, mixture, truth


def drums(folder):
    """SI-SDR of the drums against the rest on the songs of a folder that have any, beside librosa's hpss."""
    import librosa

    rows = []
    with tabled("separation: SI-SDR of the drums in the first 30 s of songs") as row:
        for song, mixture, truth in with_drums(folder):
            wave = torch.from_numpy(mixture)[None, None]
            spectrum = tavtorch.spectrum(wave, n_fft=2048, hop=512)
            ours = tavtorch.waveform(tavtorch.hpss(spectrum, kernel=31).percussive, len(mixture), hop=512)
            estimates = {
                "mixture": mixture,
                "librosa": librosa.effects.percussive(mixture),
                "hpss, librosa's kernel": ours[0, 0],
                "separate_hpss": tavtorch.separate_hpss(wave, 22050)[0, 1, 0],
                "separate_nmf": tavtorch.separate_nmf(wave, 22050, generator=torch.Generator().manual_seed(0))[0, 1, 0],
            }
            scores = {
                f"{name} (dB)": si_sdr(torch.as_tensor(estimate), torch.from_numpy(truth)).item()
                for name, estimate in estimates.items()
            }
            row(song, scores)
            rows.append([*scores.values()])
        means = torch.tensor(rows).mean(0).tolist()
        row(f"mean of {len(rows)} songs", dict(zip(scores, means, strict=True)))
    front(
        "separate_nmf",
        {
            (f"drums of {len(rows)} songs, mean SI-SDR: {name}", "dB"): round(means[column], 3)
            for name, column in (("tavtorch", -1), ("librosa", 1))
        },
    )


def songs(folder, weights=TRAINED):
    """Scores on the karaoke clips, and on the multitracks, of a folder of stems.

    Of the network that `train.py` trained last, of another checkpoint, or of the one in the `package`.
    """
    given = [] if weights == "package" else [f"ckpt={Path(weights).resolve(strict=True)}"]
    system = {"package": "separate", TRAINED: "train.py"}.get(weights)  # whose figures the front page shows
    with tabled("separation: vocals of whole songs") as row:
        for name, pattern in (("karaoke", "mir_*"), ("multitracks", "eif_*")):
            count, scores = evaluated(name, folder, pattern, given)
            medians = {
                f"median {what}": round(scores[f"test/vocals/{column}"], 3)
                for what, column in (("SI-SDR gain", "si_sdr_gain"), ("SDR", "sdr"))
            }
            if system:
                front(system, {(f"{count} {name}, vocals, {what}", "dB"): x for what, x in medians.items()})
            values = {f"{what} (dB)": value for what, value in medians.items()}
            row(f"{'train.py' if weights == TRAINED else weights}, {name}", {"songs": count} | values)


def four(folder):
    """How much better than in the mixture the four stems of the multitracks are, by what `unet_four` has learned."""
    with tabled("separation: four stems of multitracks, median SDR over that of the mixture") as row:
        count, scores = evaluated(
            "four", folder, "eif_*", ["experiment=unet_four", f"ckpt={Path(FOUR).resolve(strict=True)}"]
        )
        stems = "vocals", "drums", "bass", "other"
        row(f"{count} songs", {f"{stem} (dB)": scores[f"test/{stem}/sdr_gain"] for stem in stems})


def evaluated(name, folder, pattern, words):
    """The number of the songs of a folder whose names are like a pattern, and the scores of `evaluate.py` on them."""
    found = sorted(Path(folder).resolve().glob(pattern))
    with tempfile.TemporaryDirectory() as some:
        for song in found:
            (Path(some) / song.name).symlink_to(song)
        words = [*words, f"name={name}", "data=stems", f"data.root={some}", "data.test=1"]
        subprocess.run([sys.executable, "evaluate.py", *words], check=True)
    scores = max(Path("runs", name).glob("csv/*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    last = list(csv.DictReader(scores.open()))[-1]
    return len(found), {column: float(value) for column, value in last.items() if column.startswith("test/") and value}


def files(hours="0.25", suffix=".wav"):
    """Hours of stereo at 44.1 kHz in 16 bits through `evaluate.py task=separate files=…`: speed and peak memory."""
    script = """
import resource, runpy, sys, time
begun, sys.argv = time.monotonic(), ["evaluate.py", *sys.argv[1:]]
runpy.run_path("evaluate.py", run_name="__main__")
used = resource.getrusage(resource.RUSAGE_SELF)
print(time.monotonic() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""
    song = band(16, 12.0, generator=torch.Generator().manual_seed(0)).sum(1).flatten()
    wave = resampled(0.7 * song[None], rate_ratio(16000, 44100)).expand(2, -1)
    with tempfile.TemporaryDirectory() as folder:
        path, seconds = Path(folder, f"song{suffix}"), 3600 * float(hours)
        subtype, left = "PCM_16" if suffix != ".mp3" else None, int(seconds * 44100)
        with AudioWriter(path, 2, 44100, frames=left, subtype=subtype) as file:
            while left > 0:
                file.write(wave[:, :left])
                left -= wave.shape[1]
        words = ["task=separate", f"files={path}", f"hydra.run.dir={folder}/run"]
        ran = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    wall, processor, memory = map(float, ran.stdout.splitlines()[-1].split())
    with tabled("separation: a recording from disk to disk, with all that starts") as row:
        values = {"speed (x real time)": seconds / wall, "by processor time (x real time)": seconds / processor}
        row(f"{float(hours):g} hours, {suffix}", values | {"peak memory (MiB)": memory})


def live(count="8"):
    """SI-SDR gain of the vocals of generated songs by the network of the package, on the whole and while they play."""
    songs = band(int(count), 12.0, generator=torch.Generator().manual_seed(77))
    mixture = songs.sum(1)

    def gain(stems):
        before, after = (si_sdr(wave.flatten(1), songs[:, 0].flatten(1)) for wave in (mixture, stems[:, 0]))
        return (after - before).median().item()

    with tabled("separation: vocals of generated songs of 12 s while they play") as row:
        row(f"{count} songs, on the whole", {"median SI-SDR gain (dB)": gain(tavtorch.separate(mixture, 16000))})
        for delay in (0.25, 0.5, 0.75, 1.0):
            separator, begun = tavtorch.Separator(delay=delay), time.process_time()
            parts = [separator(block, 16000) for block in mixture.split(1600, -1)]
            stems = torch.cat((*parts, separator.flush()), -1)
            pace = int(count) * 12 / (time.process_time() - begun)
            values = {"median SI-SDR gain (dB)": gain(stems), "by processor time (x real time)": pace}
            row(f"{count} songs, delay of {delay:g} s", values)


def speed():
    config = configured()
    with tabled("separation: speed and memory of separating, generating and training") as row:
        row("separating 4 minutes, stereo, 44.1 kHz", {"speed (x real time)": separating(config)})
        for minutes in (2, 20):
            row(f"beside song and stems of {minutes} minutes", {"peak memory (MiB)": memory(minutes)})
        row("generating four stems, 16 kHz", {"speed (x real time)": making()})
        step = loading(config)
        share = {"of the speed with a cached one (%)": 100 * step["cached"] / step["fresh"]}
        row("a training step, fresh batch", {"time (ms)": 1000 * step["fresh"]} | share)
        row("a training step, cached batch", {"time (ms)": 1000 * step["cached"]})


PARTS = {part.__name__: part for part in (hpss, nmf, minima, drums, songs, four, files, live, speed)}


def main():
    print(f"{torch.get_num_threads()} threads, {DEVICE}")
    part, *words = sys.argv[1:] or ["speed"]
    PARTS[part](*words)


if __name__ == "__main__":
    main()
