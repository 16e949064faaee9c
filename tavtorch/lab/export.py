"""`tavtorch-export`: a network of train.py, or the separator that comes with the package, as a file.

tavtorch-export separator.onnx               the package's, for programs without PyTorch
tavtorch-export vocals.onnx runs/separate/checkpoints/best.ckpt
                                             that of a training
tavtorch-export vocals.safetensors runs/separate/checkpoints/best.ckpt
                                             for tavtorch.UNet.pretrained("vocals.safetensors")
tavtorch-export tavtorch/audio/separation/unet.safetensors runs/unet_shipped/checkpoints/best.ckpt
                                             makes it the package's
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from tavtorch import CrowdModel, RidgeModel, UNet
from tavtorch.lab import checkpoints
from tavtorch.lab.onnx_file import write_onnx

Network = UNet | RidgeModel | CrowdModel
NETWORKS: dict[str, type[Network]] = {f"tavtorch.{kind.__name__}": kind for kind in (UNet, RidgeModel, CrowdModel)}
"""A checkpoint names one; no other name is looked up, for that would run what it names."""


def main(typed: Sequence[str] | None = None) -> None:
    """Do what is typed; what cannot be done ends with one line and exit code 1."""
    parser = argparse.ArgumentParser("tavtorch-export", None, __doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path, help="that is written, *.onnx or *.safetensors")
    parser.add_argument(
        "network", type=Path, nargs="?", help="checkpoint of train.py, or *.safetensors; else the package's"
    )
    parser.add_argument("--seconds", type=float, default=12.0, help="of the waves of *.onnx (default: %(default)s)")
    asked = parser.parse_args(typed)
    try:
        model = network(asked.network)
        write(asked.file, model, asked.seconds)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    size, count = asked.file.stat().st_size, sum(weight.numel() for weight in model.parameters())
    print(f"{asked.file}: {type(model).__name__} of {count / 1e6:.2f} million weights, {size / 1e6:.2f} MB")


def write(path: Path, model: Network, seconds: float) -> None:
    """Write a network in the format that the suffix names."""
    if path.suffix == ".safetensors":
        model.save(path)
    elif path.suffix == ".onnx" and isinstance(model, UNet):
        write_onnx(path, model, seconds=seconds)
    else:
        expected = "*.safetensors or *.onnx" if isinstance(model, UNet) else "*.safetensors for this network"
        raise ValueError(f"file: expected {expected}, got {path}.")


def network(path: Path | None) -> Network:
    """The network of a checkpoint or of a file of weights, or that of the package, in evaluation mode."""
    if path is None:
        return UNet.pretrained()
    if path.suffix == ".safetensors":
        return UNet.pretrained(path)
    state = checkpoints.read(path)
    made_by = state.get("made_by")
    kind = NETWORKS.get(made_by.get("_target_", "")) if isinstance(made_by, dict) else None
    if made_by is None or kind is None:
        raise ValueError(f"ckpt: {path} is of none of the networks {', '.join(NETWORKS)}.")
    checkpoints.check(path, state, OmegaConf.create(made_by), resume=False)
    model = kind(**{key: value for key, value in made_by.items() if key != "_target_"})
    model.load_state_dict({name.removeprefix("op."): value for name, value in state["state_dict"].items()})
    return model.eval()


if __name__ == "__main__":
    main()
