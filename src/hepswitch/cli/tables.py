"""Tables of `ctl` and `user`: aligned in a terminal, one line a row where a program reads.

Not here: what the cells say (`ctl`, `ctl_trace`).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence


def print_table(columns: Iterable[str], rows: Iterable[Sequence[str]], *, numbers: Container[str], whole: str) -> None:
    """Print `rows` of rich's markup. `numbers` are the columns set to the right; `whole` is the last to give way."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            column, justify="right" if column in numbers else "left", no_wrap=column == whole, overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    console.print(table)


def plain(text: str) -> str:
    """`text` as a cell that neither colours nor controls anything: it may come from captured packets."""
    from rich.markup import escape

    from hepswitch.cli.terminal import safe

    return escape(safe(text))
