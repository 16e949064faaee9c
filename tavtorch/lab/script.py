"""How a script ends: with its result, or with one message on what is wrong and an exit code that says so."""

import logging
import os
import shlex
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.errors import HydraException, InstantiationException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from tavtorch.lab.messages import message_of, message_of_typing
from tavtorch.lab.run import UntrainedError, plain, typed
from tavtorch.lab.secrets import mask_files, mask_logs, masked
from tavtorch.lab.settings import check_values
from tavtorch.lab.signals import Stopped, end_in_order, is_first_process

if TYPE_CHECKING:
    from tavtorch.lab.task import Task

log = logging.getLogger(__name__)
_INTERVAL = 30.0  # seconds between two writings of the page of several runs


class ItemsError(ValueError):
    """Some items failed, or did not converge with `strict=true`; the others are done."""


class Sweep(Callback):
    """Several runs (`-m`): one page of all, which is also written in between, and an exit code that tells failures."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.done: list[Path] = []
        self.last_written = time.monotonic()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if config.hydra.mode == RunMode.MULTIRUN:
            self.done.append(Path(config.hydra.runtime.output_dir))
            if isinstance(job_return._return_value, str | Exception):
                self.failed.append(masked(" ".join(job_return.overrides or [config.name])))
            if time.monotonic() - self.last_written > _INTERVAL:
                self._write_page(config)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        page = self._write_page(config)
        if page:
            log.info("\nall runs: %s", page)
        if self.failed:
            sys.exit(f"failed: {', '.join(self.failed)}")

    def _write_page(self, config: DictConfig) -> Path | None:
        from tavtorch.lab.page import write_overview

        page = Path(config.hydra.sweep.dir, "report/index.html")
        self.last_written = time.monotonic()
        try:
            write_overview(Path(config.hydra.sweep.dir), page, self.done)
        except Exception as error:  # Hydra would take it for a warning, and forget the exit code
            log.error("%s: the page of all runs cannot be written (%s)", page, error)
            return None
        return page


def check_items(task: "Task", *, strict: bool = False) -> None:
    """Raise an `ItemsError` if items of a run failed or, with `strict`, did not converge."""
    if task.errors:
        raise ItemsError("passed over:\n  " + "\n  ".join(_grouped(task.errors)))
    if strict and task.not_converged:
        raise ItemsError(f"not converged: {', '.join(task.not_converged)}; raise task.op.stop.max_iter.")


def _grouped(errors: dict[str, str]) -> list[str]:
    """One line per error; items with the same one, such as a setting that no item can be processed with, share it."""
    names: dict[str, list[str]] = {}
    for name, message in errors.items():
        names.setdefault(message.removeprefix(f"{name}: "), []).append(name)
    return [f"{', '.join(some)}: {message}" if len(some) > 1 else errors[some[0]] for message, some in names.items()]


def without_typing_errors(main: Callable[[], Any]) -> Callable[[], Any]:
    """What was mistyped ends a script with one line, and not with what Hydra says to developers."""

    @wraps(main)
    def script(*args: Any) -> Any:
        if "HYDRA_FULL_ERROR" in os.environ:
            return main(*args)
        try:
            with patch("hydra._internal.utils.run_and_report", lambda function: function()):  # which prints them
                return main(*args)
        except InstantiationException:  # of a run, and a defect of the program
            raise
        except (HydraException, OmegaConfBaseException) as error:
            sys.exit(f"error: {masked(message_of_typing(error))}")
        except BrokenPipeError:  # whoever reads has enough, as of `--help | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:  # of Hydra, which makes the folder of the run
            sys.exit(f"error: hydra.run.dir: {error}.")

    return script


def without_traceback(main: Callable[[DictConfig], None]) -> Callable[[DictConfig], str | None]:
    """Bad input ends a script with one message and exit code 1; errors of the program itself keep their traceback.

    SIGTERM and Ctrl-C end it in order, with exit code 143 or 130. In one of several runs (`-m`) the message is on the
    page, and the other runs are done; see `Sweep`.
    """

    @wraps(main)
    def script(config: DictConfig) -> str | None:
        several = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
        if HydraConfig.initialized():
            end_in_order()
            _prepare(config)
        try:
            check_values(config)
            main(config)
        except Stopped:
            if is_first_process():
                log.info("\nstopped; %s", _go_on(config))
            raise
        except Exception as error:
            message = message_of(error, config)
            if several:
                return _put_on_page(error, message, config)
            if message is None:
                raise
            log.debug("traceback", exc_info=True)
            _end(error, masked(message))
        return None

    return script


def _prepare(config: DictConfig) -> None:
    """Before a run: what its page says of it, and no password in what is logged and written."""
    hydra = HydraConfig.get()
    config.section.command = masked(shlex.join(["python", f"{hydra.job.name}.py", *typed()]))
    mask_logs()
    mask_files(Path(hydra.runtime.output_dir))
    if hydra.mode == RunMode.MULTIRUN:
        mask_files(Path(hydra.sweep.dir))


def _end(error: Exception, message: str) -> None:
    """End with a message; what all processes would say the first one says, and a code of theirs would end it."""
    if isinstance(error, ItemsError) and not is_first_process():
        sys.exit(0)
    sys.exit(f"error: {message}")


def _go_on(config: DictConfig) -> str:
    """What to do with a run that was stopped."""
    if "run" not in config and Path(config.out, "checkpoints/last.ckpt").exists():
        return "the same command with ckpt=last goes on from the last whole epoch"
    return "run it again to do the rest"


def _put_on_page(error: Exception, message: str | None, config: DictConfig) -> str | None:
    """Of one of several runs that failed; the message, or None if it is only that a network is not trained."""
    from tavtorch.lab.page import Section

    if message is None:
        log.error("a defect of the program; the other runs are done:", exc_info=error)
    message = masked(message or f"{type(error).__name__}: {error}")
    log.info("%s: %s", config.name, message)
    if not isinstance(error, ItemsError):  # which has its page
        try:
            Section(**plain(config.section), errors={config.name: message}).write(Path(config.out))
        except OSError as fault:
            log.error("%s: the page cannot be written (%s)", config.out, fault)
    return None if isinstance(error, UntrainedError) else message
