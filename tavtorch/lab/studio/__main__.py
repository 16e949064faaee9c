"""`tavtorch-studio`: a local page to paint, place, record and listen."""

import argparse
import contextlib
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path


def main(typed: Sequence[str] | None = None) -> None:
    """Serve the page until Ctrl-C."""
    asked = _parser().parse_args(typed)
    try:
        import uvicorn

        from tavtorch.lab.studio.server import Limits, application
    except ModuleNotFoundError as error:
        if error.name not in ("uvicorn", "starlette"):
            raise
        sys.exit("error: the studio needs more packages: pip install 'tavtorch[studio]', or uv run --extra studio ...")
    library = Path(asked.library) if asked.library else None
    if library and not library.is_file():
        sys.exit(f"error: --library: there is no library at {library}; python evaluate.py task=fingerprint files=SONGS")
    local = asked.host in ("127.0.0.1", "localhost")
    limits = Limits(asked.megabytes, asked.megapixels, asked.minutes)
    app = application(
        limits, hosts=["127.0.0.1", "localhost"] if local else ["*"], processes=asked.processes, library=library
    )
    try:
        door = socket.create_server((asked.host, asked.port))
    except OSError as error:
        sys.exit(f"error: {asked.host}:{asked.port}: {error.strerror}; choose another with --port.")
    address = f"http://{asked.host}:{door.getsockname()[1]}/"
    print(f"tavtorch studio: {address}   (Ctrl-C ends it)", flush=True)
    if not local:
        print("everybody in the network can use it, and nothing is encrypted.", flush=True)
    if asked.open:
        webbrowser.open(address)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[door])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tavtorch-studio", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 shows it to the network (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    parser.add_argument("--library", help="songs to recognise, such as runs/library.sqlite of task=fingerprint")
    parser.add_argument("--processes", type=int, default=2, help="jobs at the same time (default: %(default)s)")
    parser.add_argument("--megabytes", type=int, default=200, help="of a file, at most (default: %(default)s)")
    parser.add_argument("--megapixels", type=float, default=40, help="of a picture (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=20, help="of a recording (default: %(default)s)")
    return parser


if __name__ == "__main__":
    main()
