"""What the browser asks: files in, jobs, and their results; nothing by a path of this machine."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tavtorch.lab.studio.jobs import Job, Jobs
from tavtorch.lab.studio.sessions import RefusedError, Session, Sessions

STATIC = Path(__file__).with_name("static")
_COOKIE = "tavtorch-studio"
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass
class Limits:
    """What a visitor may bring."""

    megabytes: int = 200
    """Of a file; all of a visitor together: ten times as much."""
    megapixels: float = 40.0
    minutes: float = 20.0
    waiting: int = 40
    """Jobs of a visitor at a time."""
    listening: int = 4
    """Visitors who listen at a time."""


def application(limits: Limits, *, hosts: list[str], processes: int = 2, library: Path | None = None) -> Starlette:
    """The page and what it asks.

    Args:
        hosts: names under which the page may be asked for; another name is that of a foreign page.
        processes: that work at the same time.
        library: where clips are looked up until a visitor has one.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.jobs, app.state.sessions = Jobs(processes), Sessions(most=10 * limits.megabytes * 2**20)
        app.state.limits, app.state.library = limits, library
        app.state.description = app.state.jobs.add("", {"do": "describe"})
        cleaner = asyncio.create_task(_clean(app))
        try:
            yield
        finally:
            cleaner.cancel()
            app.state.jobs.close()
            app.state.sessions.close()

    routes = [
        Route("/", _page),
        Route("/api/systems", _systems),
        Route("/api/experiments/{name}", _experiment),
        Route("/api/files", _upload, methods=["POST"]),
        Route("/api/jobs", _start, methods=["POST"]),
        Route("/api/jobs/{id}", _state),
        Route("/api/jobs/{id}", _stop, methods=["DELETE"]),
        Route("/api/jobs/{id}/blocks", _block, methods=["POST"]),
        Route("/api/jobs/{id}/{name:path}", _file),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    refused: dict[Any, Any] = {RefusedError: _refused}
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers=refused,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts), Middleware(_SafeHeaders)],
    )


class _SafeHeaders:
    """Every answer forbids what the page does not need; a request of another page is refused."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = {name: value.decode("latin-1") for name, value in scope["headers"] if name in (b"origin", b"host")}
        if b"origin" in given and given[b"origin"].partition("//")[2] != given.get(b"host"):
            return await JSONResponse({"error": "a request of another page"}, 403)(scope, receive, send)

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
            await send(message)

        await self.app(scope, receive, with_headers)


async def _clean(app: Starlette) -> None:
    while True:
        await asyncio.sleep(30)
        for key in app.state.sessions.remove_idle():
            app.state.jobs.forget(key)


def _visitor(request: Request) -> tuple[str, Session]:
    key = request.cookies.get(_COOKIE, "")
    return key, request.app.state.sessions.get(key)


async def _refused(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _page(request: Request) -> Response:
    answer = FileResponse(STATIC / "index.html")
    try:
        _visitor(request)
    except RefusedError:
        key = request.app.state.sessions.new()
        answer.set_cookie(_COOKIE, key, httponly=True, samesite="strict")
    return answer


async def _systems(request: Request) -> Response:
    job, limits = request.app.state.description, request.app.state.limits
    await _until(lambda: job.ended, 120)
    if job.state != "done":
        raise RefusedError(job.words or "the studio is still starting; load the page again.")
    library = request.app.state.library
    about = {"megabytes": limits.megabytes, "minutes": limits.minutes, "library": library.name if library else None}
    return JSONResponse(job.result | {"limits": about})


async def _experiment(request: Request) -> Response:
    key, _ = _visitor(request)
    job = request.app.state.jobs.add(key, {"do": "experiment", "name": request.path_params["name"]})
    await _until(lambda: job.ended, 60)
    if job.state != "done":
        raise RefusedError(job.words)
    return JSONResponse(job.result)


async def _upload(request: Request) -> Response:
    """A file as the body, its name in the query."""
    _, session = _visitor(request)
    number, place = session.new_file(request.query_params.get("name", ""))
    await _receive(request, session, place)
    if not place.stat().st_size:
        place.unlink()
        raise RefusedError(f"{place.name}: the file is empty.")
    session.files[number] = place
    return JSONResponse({"file": number, "name": place.name})


async def _receive(request: Request, session: Session, place: Path) -> None:
    """The body of a request into a file."""
    most, size = request.app.state.limits.megabytes * 2**20, 0
    session.check_room()
    with place.open("wb") as file:
        async for part in request.stream():
            size += len(part)
            if size > most:
                break
            file.write(part)
    if size > most:
        place.unlink()
        raise RefusedError(f"{place.name}: the file is larger than {most / 2**20:.0f} MB.")


async def _block(request: Request) -> Response:
    """What was recorded since the last block, as WAV; an empty one ends the stream."""
    job = _job(request)
    if job.request["do"] != "listen" or job.ended:
        raise RefusedError("job: it does not listen.")
    part = Path(job.request["folder"], "block.part")
    await _receive(request, _visitor(request)[1], part)
    part.rename(part.with_name(f"{job.blocks}.wav"))
    job.blocks += 1
    return JSONResponse({})


async def _start(request: Request) -> Response:
    """A job; files are told by their numbers."""
    key, session = _visitor(request)
    state = request.app.state
    asked = await _asked(request)
    if sum(job.session == key and not job.ended for job in state.jobs.all.values()) >= state.limits.waiting:
        raise RefusedError(f"you have {state.limits.waiting} jobs waiting; stop some of them.")
    names = ("do", "task", "experiment", "settings", "shapes")
    told = {name: asked[name] for name in names if asked.get(name) is not None}
    listens = told.get("do") == "listen"
    if told.get("do") not in ("look", "run", "add", "listen"):
        raise RefusedError("do: expected look, run, add or listen.")
    given = {name: str(session.file(str(asked[name]))) for name in ("file", "hole") if asked.get(name)}
    library = session.library if session.library.exists() or told["do"] == "add" else state.library
    if (listens or told.get("task") == "recognise") and library is None:
        raise RefusedError("library: it has no songs yet; give it a folder of songs first.")
    if listens:
        _check_listening(state, key)
    own = {
        "folder": str(session.new_folder()),
        "place": str(session.folder),
        "library": str(library) if library else None,
    }
    bounds = {"pixels": state.limits.megapixels * 1e6, "seconds": state.limits.minutes * 60}
    job = state.jobs.add(key, {"settings": {}, **told, **given, **own, **bounds}, alone=listens)
    return JSONResponse({"job": job.id})


def _check_listening(state: Any, key: str) -> None:
    """Raise where another one that listens, and has a process of its own, is too many."""
    listening = [job.session for job in state.jobs.all.values() if job.request["do"] == "listen" and not job.ended]
    if key in listening:
        raise RefusedError("you listen already, perhaps on another page; stop that first.")
    if len(listening) >= state.limits.listening:
        raise RefusedError(f"{len(listening)} visitors listen already; try it later.")


async def _asked(request: Request) -> dict[str, Any]:
    try:
        asked = await request.json()
    except ValueError:
        raise RefusedError("the request is no JSON.") from None
    if not isinstance(asked, dict) or not isinstance(asked.get("settings", {}), dict):
        raise RefusedError("the request is no JSON object.")
    return asked


async def _state(request: Request) -> Response:
    """How far a job is, once that is not `since` any more, or after some seconds."""
    job, since = _job(request), request.query_params.get("since", "")
    await _until(lambda: job.ended or str(job.version) != since, 5)
    shown = {key: value for key, value in job.result.items() if key != "files"}
    seconds = time.monotonic() - job.begun if job.begun else 0.0
    before = request.app.state.jobs.before(job)
    about = {"version": job.version, "state": job.state, "words": job.words, "seconds": seconds, "before": before}
    return JSONResponse(about | {"result": shown})


async def _stop(request: Request) -> Response:
    request.app.state.jobs.stop(_job(request))
    return JSONResponse({})


async def _file(request: Request) -> Response:
    """A file of a result, by its name among those of the result."""
    job, name = _job(request), request.path_params["name"]
    place = job.result.get("files", {}).get(name)
    if place is None or not Path(place).is_file():
        raise RefusedError("file: there is no such result.")
    return FileResponse(place, filename=Path(name).name if name.startswith("results/") else None)


def _job(request: Request) -> Job:
    key, _ = _visitor(request)
    job = request.app.state.jobs.all.get(request.path_params["id"])
    if job is None or job.session != key:
        raise RefusedError("job: there is no such job.")
    return job


async def _until(met: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not met() and time.monotonic() < end:
        await asyncio.sleep(0.02)
