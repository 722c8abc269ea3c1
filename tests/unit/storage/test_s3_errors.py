"""What storage answers, in words that name the mend."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from posemill.errors import RunFault
from posemill.storage.store import open_store

XML = b"<Error><Code>NotImplemented</Code><Message>A header implies what is not implemented</Message></Error>"


@pytest.mark.parametrize("body", [XML, b""], ids=["with a code", "with a status alone"])
def test_a_server_that_knows_no_checksums_is_told_with_boto3_s_own_variable(body: bytes) -> None:
    class Old(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(501)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Old) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        store = open_store("s3://bucket", endpoint_url=f"http://127.0.0.1:{server.server_address[1]}",
                           access_key="key", secret_key="secret", region="us-east-1")  # fmt: skip
        try:
            with pytest.raises(RunFault, match="AWS_REQUEST_CHECKSUM_CALCULATION=when_required"):
                store.put("key", b"content")
        finally:
            server.shutdown()
            thread.join()
