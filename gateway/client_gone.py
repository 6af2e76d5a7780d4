"""What becomes of a request whose client has hung up."""

from typing import Final

CLIENT_GONE: Final = 499  # as nginx counts it


class ClientGone(Exception):
    """The client closed the connection: nobody is left to be answered."""
