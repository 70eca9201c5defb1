"""
Whether a Redis can be used: asked of itself, in three commands over a socket of our own, so that it works without a
reactor. Source: Redis protocol specification (RESP2).
"""

from __future__ import annotations

import socket
import ssl
from typing import Final

PATIENCE_S: Final = 5.0
LONGEST_LINE: Final = 4096


class RedisUnfit(Exception):
    """The Redis cannot be used; the message is a sentence for the administrator, without its password."""


def probe(host: str, port: int, *, password: str = "", tls: bool = False, database: int = 0) -> None:
    """Log in, choose the database, and ping. Waits, for some seconds if nobody answers. Raises `RedisUnfit`."""
    try:
        with _connected(host, port, tls) as connection:
            if password:
                _ask(connection, "AUTH", password)
            _ask(connection, "SELECT", str(database))
            _ask(connection, "PING")
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message
        raise RedisUnfit(f"The certificate of the Redis at {host}:{port} is not believed: {why}.") from error
    except ssl.SSLError as error:
        raise RedisUnfit(f"The server at {host}:{port} does not speak TLS: {error.reason}.") from error
    except TimeoutError as error:
        reason = "does it speak TLS there" if tls else "is a firewall in between"
        raise RedisUnfit(f"Nobody answers at {host}:{port} within {PATIENCE_S:.0f} s: {reason}?") from error
    except socket.gaierror as error:
        raise RedisUnfit(f"The host name {host} is not known to the DNS of this machine.") from error
    except OSError as error:
        raise RedisUnfit(f"There is no Redis at {host}:{port}: {error.strerror or error}.") from error


def _connected(host: str, port: int, tls: bool) -> socket.socket:
    plain = socket.create_connection((host, port), timeout=PATIENCE_S)
    if not tls:
        return plain
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def _ask(connection: socket.socket, *words: str) -> None:
    encoded = [word.encode() for word in words]
    connection.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(each), each) for each in encoded))
    said = _line(connection)
    if said.startswith(b"-"):
        raise RedisUnfit(f"The Redis refuses {words[0]}: {said[1:].decode('utf-8', 'replace')}.")
    if not said.startswith(b"+"):
        raise RedisUnfit("What answers there is not a Redis.")


def _line(connection: socket.socket) -> bytes:
    said = b""
    while not said.endswith(b"\r\n"):
        more = connection.recv(256)
        if not more:
            raise RedisUnfit("The server closed the connection: it may be no Redis, or want TLS.")
        said += more
        if len(said) > LONGEST_LINE:
            raise RedisUnfit("What answers there is not a Redis.")
    return said[:-2]
