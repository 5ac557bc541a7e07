"""The `harvester` command: its global options, its commands, and how errors end it.

Owns the one place where an error becomes a line on stderr and exit code 1.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import harvester
from harvester.cli.commands import control, functions, simulate, site, start, user, windows
from harvester.cli.render import remedies, usage
from harvester.cli.session import GlobalOptions
from harvester.sdk.errors import GatewayError, HarvesterError, InvocationFailed


class _Group(TyperGroup):
    """Ends with one clear line where a command ends with an error of ours; says in plain words what is wrong usage."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - the type is a private one of typer's
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            errors = getattr(error.__cause__, "errors", None)  # of a pydantic.ValidationError, with which typer checks
            if callable(errors):
                error.message = "; ".join(map(usage.plain, errors()))
            raise
        except (HarvesterError, CancelledError, TimeoutError) as error:
            typer.echo(_told(error), err=True)
            raise typer.Exit(1) from None
        except Exception as error:
            if not isinstance(error.__cause__, InvocationFailed):
                raise
            typer.echo(_told(error.__cause__), err=True)  # what a user's function raised
            raise typer.Exit(1) from None


def _told(error: Exception) -> str:
    if isinstance(error, GatewayError):
        return f"error: {remedies.told(error)}"
    if isinstance(error, InvocationFailed):
        return str(error)  # with the traceback of the user's own code
    return f"error: {error}"


def _version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"harvester {harvester.__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Run functions on the node-time that batch jobs leave idle.",
)


@app.callback()
def connect(
    ctx: typer.Context,
    url: Annotated[
        str | None, typer.Option(envvar="HARVESTER_URL", help="Address of the gateway, http://host:port.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="HARVESTER_TOKEN", help="Your token for the gateway.", show_envvar=True)
    ] = None,
    version: Annotated[  # its callback has answered
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Read the global options. What is not given comes from the user's configuration file."""
    ctx.obj = GlobalOptions(url=url, token=token)


# A negative number among the arguments is not an option.
app.command(context_settings={"ignore_unknown_options": True})(user.invoke)
for _command in (
    user.status,
    user.whoami,
    user.invocations,
    user.result,
    user.cancel,
    user.explain,
    user.pilots,
    user.evict,
    control.pause,
    control.resume,
    control.drain,
    control.undrain,
    site.check,
    site.init,
    start.up,
    start.demo,
    windows.windows,
):
    app.command()(_command)
app.add_typer(functions.app, name="functions")
app.add_typer(simulate.app, name="simulate")
