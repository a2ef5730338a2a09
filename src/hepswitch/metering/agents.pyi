from typing import Any

class Agents:
    """Who sends packets here, and what."""

    forgotten: int
    nodes: list[str]
    """The labels of nodes."""
    def __len__(self) -> int: ...
    def rows(self) -> list[dict[str, Any]]:
        """An object for each agent, as `GET /agents` gives them; `timed` and `skew` (seconds) of the clock."""
    def packets(self) -> dict[str, Any]:
        """Packets of all agents, those forgotten too: by listener, version and type, and by node and type."""
