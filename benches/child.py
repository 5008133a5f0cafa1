"""``python -m benches.child PEER VARIANT LOOP ROLE ADDRESS OPTIONS``: one process of a run."""

from __future__ import annotations

import asyncio
import json
import sys

from benches.peers import PEERS
from benches.roles import ROLES, order, say


async def _run(peer: str, variant: str, role: str, address: str, options: dict[str, object]) -> None:
    module = PEERS[peer].module()
    if role == "broker":
        await module.serve(address, options)
        return
    link = module.link(address, variant, options)
    say(**await ROLES[role](link, options), said="done")
    # The runner reads this process's CPU clock before it lets it go.
    await order()
    await link.close()


def main() -> None:
    """Runs one role on the loop that was asked for."""
    peer, variant, loop, role, address, options = sys.argv[1:]
    work = _run(peer, variant, role, address, json.loads(options))
    if loop == "uvloop":
        import uvloop  # noqa: PLC0415  # only where it was asked for

        uvloop.run(work)
    else:
        asyncio.run(work)


if __name__ == "__main__":
    main()
