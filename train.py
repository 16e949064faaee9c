"""Train a network on songs, score it on other songs, and write a page about it.

    python train.py files=PATH                            a singing-voice separator, on your songs and generated ones
        PATH has <song>/{mixture,vocals,drums,bass,other,accompaniment}.{wav,flac,ogg,mp3}
    python train.py                                       the same on generated songs alone, in minutes
    python train.py ckpt=last                             resume a run that was stopped
    python train.py experiment=unet_large data.root=PATH  a published setting: see configs/experiment
    python train.py -m experiment=unet_mae_20,unet_mse_16 several, one after the other
    python train.py trainer.devices=8 trainer.strategy=ddp trainer.num_nodes=2
        on several GPUs and machines, also under torchrun and SLURM

Every value of the configuration can be changed like this: `python train.py --cfg job` prints them all. A run is in
runs/<name>: report.html, checkpoints/{best,last}.ckpt, and the logs for CSV and TensorBoard.
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from tavtorch.lab.command import literal
from tavtorch.lab.run import assemble, checkpoint
from tavtorch.lab.script import check_items, without_traceback, without_typing_errors

CONFIGS = str(Path(__file__).resolve().parent / "configs")


@without_typing_errors
@literal("train")
@hydra.main(version_base="1.3", config_path=CONFIGS, config_name="train")
@without_traceback
def main(config: DictConfig) -> None:
    trainer, task, data = assemble(config)
    trainer.fit(task, data, ckpt_path=checkpoint(config), weights_only=True)
    trainer.test(task, data, ckpt_path="best", weights_only=True, verbose=False)
    check_items(task)


if __name__ == "__main__":
    main()
