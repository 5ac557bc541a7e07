"""`harvester up`: gateway and daemon in one process, in the foreground, until Ctrl-C.

Owns the order in which things start and end. The gateway serves in the main thread, the daemon ticks in its own; at the
end the pilots leave first, while the gateway still takes what they hand over.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from harvester.cli import plugins
from harvester.cli.options import UpOptions
from harvester.cli.up import build, build_adapter, build_address
from harvester.cli.up.address import check_host
from harvester.cli.up.first_look import check_knowledge, first_look
from harvester.cli.up.process import prepare_process
from harvester.cli.up.state_folder import Endpoint, StateFolder, StateFolderError
from harvester.config import Config
from harvester.config_file import ConfigError, load_config, parsed
from harvester.domain.cluster.ports import SchedulerAdapter, SchedulerError, knowledge_of
from harvester.domain.steady import Steady

if TYPE_CHECKING:
    from harvester.store.store import Store

log = logging.getLogger(__name__)

_LEAVE = timedelta(seconds=10)  # for pilots to hand over at a clean end
_KILL = timedelta(seconds=5)  # then, for those of the local scheduler to end by themselves


def run_up(options: UpOptions) -> int:
    """Run a whole system until it is told to end, and return the exit code.

    0 after a clean end, 1 where something could not be started, 2 where the configuration is wrong.
    """
    errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    try:
        plugins.offer_policies()
        config = load_config(options.config, overrides(options))
        check_host(config)
        folder = StateFolder(build.state_dir(config))
    except (ConfigError, plugins.PluginError) as error:
        errors.print(f"harvester up: {error}")
        return 2
    except StateFolderError as error:
        errors.print(f"harvester up: {error}")
        return 1
    if folder.was_open:
        errors.print(f"harvester up: other users could read {folder.path}; it is now closed to them (mode 700)")
    try:
        folder.log_to_file()
    except OSError as error:
        folder.close()
        errors.print(
            f"harvester up: the log {folder.log_file} cannot be opened ({error.strerror}); "
            "check that the disk has space and that you own the file"
        )
        return 1
    try:
        return _run(config, folder, errors)
    finally:
        folder.close()


def overrides(options: UpOptions) -> dict[str, object]:
    """Return what the options say, as fields of the config."""
    return {
        "state": None if options.state is None else str(options.state),
        "gateway.host": options.host,
        "gateway.port": options.port,
        "scheduler.kind": options.scheduler,
        "scheduler.local.nodes": options.nodes,
        "scheduler.local.cpus": options.cpus,
        "scheduler.local.gpus": options.gpus,
        "harvest.partition": options.partition,
        "harvest.ready": options.ready,
        "harvest.max_pilots": options.max_pilots,
        **{key: parsed(value) for key, value in options.settings},
    }


def _run(config: Config, folder: StateFolder, errors: Console) -> int:
    from harvester.store.db.errors import StoreError  # noqa: PLC0415 - SQL is not needed to say what is wrong above
    from harvester_api.server import ServerError  # noqa: PLC0415 - nor is FastAPI

    # Until it serves, both signals end it where it stands; SIGINT too where a shell has started it with that ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with _store(config) as store, _adapter(config) as adapter:
            _System(config, folder, store, adapter, errors).serve()
    except ConfigError as error:
        errors.print(f"harvester up: {error}")
        return 2
    except (StoreError, SchedulerError, ServerError, StateFolderError) as error:
        errors.print(f"harvester up: {error}")
        return 1
    except KeyboardInterrupt:
        errors.print("harvester up: interrupted before the start was complete; no pilot was submitted")
    except ModuleNotFoundError:  # the command knows which extra brings it
        raise
    except OSError as error:  # no space, no rights: not a defect
        log.warning("up failed", exc_info=True)
        where = f" ({error.filename})" if error.filename else ""
        errors.print(f"harvester up: {error.strerror or error}{where}; {folder.log_file} has the details")
        return 1
    except Exception as error:  # outermost: the traceback belongs into the log, not on the terminal
        log.exception("up failed")
        errors.print(f"harvester up: unexpected {type(error).__name__}: {error}; {folder.log_file} has the traceback")
        return 1
    return 0


@contextmanager
def _store(config: Config) -> Iterator[Store]:
    store = build.open_store(config)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _adapter(config: Config) -> Iterator[SchedulerAdapter]:
    adapter = build_adapter.adapter(config)
    try:
        yield adapter
    finally:
        adapter.close()


class _System:
    """One running harvester. Raises `ConfigError` or `ServerError` where it cannot be."""

    def __init__(
        self, config: Config, folder: StateFolder, store: Store, adapter: SchedulerAdapter, errors: Console
    ) -> None:
        from harvester.cli.up.build_gateway import gateway_settings  # noqa: PLC0415 - brings the gateway
        from harvester.daemon.daemon import Daemon  # noqa: PLC0415 - brings SQL
        from harvester_api.app import create_app  # noqa: PLC0415 - brings FastAPI
        from harvester_api.server import listen  # noqa: PLC0415 - brings uvicorn

        self._config = config
        self._folder = folder
        self._errors = errors
        self._adapter = adapter
        check_knowledge(config, knowledge_of(adapter))
        shapes = build.shapes(config, first_look(config, adapter, lambda words: errors.print(f"harvester up: {words}")))
        gateway = config.gateway
        clock = Steady()  # one for both: they compare instants that they read from the store
        app = create_app(gateway_settings(config, shapes, folder.token), store, clock)
        self._server = listen(
            app,
            build_address.host(config),
            gateway.port,
            certificate=Path(gateway.tls_certificate) if gateway.tls_certificate else None,
            key=Path(gateway.tls_key) if gateway.tls_key else None,
            frame_limit_bytes=4 * gateway.payload_limit_mb * 1024 * 1024,
        )
        self._daemon = Daemon(build.daemon_settings(config, shapes, self._server.port), store, adapter, clock=clock)
        self._end: threading.Thread | None = None
        self._is_hurried = False  # a second signal has come
        self._starting = threading.Lock()  # an end that comes meanwhile stops the daemon once it has started, or before

    def serve(self) -> None:
        """Serve until a signal comes and the pilots have left."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGUSR1, self._on_resume)
        self._say_where()
        prepare_process()
        with self._starting:
            if self._end is None:
                self._daemon.start()  # pilots call again until the gateway, which comes up meanwhile, answers
        try:
            self._server.run()
        finally:
            if self._end is not None:
                self._end.join()
            self._daemon.stop()

    def _say_where(self) -> None:
        user, admin = self._folder.token_file("user"), self._folder.token_file("admin")
        self._folder.announce(
            Endpoint(
                url=self._server.url,
                user_token_file=str(user),
                admin_token_file=str(admin),
                pid=os.getpid(),
                scheduler=self._config.scheduler.kind,
            )
        )
        out = Console(highlight=False, soft_wrap=True, markup=False)  # folders may have brackets in their names
        where = Text.assemble(("harvester", "bold"), " listens at ", (self._server.url, "bold"))
        out.print(where.append(f" ({self._config.scheduler.kind})"))
        out.print(f"  user's token   {user}\n  admin's token  {admin}\n  log            {self._folder.log_file}")
        ca = self._config.gateway.tls_ca
        trust = f" HARVESTER_TLS_CA={Path(ca).resolve()}" if ca else ""
        out.print(f"  export HARVESTER_URL={self._server.url} HARVESTER_TOKEN=$(cat {user}){trust}")
        out.print(
            "  Ctrl-C ends it" + (" and leaves the pilots running." if self._config.harvest.leave_pilots else ".")
        )
        sys.stdout.flush()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Begin the end; a second signal does not wait for the pilots."""
        if self._end is not None:
            self._is_hurried = True
            self._server.stop()
            return
        self._end = threading.Thread(target=self._leave, name="harvester-end")
        self._end.start()

    def _on_resume(self, number: int, frame: FrameType | None) -> None:
        # In a thread: the handler may have interrupted the gateway's own call of the store.
        threading.Thread(target=self._daemon.resume, name="harvester-resume", daemon=True).start()

    def _leave(self) -> None:
        try:
            with self._starting:
                self._daemon.stop()
            if not self._config.harvest.leave_pilots:
                self._daemon.send_home(_LEAVE, lambda: self._is_hurried)
                if self._config.scheduler.kind == "local":
                    build_adapter.shut_down(self._adapter, timedelta(0) if self._is_hurried else _KILL)
        except Exception:  # outermost in this thread: the server has to stop whatever went wrong
            log.exception("up.end: not everything ended cleanly")
        finally:
            self._server.stop()
