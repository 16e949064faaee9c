"""Run a system over files, or score it on truth.

    python evaluate.py task=rof files=PATH  pictures through the op: results in runs/rof/predictions, in the format and
                                            bit depth of the files; with media=volume a folder of slices is a volume
    python evaluate.py task=separate files=PATH  recordings of any length into stems, by your network or the package's
    python evaluate.py task=fingerprint files=PATH  adds songs to the library runs/library.sqlite
    python evaluate.py task=recognise files=PATH  the song of a clip, or the tracks of a long recording
    ffmpeg -v error -i URL -f wav - | python evaluate.py task=listen
        the tracks of a stream as they are heard; or of data.root=FILE of any length, or data.root=microphone
    python evaluate.py task=rof  scores on noisy pictures, writes runs/rof/report.html
    python evaluate.py task=separate  scores the network on generated songs
    python evaluate.py task=separate data=stems data.root=PATH data.test=1  scores it on every song of a folder
    python evaluate.py task=inpaint_tv data=written data.root=PATH  scores on your pictures, with text over them
    python evaluate.py -m 'experiment=glob(*)'  every experiment of the report, on one page: runs/report/index.html
    python evaluate.py ... metrics=bss_eval  BSS-eval v4 instead (pip install 'tavtorch[museval]'; minutes per song)
    python evaluate.py ... trainer.devices=2 trainer.strategy=ddp  on several processes, each file once; with
                                            task=recognise each has a share of the songs, and all take every clip

files= is short for data=folder data.root=PATH run=predict, with data=music for fingerprint, data=clips for recognise.
PATH is a file, a folder, a pattern such as '*.png', or several of them with commas between them, in any characters.
What is done is not done again, unless its file or the settings have changed, or overwrite=true.

Ends with exit code 1 if an item failed, which is named while the others are done, and with strict=true also if a result
did not converge.
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from tavtorch.lab.command import literal
from tavtorch.lab.run import assemble, settings_of, weights
from tavtorch.lab.script import check_items, without_traceback, without_typing_errors

CONFIGS = str(Path(__file__).resolve().parent / "configs")


@without_typing_errors
@literal("evaluate")
@hydra.main(version_base="1.3", config_path=CONFIGS, config_name="evaluate")
@without_traceback
def main(config: DictConfig) -> None:
    if "run" not in config:  # but listens: configs/listen.yaml
        from tavtorch.lab.listen import run

        return run(config)
    ckpt = weights(config, Path(__file__).with_name("train.py"))
    if config.run == "predict" and "settings" in config.data:
        config.callbacks.write.settings = settings_of(config, ckpt)
    trainer, task, data = assemble(config)
    if config.run == "predict":
        trainer.predict(task, data, ckpt_path=ckpt, weights_only=True, return_predictions=False)
    else:
        trainer.test(task, data, ckpt_path=ckpt, weights_only=True, verbose=False)
    check_items(task, strict=config.strict)


if __name__ == "__main__":
    main()
