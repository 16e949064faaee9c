"""`tavtorch-export`: the weights of a training, or those of the package, as a file for other programs.

tavtorch-export vocals.safetensors runs/separate/checkpoints/best.ckpt
                                      for tavtorch.UNet.pretrained("vocals.safetensors"), or another network's
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from tavtorch import RidgeModel, UNet
from tavtorch.lab import checkpoints

NETWORKS: dict[str, type[UNet] | type[RidgeModel]] = {"tavtorch.UNet": UNet, "tavtorch.RidgeModel": RidgeModel}
"""A checkpoint names one; no other name is looked up, for that would run what it names."""


def main(typed: Sequence[str] | None = None) -> None:
    """Do what is typed; what cannot be done ends with one line and exit code 1."""
    parser = argparse.ArgumentParser("tavtorch-export", None, __doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path, help="that is written, *.safetensors")
    parser.add_argument("checkpoint", type=Path, help="of train.py")
    asked = parser.parse_args(typed)
    try:
        model = network(asked.checkpoint)
        model.save(asked.file)
    except ValueError as error:
        sys.exit(f"error: {error}")
    size, count = asked.file.stat().st_size, sum(weight.numel() for weight in model.parameters())
    print(f"{asked.file}: {type(model).__name__} of {count / 1e6:.2f} million weights, {size / 1e6:.2f} MB")


def network(path: Path) -> UNet | RidgeModel:
    """The network of a training's checkpoint, in evaluation mode."""
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
