"""The beginning of a process that works: what must be set before torch is loaded."""

import os
import signal
from multiprocessing.connection import Connection


def begin(connection: Connection, threads: int) -> None:
    """Load what is needed, and work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process
    os.environ["TORCHDYNAMO_DISABLE"] = "1"  # a person waits, and compiling takes longer than most of what is asked
    from tavtorch.lab.studio.worker import main

    main(connection, threads)
