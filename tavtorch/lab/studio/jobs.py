"""What visitors ask for, done by other processes: a queue, progress, and an end at any time."""

import itertools
import multiprocessing as mp
import os
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

_ENDED = "its process was ended, probably as memory was full; take a smaller picture or a shorter recording."


@dataclass
class Job:
    """One request, and how far it is."""

    id: str
    session: str
    request: dict[str, Any]
    state: str = "waiting"
    """waiting, running, done, failed or stopped."""
    words: str = ""
    """Progress, or why it failed."""
    result: dict[str, Any] = field(default_factory=dict)
    """What it gives, or what is known of it so far."""
    begun: float = 0.0
    version: int = 0
    """Rises with every change."""
    blocks: int = 0
    """How many blocks of a stream it was given."""

    def change(self, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(self, name, value)
        self.version += 1

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed", "stopped")


class Jobs:
    """Jobs in the order in which they came, each in the first process that is free.

    Args:
        processes: that work at the same time.
    """

    def __init__(self, processes: int = 2) -> None:
        self.context = mp.get_context("spawn")
        self.threads = max(1, (os.cpu_count() or 1) // processes)  # of each: threads that wait for each other are slow
        self.all: dict[str, Job] = {}
        self.waiting: deque[Job] = deque()
        self.changed, self.closed = threading.Condition(), False
        self.first_is_done = threading.Event()
        self.running: dict[str, tuple[Job, Any]] = {}  # by the number of the job
        self.counter = itertools.count(1)
        self.hands = [threading.Thread(target=self._work, args=(i,), daemon=True) for i in range(processes)]
        for hand in self.hands:
            hand.start()

    def add(self, session: str, request: dict[str, Any], *, alone: bool = False) -> Job:
        """Queue a request, or give it a process of its own at once."""
        with self.changed:
            job = Job(str(next(self.counter)), session, request)
            self.all[job.id] = job
            if alone:
                threading.Thread(target=self._work_alone, args=(job,), daemon=True).start()
            else:
                self.waiting.append(job)
                self.changed.notify()
        return job

    def before(self, job: Job) -> int:
        """How many jobs are done before this one."""
        with self.changed:
            return self.waiting.index(job) if job in self.waiting else 0

    def stop(self, job: Job) -> None:
        """End a job now, wherever it is."""
        with self.changed:
            if job.ended:
                return
            job.change(state="stopped", words="")
            if job in self.waiting:
                self.waiting.remove(job)
            for running, process in self.running.values():
                if running is job:
                    process.kill()

    def forget(self, session: str) -> None:
        """End and drop all jobs of a session."""
        for job in [job for job in self.all.values() if job.session == session]:
            self.stop(job)
            self.all.pop(job.id, None)

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.first_is_done.set()
            for _, process in self.running.values():
                process.kill()
            self.changed.notify_all()
        for hand in self.hands:
            hand.join(5)

    def _work(self, number: int) -> None:
        """Give jobs to a process; another one is started where it was killed."""
        if number:
            self.first_is_done.wait()  # the cores are for it
        process, mine = self._start()
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.waiting or self.closed)
                if self.closed:
                    break
                job = self.waiting.popleft()
                if not process.is_alive():
                    process, mine = self._start()
                self._begin(job, process)
            self._follow(job, mine)
            self.first_is_done.set()
            if job.state == "stopped":
                process.join()
        process.kill()

    def _work_alone(self, job: Job) -> None:
        process, mine = self._start()
        with self.changed:
            wanted = not job.ended and not self.closed
            if wanted:
                self._begin(job, process)
        if wanted:
            self._follow(job, mine)
        process.kill()

    def _begin(self, job: Job, process: Any) -> None:
        job.change(state="running", begun=time.monotonic())
        self.running[job.id] = job, process

    def _start(self) -> tuple[Any, Any]:
        from tavtorch.lab.studio.process import begin

        mine, theirs = self.context.Pipe()
        process = self.context.Process(target=begin, args=(theirs, self.threads), daemon=True)
        process.start()
        theirs.close()
        return process, mine

    def _follow(self, job: Job, connection: Any) -> None:
        """What a process tells of a job, until it is done."""
        try:
            connection.send(job.request)
            while True:
                kind, content = connection.recv()
                if job.ended:
                    continue
                if kind == "progress":
                    job.change(words=content)
                elif kind == "so far":
                    job.change(result=content)
                elif kind == "done":
                    return job.change(state="done", words="", result=content)
                else:
                    return job.change(state="failed", words=content)
        except (EOFError, OSError):  # it was killed
            if not job.ended:
                job.change(state="failed", words=_ENDED)
        finally:
            with self.changed:
                del self.running[job.id]
