"""How often, and after what wait, a read is repeated that failed for a reason that passes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from celldock.errors import TransientError

READ_ATTEMPTS = 5

_FIRST_WAIT = 0.2
_LONGEST_WAIT = 5.0


def with_backoff[T](call: Callable[[], T], *, attempts: int = READ_ATTEMPTS) -> T:
    """What `call` returns, tried again after a TransientError (Throttled is one), `attempts` times in all.

    The waits double from 0.2 up to 5 seconds, each shortened at random by up to a half, so that many workers that were
    turned away together do not come back together. The last error is raised as it was; any other at once.
    """
    for attempt in range(attempts - 1):
        try:
            return call()
        except TransientError:
            time.sleep(min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT) * random.uniform(0.5, 1.0))
    return call()
