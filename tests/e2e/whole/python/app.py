"""Says hello, and with which library."""

import http.server
import importlib.metadata
import os

import click


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        version = importlib.metadata.version("click")
        text = f"{click.unstyle('hello')} from click {version} as {os.getuid()}\n"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Hello).serve_forever()
