"""A user's token for the hub is never sent, since all files of the catalog are public."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nada.errors import NadaError
from nada.published.catalog import MIT, Published
from nada.published.download import HUB, download

TOKEN = "hf_secret"


@pytest.fixture
def asked(monkeypatch):
    """Requests to a local server, which stands for the hub and for every other host: {path: headers}."""
    seen = {}

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            seen[self.path] = str(self.headers)
            self.send_error(404, "Not Found")

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    seen["address"] = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", seen["address"])
    yield seen
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("on_hub", [True, False])
def test_no_token_is_sent(tmp_path, asked, on_hub):
    url = f"{HUB if on_hub else asked['address']}/someone/dogs/dogs.pt"
    with pytest.raises(NadaError, match="404"):
        download(Published("dogs-16", 16, "dogs", url, MIT, 1), tmp_path)
    assert TOKEN not in asked["/someone/dogs/dogs.pt"]
