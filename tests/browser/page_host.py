"""A web host that knows nothing of the page, and gives it below a path."""

import functools
import http.server
import threading
from dataclasses import dataclass
from pathlib import Path

FOLDER = "some/path"


class Handler(http.server.SimpleHTTPRequestHandler):
    """A web host that knows nothing of the page."""

    def log_message(self, *words: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    """Says nothing of callers who hang up."""

    def handle_error(self, *words: object) -> None:
        pass


@dataclass
class Host:
    """Static files on a free port, below a path."""

    url: str
    server: Server
    folder: Path

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def serve(folder: Path) -> Host:
    handler = functools.partial(Handler, directory=str(folder))
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return Host(f"http://127.0.0.1:{server.server_port}/{FOLDER}/", server, folder / FOLDER)
