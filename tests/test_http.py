from __future__ import annotations

import ssl
import subprocess
import threading
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from origin_server import Faults, OriginServer, write_zip

from geogen_hf.errors import FetchError
from geogen_hf.source.files import RETRY, TransientError
from geogen_hf.source.http_reader import (
    HttpFile,
    content_range,
    make_session,
    network_errors,
    remote_info,
    retry_after_s,
)
from geogen_hf.source.parts import Location, RemoteInfo

MONDAY, TUESDAY = "Mon, 06 Jan 2025 01:02:03 GMT", "Tue, 07 Jan 2025 01:02:03 GMT"


def file_at(url: str) -> HttpFile:
    return HttpFile(Location(url))


def test_waits_grow_from_none_to_half_a_minute() -> None:
    policy, waits = RETRY, []
    for _ in range(7):
        policy = policy.increment(error=OSError())
        waits.append(policy.get_backoff_time())
    assert waits[0] == 0
    for wait, expected in zip(waits[1:], (1, 2, 4, 8, 16, 30), strict=True):
        assert expected <= wait <= min(expected + 0.5, 30)


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime.now(timezone.utc)
    soon, gone = now + timedelta(seconds=90), now - timedelta(days=1)
    expected: dict[str, float | None] = {
        "0": 0.0,
        " 17 ": 17.0,
        format_datetime(soon, usegmt=True): 90.0,
        format_datetime(gone, usegmt=True): 0.0,
        format_datetime(soon).replace("+0000", "-0000"): 90.0,
        "9" * 5_000: None,
        **dict.fromkeys(("soon", "-3", "²", "")),
    }
    for text, seconds in expected.items():
        found = retry_after_s({"Retry-After": text})
        assert found == (seconds if seconds is None else pytest.approx(seconds, abs=5)), text
    assert retry_after_s({"RateLimit": '"resolvers";r=0;t=243'}) == 243


@given(st.text())
def test_any_retry_after_is_read_without_failing(text: str) -> None:
    seconds = retry_after_s({"Retry-After": text})
    assert seconds is None or seconds >= 0


@given(st.text())
def test_any_content_range_is_read_without_failing(text: str) -> None:
    content_range({"Content-Range": text})


def test_content_range_forms() -> None:
    def read(text: str) -> tuple[int | None, ...]:
        return content_range({"Content-Range": text})

    assert read("bytes 5-9/70") == (5, 10, 70)
    assert read("bytes 5-9/*") == (5, 10, None)
    assert read("bytes */70") == (None, None, 70)
    assert read("lines 5-9/70") == content_range({}) == (None, None, None)


def test_the_size_of_a_partial_answer_is_the_whole_files() -> None:
    headers = {"Content-Range": "bytes 10-19/77", "Content-Length": "10", "ETag": '"t"'}
    assert remote_info(206, headers) == RemoteInfo(77, '"t"')
    assert remote_info(200, {"Content-Length": "77"}) == RemoteInfo(77)
    assert remote_info(200, {}).size is None
    assert remote_info(200, {"Content-Length": "7" * 5_000}).size is None
    assert remote_info(206, {"Content-Range": f"bytes 0-0/{'7' * 5_000}"}).size is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (RemoteInfo(9, '"a"'), RemoteInfo(9, '"a"'), True),
        (RemoteInfo(9, '"a"'), RemoteInfo(9, '"b"'), False),
        (RemoteInfo(9, '"a"'), RemoteInfo(8, '"a"'), False),
        (RemoteInfo(9, 'W/"a"'), RemoteInfo(9, '"a"'), True),
        (RemoteInfo(9, '"a"', MONDAY), RemoteInfo(9, '"a"', TUESDAY), True),
        (RemoteInfo(9, None, MONDAY), RemoteInfo(9, '"a"', TUESDAY), False),
        (RemoteInfo(9, None, MONDAY), RemoteInfo(None, '"a"', MONDAY), True),
        (RemoteInfo(9), RemoteInfo(9, '"a"', MONDAY), True),
    ],
)
def test_versions_are_told_apart(one: RemoteInfo, other: RemoteInfo, same: bool) -> None:
    assert one.same_version(other) is same
    assert other.same_version(one) is same


def test_if_range_needs_a_strong_validator() -> None:
    assert RemoteInfo(9, '"a"', MONDAY).if_range() == '"a"'
    assert RemoteInfo(9, 'W/"a"', MONDAY).if_range() == MONDAY
    assert RemoteInfo(9, 'W/"a"').if_range() is None
    assert RemoteInfo(9).if_range() is None


def test_statuses_worth_another_try() -> None:
    checks = file_at("https://h/images_batch_2.zip")
    transient = (408, 425, 429, 500, 502, 503, 504)
    for status in (*transient, 301, 400, 401, 403, 404, 410, 418, 499, 501, 599):
        with pytest.raises(FetchError, match="https://h/images") as caught:
            checks.check(status, {"Retry-After": "8"})
        assert isinstance(caught.value, TransientError) == (status in transient)
        assert str(status) in str(caught.value)
        assert "images_batch_2.zip" in str(caught.value)
        if isinstance(caught.value, TransientError):
            assert caught.value.retry_after_s == 8
            assert caught.value.rate_limited == (status == 429)
    checks.check(200, {"Content-Type": "application/zip"})
    for kind in ("text/html", "TEXT/HTML; charset=utf-8"):
        with pytest.raises(TransientError, match="web page"):
            checks.check(200, {"Content-Type": kind})
    with pytest.raises(FetchError, match="gzip"):
        checks.check(200, {"Content-Encoding": "gzip"})


@pytest.fixture
def untrusted(tmp_path: Path) -> str:
    """URL of a server with a certificate of its own making."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext"
    subprocess.run(
        [*command.split(), "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    return str(certificate)


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"PK")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def test_certificates_come_from_the_environment_and_distrust_is_final(
    untrusted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(untrusted, tmp_path / "key.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hello)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *args: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    url = f"https://127.0.0.1:{server.server_port}/"
    try:
        with make_session() as session:
            with (
                pytest.raises(FetchError, match="REQUESTS_CA_BUNDLE") as caught,
                network_errors(file_at(url)),
            ):
                session.get(url)
            assert not isinstance(caught.value, TransientError)
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", untrusted)
            assert session.get(url).content == b"PK"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_proxies_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = write_zip(tmp_path / "a.zip", 1000, seed=1)
    with OriginServer(tmp_path) as proxy, make_session() as session:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        # No such host: only the proxy, asked for the whole URL, can have answered.
        assert session.get("http://parts.invalid/a.zip").content == content


def test_broken_connections_may_be_tried_again(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", 100_000, seed=1)
    with OriginServer(tmp_path) as origin, make_session() as session:
        origin.faults["a.zip"] = Faults(cut_at=[50_000])
        url = f"{origin.url}/a.zip"
        with (
            pytest.raises(TransientError, match="the connection failed"),
            network_errors(file_at(url)),
        ):
            session.get(url)
        assert session.get(url).status_code == 200
        closed = origin.url
    with pytest.raises(TransientError), network_errors(file_at(closed)):
        requests.get(closed, timeout=5)
    with pytest.raises(FetchError) as caught, network_errors(file_at("http://")):
        requests.get("http://", timeout=5)
    assert not isinstance(caught.value, TransientError)


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (requests.ReadTimeout(), True),
        (urllib3.exceptions.IncompleteRead(3, 4), True),
        (requests.exceptions.SSLError(ssl.SSLCertVerificationError("bad")), False),
    ],
)
def test_errors_sorted(error: Exception, transient: bool) -> None:
    with pytest.raises(FetchError) as caught, network_errors(file_at("https://h/a.zip")):
        raise error
    assert isinstance(caught.value, TransientError) is transient


def test_a_session_keeps_connections(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", 1000, seed=1)
    with OriginServer(tmp_path) as origin, make_session() as session:
        for _ in range(5):
            session.get(f"{origin.url}/a.zip")
        assert origin.count("GET") == 5
        assert origin.connections == 1
