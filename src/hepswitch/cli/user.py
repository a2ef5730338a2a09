"""`hepswitch user`: who may log in at the control listener. Not here: the file's format (`control.users`)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from hepswitch.cli.options import config_file
from hepswitch.cli.tables import plain, print_table


@click.group("user")
def cli() -> None:
    """Add, list and remove users of the control listener (`[control] users`).

    A running switch takes a change at once.

    \b
    Example:
      hepswitch user add alice --role operate --file users
      hepswitch user list --file users
      hepswitch user remove alice --file users
    """


def _file_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--file` and `--config`; the command gets the path as its argument `path`. Mistakes of the file: exit status 1."""

    @click.option(
        "-f", "--file", type=click.Path(path_type=Path, dir_okay=False), help="The file of users.  [default: users]"
    )
    @config_file("Or the switch's configuration file, whose [control] names it.")
    @wraps(command)
    def with_file(file: Path | None, config: Path | None, **arguments: Any) -> None:
        from hepswitch.control.users import UsersError

        try:
            command(path=file or _configured(config), **arguments)
        except UsersError as error:
            click.echo(str(error), err=True)
            raise SystemExit(1) from None

    return with_file


def _configured(config: Path | None) -> Path:
    from hepswitch.config import ConfigError, load

    if config is None:
        return Path("users")
    try:
        users = load(config).control.users
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    if users is None:
        raise click.BadParameter(
            f'{config} names no file of users: add users = "users" to its [control], or use --file'
        )
    return users


@cli.command("add")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["read", "operate"]),
    required=True,
    help="read: sees everything; operate: may change the switch, too.",
)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input, one line.")
@_file_options
def add(path: Path, name: str, role: Any, password_stdin: bool) -> None:
    """Add the user NAME, or give one that is there another password and role.

    \b
    Example:
      hepswitch user add alice --role operate --file users
      pass show hepswitch/alice | hepswitch user add alice --role read --password-stdin
    """
    from hepswitch.control.users import NAME, Hash, User, check_password, put

    if not NAME.fullmatch(name):
        raise click.BadParameter("a name has 1 to 64 of a-z, A-Z, 0-9, _ . @ -, and begins with none of the last three")
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True)
    try:
        check_password(password)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    was_there = put(path, User(name, role, Hash.of(password)))
    click.echo(f"{name}: {'changed' if was_there else 'added'}, may {role} ({path})")


@cli.command("list")
@_file_options
def show(path: Path) -> None:
    """List the users and their roles.

    \b
    Example:
      hepswitch user list --file users
    """
    from hepswitch.control.users import users_in

    print_table(("user", "role"), [[plain(user.name), user.role] for user in users_in(path)], numbers=(), whole="user")


@cli.command("remove")
@click.argument("name")
@_file_options
def remove_user(path: Path, name: str) -> None:
    """Remove the user NAME: it cannot log in any more, from this moment on.

    \b
    Example:
      hepswitch user remove alice --file users
    """
    from hepswitch.control.users import remove

    if not remove(path, name):
        click.echo(f"{path} has no user {name!r}", err=True)
        raise SystemExit(1)
    click.echo(f"{name}: removed ({path})")
