"""How fast songs are separated, made and loaded: `uv run benchmarks/separation.py`, on an idle machine.

`hpss`, `nmf [SONG]` and `minima SONGS` after it measure those, beside librosa, scikit-learn and torchnmf (group
`bench`); SONG is a folder of stems, SONGS a folder of such. `drums SONGS` scores hpss on them, `songs SONGS [CKPT]` the
network that was trained last, or that of a checkpoint, or of the `package`. `files [HOURS [SUFFIX]]` separates a long
recording from disk to disk, `live` while it plays. Without a word: the speed of the network.

Prints one row a measurement.
"""

import csv
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from functools import partial
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from measure import front, timed
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio as si_sdr

import tavtorch
from tavtorch.audio.resampling import rate_ratio, resampled
from tavtorch.lab.data.files import AudioWriter
from tavtorch.lab.data.synthetic import band
from tavtorch.lab.run import precision
from train import CONFIGS

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


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
    print("hpss, 1025 x 2584          librosa ms     ours ms   times faster   16 at once, ms each")
    for kind, after in (("eager", float("inf")), ("compiled", 0)):
        tavtorch.solve.COMPILE_AFTER = after
        for size in (17, 31):
            peer, ours, many = least(
                lambda size=size: librosa.decompose.hpss(numbers, kernel_size=size),
                lambda size=size: tavtorch.hpss(spectrum, kernel=size),
                lambda size=size: tavtorch.hpss(spectrum.expand(16, -1, -1), kernel=size),
            )
            print(f"{size} x {size} {kind:16s} {1e3 * peer:12.0f} {1e3 * ours:11.1f} {peer / ours:14.1f}", end="")
            print(f"{1e3 * many / 16:21.1f}")
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


def nmf(song=None, steps=100):
    """Kullback-Leibler beside scikit-learn and torchnmf from the same start: a step, and to the peer's fit."""
    import warnings

    import torchnmf.nmf
    from sklearn.decomposition import NMF

    warnings.filterwarnings("ignore")
    v = music(song)
    numbers, there = v.numpy(), v.to(DEVICE)
    columns = numbers.T.copy().T  # the same in the order in which librosa.stft hands it out

    def scikit(n, w, h, numbers=numbers):
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

    print(f"nmf, 1025 x 2584, {steps} steps          ms a step   divergence   our steps to it   our seconds   faster")
    for r in (8, 32):
        generator = torch.Generator().manual_seed(0)
        w, h = (torch.rand(shape, generator=generator) for shape in ((len(v), r), (r, v.shape[1])))
        start = {"w": w, "h": h * v.mean() / (w @ h).mean()}
        other = partial(scikit, numbers=columns)
        peers = {"scikit-learn": scikit, "the same, librosa's order": other, "torchnmf": torch_nmf}
        runs = [partial(run, **start) for run in (*peers.values(), ours)]
        few = least(*(partial(run, 2) for run in runs), repeats=3)
        many = least(*(partial(run, steps) for run in runs), repeats=2)
        for name, run, short, long in zip((*peers, "tavtorch"), runs, few, many, strict=True):
            fit = divergence(v, run(steps))
            need = 1 + bisect_left(range(1, 2 * steps), -fit, key=lambda n, mine=runs[-1]: -divergence(v, mine(n)))
            (mine,) = least(partial(runs[-1], need), repeats=2)
            row = f"r = {r:2d} {name:26s} {1e3 * (long - short) / (steps - 2):12.1f} {fit:13.0f}"
            print(f"{row} {need:17d} {mine:13.2f} {long / mine:14.1f}", flush=True)


def minima(folder, steps=100, starts=5):
    """Kullback-Leibler divergence after so many steps from several random starts, and from `distinct_frames`."""
    import torchnmf.nmf

    print(f"nmf, {steps} steps             tavtorch, {starts} starts: mean, least     torchnmf     distinct frames")
    for song in sorted(Path(folder).glob("eif_*")):
        v = music(song)
        for r in (8, 32):
            reached, theirs = [], []
            for seed in range(starts + 1):
                generator = torch.Generator().manual_seed(seed)
                w, h = (torch.rand(shape, generator=generator) for shape in ((len(v), r), (r, v.shape[1])))
                h = h * v.mean() / (w @ h).mean()
                w = tavtorch.audio.separation.distinct_frames(v, r) + 0.01 * v.mean() if seed == starts else w
                found = tavtorch.nmf(v, r, templates=w, activations=h, stop=tavtorch.Stop(0, steps, steps))
                reached.append(divergence(v, found.templates @ found.activations))
                if seed < starts:
                    peer = torchnmf.nmf.NMF(W=h.mT.clone(), H=w.clone())
                    peer.fit(v, beta=1, tol=0, max_iter=steps)
                    theirs.append(divergence(v, peer().detach()))
            *ours, frames = reached
            row = f"{song.name:14s} r = {r:2d} {sum(ours) / starts:20.0f} {min(ours):10.0f}"
            print(f"{row} {sum(theirs) / starts:14.0f} {min(theirs):10.0f} {frames:14.0f}", flush=True)


def drums(folder, most=30):
    """SI-SDR of the drums against the rest on the songs of a folder that have any, beside librosa's hpss."""
    import librosa

    print("drums                      mixture   librosa   same kernel   separate_hpss   separate_nmf    SI-SDR, dB")
    rows = []
    for song in sorted(Path(folder).iterdir()):
        found = next(iter(song.glob("drums.*")), None) if song.is_dir() else None
        if found is None:
            continue
        stems = [librosa.load(path, sr=22050, duration=most)[0] for path in song.glob("*.*") if path.stem != "mixture"]
        truth, _ = librosa.load(found, sr=22050, duration=most)
        mixture = sum(stems)
        if abs(truth).max() < 1e-3 * abs(mixture).max():
            continue  # drums that nobody hears
        wave = torch.from_numpy(mixture)[None, None]
        spectrum = tavtorch.spectrum(wave, n_fft=2048, hop=512)
        ours = tavtorch.waveform(tavtorch.hpss(spectrum, kernel=31).percussive, len(mixture), hop=512)
        estimates = (
            mixture,
            librosa.effects.percussive(mixture),
            ours[0, 0],
            tavtorch.separate_hpss(wave, 22050)[0, 1, 0],
            tavtorch.separate_nmf(wave, 22050, generator=torch.Generator().manual_seed(0))[0, 1, 0],
        )
        scores = [si_sdr(torch.as_tensor(estimate), torch.from_numpy(truth)).item() for estimate in estimates]
        print(f"{song.name:22s}" + "".join(f"{score:12.2f}" for score in scores), flush=True)
        rows.append(scores)
    means = torch.tensor(rows).mean(0).tolist()
    front(
        "separate_nmf",
        {
            (f"drums of {len(rows)} songs, mean SI-SDR: {name}", "dB"): round(means[column], 3)
            for name, column in (("tavtorch", -1), ("librosa", 1))
        },
    )


def songs(folder, weights="runs/separate/checkpoints/best.ckpt"):
    """Scores on the karaoke clips, and on the multitracks, of a folder of stems.

    Of the network that `train.py` trained last, of another checkpoint, or of the one in the `package`.
    """
    given = [] if weights == "package" else [f"ckpt={Path(weights).resolve(strict=True)}"]
    system = "separate" if weights == "package" else "train.py"
    for name, pattern in (("karaoke", "mir_*"), ("multitracks", "eif_*")):
        found = sorted(Path(folder).resolve().glob(pattern))
        with tempfile.TemporaryDirectory() as some:
            for song in found:
                (Path(some) / song.name).symlink_to(song)
            words = [f"name={name}", "data=stems", f"data.root={some}", "data.test=1", *given]
            subprocess.run([sys.executable, "evaluate.py", *words], check=True)
        scores = max(Path("runs", name).glob("csv/*/metrics.csv"), key=lambda path: path.stat().st_mtime)
        last = list(csv.DictReader(scores.open()))[-1]
        front(
            system,
            {
                (f"{len(found)} {name}, vocals, median {what}", "dB"): round(float(last[f"test/vocals/{column}"]), 3)
                for what, column in (("SI-SDR gain", "si_sdr_gain"), ("SDR", "sdr"))
            },
        )


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
        with AudioWriter(
            path, 2, 44100, frames=int(seconds * 44100), subtype="PCM_16" if suffix != ".mp3" else None
        ) as file:
            for _ in range(round(seconds * 44100 / wave.shape[1])):
                file.write(wave)
        words = ["task=separate", f"files={path}", f"hydra.run.dir={folder}/run"]
        ran = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    wall, processor, memory = map(float, ran.stdout.splitlines()[-1].split())
    print(
        f"{hours} hours from {suffix}: {seconds / wall:.1f} x real time, {seconds / processor:.1f} x by processor time,"
    )
    print(f"both with all that starts; {memory:.0f} MiB at most")


def live(count="8"):
    """SI-SDR gain of the vocals of generated songs by the network of the package, on the whole and while they play."""
    songs = band(int(count), 12.0, generator=torch.Generator().manual_seed(77))
    mixture = songs.sum(1)

    def gain(stems):
        before, after = (si_sdr(wave.flatten(1), songs[:, 0].flatten(1)) for wave in (mixture, stems[:, 0]))
        return (after - before).median().item()

    print(f"whole        {gain(tavtorch.separate(mixture, 16000)):5.2f} dB")
    for delay in (0.25, 0.5, 0.75, 1.0):
        separator, begun = tavtorch.Separator(delay=delay), time.process_time()
        parts = [separator(block, 16000) for block in mixture.split(1600, -1)]
        stems = torch.cat((*parts, separator.flush()), -1)
        pace = int(count) * 12 / (time.process_time() - begun)
        print(f"{delay:.2f} s delay {gain(stems):5.2f} dB, {pace:5.1f} x real time by processor time")


def main():
    chosen = {"hpss": hpss, "nmf": nmf, "minima": minima, "drums": drums, "songs": songs, "files": files, "live": live}
    if len(sys.argv) > 1:
        print(f"{torch.get_num_threads()} threads, {DEVICE}")
        return chosen[sys.argv[1]](*sys.argv[2:])
    config = configured()
    print(f"{torch.get_num_threads()} threads, {DEVICE}")
    print(f"separate 4 minutes, stereo, 44.1 kHz      {separating(config):8.1f} x real time")
    print(f"memory beside song and stems, 2 minutes   {memory(2):8.0f} MiB")
    print(f"memory beside song and stems, 20 minutes  {memory(20):8.0f} MiB")
    print(f"generate four stems, 16 kHz               {making():8.1f} x real time")
    step = loading(config)
    print(f"train a step, fresh batch                 {1000 * step['fresh']:8.1f} ms")
    print(f"train a step, cached batch                {1000 * step['cached']:8.1f} ms")
    print(f"speed with the loader                     {100 * step['cached'] / step['fresh']:8.1f} % of cached")


if __name__ == "__main__":
    main()
