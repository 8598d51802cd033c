"""WebSockets that stay open and say nothing.

python -m bench.loads.idle URL SECONDS CONNECTIONS
"""

import asyncio
import sys
import time

from bench.loads.telling import begin, end, looped, many_files
from bench.loads.websockets import connect


async def main(url: str, seconds: float, connections: int) -> None:
    """Connect, wait, tell; the connections stay until that has been seen."""
    many_files()
    begin()
    began = time.perf_counter()
    sockets = await connect(url, connections)
    elapsed = time.perf_counter() - began
    await asyncio.sleep(seconds)
    lost = sum(socket.lost for socket in sockets)
    end({"operations": connections, "seconds": elapsed, "errors": lost})


if __name__ == "__main__":
    looped()(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
