"""The beginning of a process that works: light, so that the server that names it loads no torch."""

import signal
from multiprocessing.connection import Connection


def begin(connection: Connection, threads: int) -> None:
    """Load what is needed, and work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process
    from tavtorch.lab.studio.worker import main

    main(connection, threads)
