"""A server for the client of the benchmarks."""

import threading
from http.server import ThreadingHTTPServer

import pytest


class Server(ThreadingHTTPServer):
    """Says nothing when a client hangs up, as the load does at its end."""

    def handle_error(self, request, client_address):
        pass


@pytest.fixture
def serve():
    """Serves with a handler of `http.server`, until the test is over; gives the port."""
    servers: list[Server] = []

    def start(handler):
        server = Server(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server.server_port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
