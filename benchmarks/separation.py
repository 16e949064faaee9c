"""How fast songs are separated, made and loaded: `uv run benchmarks/separation.py`, on an idle machine.

Prints one row a measurement. The scores of trained networks come from train.py and evaluate.py;
they stand in benchmarks/README.md with the commands that made them.
"""

import subprocess
import sys
import time

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

import tavtorch
from tavtorch.data.synthetic import band
from tavtorch.run import precision
from train import CONFIGS

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def seconds(run, repeats=3):
    """Least time of some runs: what the machine can do when nobody disturbs it."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


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
    half = precision(config.trainer.precision) == "bf16-mixed"

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


def main():
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
