"""The life of the server: socket, engine, tokenizer and app start together and end in order."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import uvicorn

from cierzo.api.access.key_file import with_key_file
from cierzo.api.errors import AGENTS_CONTEXT, TOO_FEW_FOR_AGENTS
from cierzo.api.http.listening import (
    HttpServer,
    ListenError,
    Say,
    listen,
    max_connections,
    url_of,
)
from cierzo.api.served_model import quantization_of, served_model
from cierzo.engine.errors import EngineError
from cierzo.engine.loading.load import plan_for
from cierzo.engine.loading.memory import MemoryPlanError
from cierzo.engine.messages import EngineLaunch
from cierzo.engine.process.client import EngineClient
from cierzo.log import Form, Level, Log, StderrLog
from cierzo.model.errors import ModelError
from cierzo.model.fetch.registry import ModelEntry
from cierzo.model.readers.checkpoint import open_checkpoint
from cierzo.settings import Settings

if TYPE_CHECKING:
    from cierzo.api.service import Service
    from cierzo.api.warming import Prompt
    from cierzo.generate.model import Language
    from cierzo.grammar.vocabulary import TokenBytes

_log = Log("server")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_KEEP_ALIVE_SECONDS = 75  # longer than clients keep an idle connection, so that they close it
# A thread that computes in Python keeps the event loop and the others from it so long at most.
_SWITCH_SECONDS = 0.001
_SLOW_START_SECONDS = 120  # more than a large checkpoint on a slow disk should take
_FLUSH_SECONDS = 2  # for last answers to reach their clients, once the engine is done


def run_server(
    settings: Settings,
    path: Path,
    entry: ModelEntry,
    *,
    tokenizer: Path | None = None,
) -> int:
    """Serves the checkpoint at `path` until a signal; returns the exit code.

    `entry` has its names, prices and defaults; `tokenizer` is a tekken.json to use in place
    of the checkpoint's own vocabulary (see `open_checkpoint`). On stderr it says the address, the
    engine's memory plan, when it is ready, what goes wrong; and writes its log. The codes: 0 after
    SIGINT or SIGTERM, 1 when the address is taken, the model cannot be loaded or the engine is
    dead for good, 130 after a second signal. Raises SettingsError for a key file of no use, or a
    file of prompts.
    """
    settings = with_key_file(settings)
    log = StderrLog(
        cast(Level, settings.server.log_level), cast(Form, settings.server.log_format), sys.stderr
    )
    try:
        code = _run(settings, path, entry, tokenizer, log.say)
    finally:
        log.close()
    if code == 130:  # at once: a thread that still tokenizes would be waited for
        os._exit(code)
    return code


def _run(
    settings: Settings, path: Path, entry: ModelEntry, tokenizer: Path | None, say: Say
) -> int:
    try:
        # What can be known to be wrong is said before anyone is told the address.
        plan_for(open_checkpoint(path, tokenizer=tokenizer), settings.engine)
        sockets = listen(settings.server)
    except (ModelError, MemoryPlanError, ListenError) as error:
        say(str(error))
        return 1
    say(f"serving {entry.name} from {path}")
    sys.setswitchinterval(_SWITCH_SECONDS)
    return asyncio.run(_Server(settings, path, tokenizer, entry, say).run(sockets))


class _Server:
    """One run of the server."""

    def __init__(
        self,
        settings: Settings,
        path: Path,
        tokenizer: Path | None,
        entry: ModelEntry,
        say: Say,
    ) -> None:
        self._settings = settings
        self._path = path
        self._tokenizer = tokenizer
        self._served = served_model(entry, settings.server.aliases)
        self._say = say
        self._prompts = _prompts_of(settings)
        self._url = ""  # known once the sockets are
        self._signals = 0
        self._signalled = asyncio.Event()
        self._hurried = asyncio.Event()

    async def run(self, sockets: list[socket.socket]) -> int:
        """Starts everything, waits for a reason to end, ends everything."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        launch = EngineLaunch(
            path=str(self._path),
            tokenizer=str(self._tokenizer) if self._tokenizer else None,
            settings=settings.engine,
        )
        client = EngineClient(launch, watchdog_seconds=settings.server.watchdog_seconds)
        starting = asyncio.create_task(client.start())
        await asyncio.sleep(0)  # the engine process is started before this one gets busy
        service, server = await asyncio.to_thread(self._build, client)
        serving = asyncio.create_task(server.serve(sockets))
        for bound in sockets:
            self._say(f"listening on {url_of(bound)}")
        self._url = url_of(sockets[0])
        code = await self._until_over(service, starting)
        service.stopping = True
        await self._wind_down(client, starting)
        service.threads.stop()
        server.should_exit = True
        server.force_exit = self._hurried.is_set()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        return 130 if self._hurried.is_set() else code

    def _build(self, client: EngineClient) -> tuple[Service, HttpServer]:
        """Imports the app, which takes as long as the engine takes to load, and makes it."""
        from cierzo.api.app import DIALECTS, create_app
        from cierzo.api.http.http_protocol import limited
        from cierzo.api.metrics import Metrics
        from cierzo.api.service import Service

        service = Service(self._settings, client, self._served, Metrics(client))
        protocol = limited(
            self._settings.limits, max_connections(), DIALECTS[0].error_body, service.request_log
        )
        config = uvicorn.Config(
            create_app(service),
            http=protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level=logging.ERROR,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_FLUSH_SECONDS,
        )
        return service, HttpServer(config, self._say)

    async def _until_over(self, service: Service, starting: asyncio.Task[None]) -> int:
        """Returns the exit code once there is a reason to end."""
        began = time.monotonic()
        signalled = asyncio.create_task(self._signalled.wait())
        ready = asyncio.create_task(self._until_ready(service, starting))
        dead: asyncio.Task[str] | None = None
        warming: asyncio.Task[None] | None = None
        try:
            await asyncio.wait((signalled, ready), return_when=asyncio.FIRST_COMPLETED)
            if signalled.done():
                return 0
            failure = ready.result()
            if failure is None:
                name = self._served.name
                self._log_start(time.monotonic() - began)
                self._say(f"{name} is ready; try:\n{_curl(self._url, name)}")
                warming = asyncio.create_task(self._warm(service))
                dead = asyncio.create_task(service.client.wait_dead())
                await asyncio.wait((signalled, dead), return_when=asyncio.FIRST_COMPLETED)
                if signalled.done():
                    return 0
                failure = dead.result()
            self._say(failure)
            return 1
        finally:
            for task in (signalled, ready, dead, warming):
                if task is not None:
                    task.cancel()

    async def _warm(self, service: Service) -> None:
        """Reads the prompts of a file while the server serves."""
        if self._prompts:
            from cierzo.api.warming import warm

            await warm(service, self._prompts)

    def _log_start(self, seconds: float) -> None:
        write = _log.warning if seconds > _SLOW_START_SECONDS else _log.info
        write("ready", model=self._served.name, url=self._url, seconds=seconds)

    async def _until_ready(self, service: Service, starting: asyncio.Task[None]) -> str | None:
        """Loads the words while the engine loads the weights. Returns what went wrong."""
        try:
            language, vocabulary, storage = await asyncio.to_thread(
                _read_model, self._path, self._tokenizer, self._settings.engine.prefix_cache
            )
            quantization = quantization_of(storage, self._settings.engine.quantize)
            service.served = dataclasses.replace(self._served, quantization=quantization)
            service.client.set_vocabulary(vocabulary)
            service.language = language
            gc.freeze()  # what is here now stays: to look through it again would stop everybody
            await starting
        except (ModelError, EngineError) as error:
            return str(error)
        info = service.client.info
        self._say(f"{info.backend}; {info.memory_plan}")
        if info.max_model_len < AGENTS_CONTEXT:
            self._say(f"the context is {info.max_model_len:,} tokens. {TOO_FEW_FOR_AGENTS}")
        return None

    async def _wind_down(self, client: EngineClient, starting: asyncio.Task[None]) -> None:
        """Lets running requests finish, then ends the engine; at once after a second signal."""
        starting.cancel()
        await asyncio.wait((starting,))
        stopping = asyncio.create_task(client.stop(self._settings.server.grace_seconds))
        hurried = asyncio.create_task(self._hurried.wait())
        await asyncio.wait((stopping, hurried), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not stopping.done():
            await client.stop(0)
        await stopping

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self._signalled.set()
            self._say("ending once running requests are done; once more to end at once")
            return
        self._hurried.set()
        for number in _SIGNALS:  # a third one ends the process as if it had no handler
            asyncio.get_running_loop().remove_signal_handler(number)


def _prompts_of(settings: Settings) -> list[Prompt]:
    """The prompts to read at start. What reads them takes long to import."""
    if settings.server.warm is None:
        return []
    from cierzo.api.warming import read_prompts

    return read_prompts(settings)


def _read_model(
    path: Path, tokenizer_path: Path | None, prefix_cache: str
) -> tuple[Language, TokenBytes, str]:
    """How the model reads and writes, its tokens for grammars, and how most weights are stored."""
    from cierzo.generate.model import read_language

    checkpoint = open_checkpoint(path, tokenizer=tokenizer_path)
    language = read_language(checkpoint.tokenizer, remembers=prefix_cache == "on")
    return language, language.vocabulary, checkpoint.main_storage()


def _curl(url: str, name: str) -> str:
    """A command that shows that it works."""
    body = {
        "model": name,
        "temperature": 0,
        "messages": [
            {"role": "user", "content": "What is the capital of France? Answer in one sentence."}
        ],
    }
    return (
        f"  curl {url}/v1/chat/completions -H 'Content-Type: application/json' \\\n"
        f"    -d '{json.dumps(body)}'"
    )
