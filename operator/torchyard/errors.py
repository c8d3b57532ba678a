"""Errors that cross a layer.

TorchyardError
├── Invalid        what a person wrote cannot work; a retry repeats it
├── Refused        the API server will not do it now; retried with backoff
│   ├── Conflict   somebody else's object, or a newer one, is there
│   ├── Forbidden  no permission, or a quota
│   └── NotFound   the object, or its namespace, is not there
├── Outdated       what was decided on is no longer so; decide again on what is there now
├── Unavailable    no answer, or one that says to come again
└── Ended          a part of the operator has ended, so the process does
"""


class TorchyardError(Exception):
    """Anything that Torchyard raises on purpose."""


class Invalid(TorchyardError):
    """What a person wrote cannot work; the message names the field and the cure."""


class Refused(TorchyardError):
    """The API server answered a write with a 4xx."""

    def __init__(self, message: str, *, code: int, reason: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class Conflict(Refused):
    """409: the name is taken, or what we saw is no longer so."""


class Forbidden(Refused):
    """403: no permission, or an admission rule such as a quota."""


class NotFound(Refused):
    """404: the object, or its namespace, is not there."""


class Outdated(TorchyardError):
    """What was decided on is no longer so; the store knows better by now."""


class Unavailable(TorchyardError):
    """No answer in time, a broken connection, 429 or 5xx."""

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the API server asks to be left alone."""


class Ended(TorchyardError):
    """A part of the operator that must run for ever has ended: a watch, or the Lease."""
