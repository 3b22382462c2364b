"""How many wrong keys one address may try."""

import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from claude_pattern.api.limits import ATTEMPT_ADDRESSES, ATTEMPT_WINDOW_S, ATTEMPTS


class Attempts:
    """A sliding window per address, in bounded memory; an IPv6 client is its /64 network, which one machine owns."""

    def __init__(
        self,
        *,
        limit: int = ATTEMPTS,
        window_s: float = ATTEMPT_WINDOW_S,
        addresses: int = ATTEMPT_ADDRESSES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._addresses = addresses
        self._clock = clock
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def wait_s(self, address: str) -> float:
        """Seconds until the address may try again; 0 when it may now."""
        times = self._seen.get(_bucket(address))
        if times is None:
            return 0.0
        now = self._clock()
        while times and now - times[0] >= self._window_s:
            times.popleft()
        if not times:
            del self._seen[_bucket(address)]
        return self._window_s - (now - times[0]) if len(times) >= self._limit else 0.0

    def count(self, address: str) -> None:
        """Remember one attempt."""
        bucket = _bucket(address)
        self._seen.setdefault(bucket, deque(maxlen=self._limit)).append(self._clock())
        self._seen.move_to_end(bucket)
        while len(self._seen) > self._addresses:
            self._seen.popitem(last=False)

    def take_back(self, address: str) -> None:
        """Forget the newest attempt: it was a good one."""
        bucket = _bucket(address)
        if times := self._seen.get(bucket):
            times.pop()
            if not times:
                del self._seen[bucket]


def _bucket(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
