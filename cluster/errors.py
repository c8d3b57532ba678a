"""The one exception of this package."""


class ClusterError(Exception):
    """Something a person has to know: what is wrong and how to put it right."""

    def __init__(self, cause: str, cure: str = "") -> None:
        super().__init__(f"{cause}\n  cure: {cure}" if cure else cause)
        self.cause = cause
        self.cure = cure
