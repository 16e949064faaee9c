"""Songs in rooms, over phones and codecs, beside audfprint and chromaprint on identical files of 12 kHz.

`uv run benchmarks/recognition_phone.py DATA`, DATA holding music/ and speech/; the conditions are those of
configs/conditions/phone.yaml. Thirty songs, drawn by a fixed seed, are left out of the library. In %: right and
accepted of `--clips` clips, and accepted of as many clips of the thirty songs. chromaprint has no threshold:
recall@1, and recall where 2 % of the unknown clips are accepted. Peers take part where they are there: chromaprint as
a part of ffmpeg; audfprint by `--audfprint FOLDER`, a copy of https://github.com/dpwe/audfprint whose requirements
are installed for `--python`.
"""

import argparse
import re
import subprocess
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import torch
from measure import front, tabled
from omegaconf import OmegaConf
from recognition import at_two_percent, chromaprint, cut, distance, recordings, split_of
from torch import Tensor

from tavtorch import Library, fingerprint
from tavtorch.lab.data.files import write_audio
from tavtorch.lab.data.transmission import transmitted

RATE = 12000  # Hz: both peers take 11,025; Opus takes 12,000
CONDITIONS = Path(__file__).parents[1] / "configs/conditions/phone.yaml"


def ours(songs: dict[str, Tensor]):
    """Answers to clips: the name of each, or None where it is refused."""
    library = Library("sqlite://")
    for name, wave in songs.items():
        library.add(name, fingerprint(wave[None, None], RATE, verify=False))

    def ask(clips):
        answers = library.recognise(fingerprint(clips[:, None], RATE))
        return [matches[0].name if matches and matches[0].accepted else None for matches in answers]

    return ask


def audfprint(songs: dict[str, Tensor], program: Path, python: str, folder: Path):
    """As `ours`, by audfprint with its default settings."""
    database = folder / "songs.pklz"

    def call(command, waves):
        for name, wave in waves.items():
            write_audio(folder / f"{name}.wav", wave[None], RATE, subtype="FLOAT")
        (folder / "list.txt").write_text("\n".join(str(folder / f"{name}.wav") for name in waves))
        options = [command, "--dbase", str(database), "-l", str(folder / "list.txt")]
        return subprocess.run(
            [python, str(program / "audfprint.py"), *options], capture_output=True, text=True, check=True
        ).stdout

    call("new", songs)

    def ask(clips):
        said = call("match", {f"clip{i}": clip for i, clip in enumerate(clips)})
        found = dict(re.findall(r"Matched \S*?clip(\d+)\.wav .* as \S*?([^/\s]+)\.wav at", said))
        return [found.get(str(i)) for i in range(len(clips))]

    return ask


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--seconds", type=int, nargs="*", default=[5, 10])
    parser.add_argument("--conditions", nargs="*", help="some of them, by name")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--chromaprint", action="store_true", help="every place of every song is tried: slow")
    parser.add_argument("--audfprint", type=Path)
    parser.add_argument("--python", default="python3")
    arguments = parser.parse_args()
    inside, outside = split_of(recordings(arguments.data / "music", RATE))
    voices = recordings(arguments.data / "speech", RATE).values()
    speech = torch.cat([voice / voice.square().mean().sqrt() for voice in voices])
    conditions = OmegaConf.to_container(OmegaConf.load(CONDITIONS))
    conditions = {name: conditions[name] for name in arguments.conditions or conditions}

    table = tabled("recognition: songs on their way, right and accepted, and unknown and accepted")
    with tempfile.TemporaryDirectory() as folder, table as row:
        systems = {"tavtorch": ours(inside)}
        if arguments.audfprint:
            systems["audfprint"] = audfprint(inside, arguments.audfprint, arguments.python, Path(folder))
        stored = [chromaprint(wave, RATE) for wave in inside.values()] if arguments.chromaprint else []
        for seconds, title in product(arguments.seconds, conditions):
            generator = torch.Generator().manual_seed(arguments.seed)  # a row is the same with others and without
            clips, which, _ = cut(list(inside.values()), seconds, arguments.clips, generator, RATE)
            others, _, _ = cut(outside, seconds, arguments.clips, generator, RATE)
            names = [list(inside)[i] for i in which]

            def talkers(count, length=seconds * RATE, generator=generator):
                starts = torch.randint(len(speech) - length, (count,), generator=generator)
                return sum(speech[start : start + length] for start in starts)

            def sent(some, condition=conditions[title], talkers=talkers, generator=generator):
                return torch.stack([transmitted(wave, RATE, condition, talkers, generator) for wave in some])

            known, unknown = sent(clips), sent(others)
            values, recalls = {"clips": len(clips)}, {}
            for system, ask in systems.items():
                right = np.mean([found == name for found, name in zip(ask(known), names, strict=True)])
                false = np.mean([found is not None for found in ask(unknown)])
                values |= {f"{system} (%)": 100 * right, f"{system}, unknown (%)": 100 * false}
                recalls[system] = 100 * right
            if stored:
                near = [[distance(chromaprint(wave, RATE), stored) for wave in some] for some in (known, unknown)]
                recall, recalls["chromaprint"] = at_two_percent(*near, which)
                values |= {"chromaprint, recall@1 (%)": recall, "and at 2 % (%)": recalls["chromaprint"]}
            row(f"{seconds} s, {title}", values)
            what = f"{title}, {seconds} s, {arguments.clips} clips, right"
            front("recognise", {(f"{what}: {name}", "%"): round(float(share), 1) for name, share in recalls.items()})


if __name__ == "__main__":
    main()
