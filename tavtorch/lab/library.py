"""`tavtorch-library`: the songs that a library knows, listed, removed and renamed; and how sure it is of them."""

import argparse
import sys
from collections.abc import Sequence

from tavtorch.audio.recognition.library import Library
from tavtorch.audio.recognition.store import Store, check_name
from tavtorch.audio.recognition.tables import Song
from tavtorch.lab.kinds.music import clock


def main(typed: Sequence[str] | None = None) -> None:
    """Do what is typed; what cannot be done ends with one line and exit code 1."""
    asked = _parser().parse_args(typed)
    try:
        store = Store(asked.library, create=False)
        if asked.action == "calibrate":
            found = Library(asked.library, create=False).calibrate(seconds=60 * asked.minutes)
            print(f"one false track a day from a score of {found.threshold(1):.1f} on; task=listen takes it from here")
        elif asked.action == "list":
            _list(store, [word.casefold() for word in asked.words])
        elif asked.action == "remove":
            for name in asked.names:
                store.remove(name)
                print(f"removed: {name}")
        else:
            check_name(asked.new, "new")
            store.rename(asked.old, asked.new)
            print(f"renamed: {asked.old} is now {asked.new}")
    except (ValueError, KeyError) as error:
        sys.exit(f"error: {error.args[0]}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tavtorch-library", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="name, title, artist, length and file of each song")
    listing.add_argument("words", nargs="*", help="only songs that have all of these words in one of these")
    remove = actions.add_parser("remove", help="take songs out of the library; their files stay")
    remove.add_argument("names", nargs="+", metavar="name")
    rename = actions.add_parser("rename", help="give a song another name")
    rename.add_argument("old")
    rename.add_argument("new")
    calibrate = actions.add_parser("calibrate", help="measure how often false songs are heard, for task=listen")
    calibrate.add_argument("--minutes", type=float, default=10.0, help="of listening (default: %(default)s)")
    for action in (listing, remove, rename, calibrate):
        action.add_argument("--library", default="runs/library.sqlite", help="file or URL (default: %(default)s)")
    return parser


def _list(store: Store, words: Sequence[str]) -> None:
    """A table, one song a line, and their number."""
    rows = [row for row in map(_row, store.songs()) if all(word in "\n".join(row).casefold() for word in words)]
    table = [("name", "title", "artist", "length", "file"), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table if rows else ():
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    print(f"{len(rows)} songs in {store.name}")


def _row(song: Song) -> tuple[str, ...]:
    return song.name, song.title or "", song.artist or "", clock(song.duration), song.path or ""


if __name__ == "__main__":
    main()
