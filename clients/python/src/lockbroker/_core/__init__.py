"""The client's half of the protocol, without I/O.

What has happened goes in with the moment at which it did, and what is to be done comes out. `core` has all of it,
`lock` the life of a single lock.
"""

from .core import Core, Held, Settings

__all__ = ["Core", "Held", "Settings"]
