from __future__ import annotations

import random
import ssl
import subprocess
import threading
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from origin_server import Faults, OriginServer, write_zip

from geogen_hf.errors import FetchError
from geogen_hf.source.http import (
    TRANSIENT_STATUS,
    ContentRange,
    RemoteInfo,
    RetryPolicy,
    TransientError,
    check_status,
    content_range,
    is_html,
    is_transient,
    make_session,
    network_errors,
    remote_info,
    retry_after_s,
)

NOW = datetime(2025, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
MONDAY, TUESDAY = "Mon, 06 Jan 2025 01:02:03 GMT", "Tue, 07 Jan 2025 01:02:03 GMT"


@given(
    failures=st.integers(1, 200),
    asked=st.none() | st.floats(0, 1e9),
    seed=st.integers(),
)
def test_waits_are_bounded_and_honour_the_server(
    failures: int, asked: float | None, seed: int
) -> None:
    policy = RetryPolicy(base_s=0.5, max_s=30, max_retry_after_s=120)
    delay = policy.delay_s(failures, random.Random(seed), asked)
    assert delay >= min(asked or 0.0, 120)
    assert 0.25 <= delay <= 120
    assert delay <= max(30, asked or 0.0)
    assert delay == policy.delay_s(failures, random.Random(seed), asked)


def test_waits_double_and_differ_between_clients() -> None:
    policy = RetryPolicy(base_s=1, max_s=1000)
    waits = [policy.delay_s(n, random.Random(3)) for n in range(1, 8)]
    assert [round(b / a, 6) for a, b in pairwise(waits)] == [2.0] * 6
    assert len({policy.delay_s(4, random.Random(seed)) for seed in range(50)}) == 50


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 17 ", 17.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0.0),
        ("Tue, 04 Mar 2025 05:06:17 -0000", 10.0),
        ("soon", None),
        ("-3", None),
        ("²", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after_s({"Retry-After": text}, NOW) == seconds


@given(st.text())
def test_any_retry_after_is_read_without_failing(text: str) -> None:
    seconds = retry_after_s({"Retry-After": text}, NOW)
    assert seconds is None or seconds >= 0


@given(st.text())
def test_any_content_range_is_read_without_failing(text: str) -> None:
    content_range({"Content-Range": text})


def test_content_range_forms() -> None:
    def read(text: str) -> ContentRange | None:
        return content_range({"Content-Range": text})

    assert read("bytes 5-9/70") == ContentRange(5, 10, 70)
    assert read("bytes 5-9/*") == ContentRange(5, 10, None)
    assert read("bytes */70") == ContentRange(None, None, 70)
    assert read("lines 5-9/70") is None
    assert content_range({}) is None


def test_the_size_of_a_partial_answer_is_the_whole_files() -> None:
    headers = {"Content-Range": "bytes 10-19/77", "Content-Length": "10", "ETag": '"t"'}
    assert remote_info(206, headers) == RemoteInfo(77, '"t"', None, True)
    assert remote_info(200, {"Content-Length": "77"}) == RemoteInfo(77)
    assert remote_info(200, {}).size is None
    assert remote_info(200, {"Accept-Ranges": "bytes"}).accepts_ranges


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


def test_pages_are_told_from_files() -> None:
    assert is_html({"Content-Type": "TEXT/HTML"})
    assert is_html({}, b"\n <!DOCTYPE html>")
    assert not is_html({"Content-Type": "application/zip"}, b"PK\x03\x04")


def test_statuses_worth_another_try() -> None:
    for status in (*TRANSIENT_STATUS, 301, 400, 401, 403, 404, 410, 418, 499, 501, 599):
        with pytest.raises(FetchError, match="https://h/x") as caught:
            check_status(
                status, {"Retry-After": "8"}, label="images_batch_2.zip", url="https://h/x"
            )
        assert isinstance(caught.value, TransientError) == (status in TRANSIENT_STATUS)
        assert str(status) in str(caught.value)
        assert "images_batch_2.zip" in str(caught.value)
        if isinstance(caught.value, TransientError):
            assert caught.value.retry_after_s == 8
    check_status(200, {"Content-Type": "application/zip"}, label="a", url="b")
    with pytest.raises(TransientError, match="web page"):
        check_status(200, {"Content-Type": "text/html"}, label="a", url="b")


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
        with make_session(1) as session:
            with (
                pytest.raises(FetchError, match="REQUESTS_CA_BUNDLE") as caught,
                network_errors("part", url),
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
    with OriginServer(tmp_path) as proxy, make_session(1) as session:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        # No such host: only the proxy, asked for the whole URL, can have answered.
        assert session.get("http://parts.invalid/a.zip").content == content


def test_broken_connections_may_be_tried_again(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", 100_000, seed=1)
    with OriginServer(tmp_path) as origin, make_session(1) as session:
        origin.faults["a.zip"] = Faults(cut_at=[50_000])
        url = f"{origin.url}/a.zip"
        with (
            pytest.raises(TransientError, match="the connection failed"),
            network_errors("a.zip", url),
        ):
            session.get(url)
        assert session.get(url).status_code == 200
        closed = origin.url
    with pytest.raises(TransientError), network_errors("a.zip", closed):
        requests.get(closed, timeout=5)
    with pytest.raises(FetchError) as caught, network_errors("a.zip", "http://"):
        requests.get("http://", timeout=5)
    assert not isinstance(caught.value, TransientError)


def test_errors_sorted() -> None:
    assert is_transient(requests.ReadTimeout())
    assert is_transient(urllib3.exceptions.IncompleteRead(3, 4))
    assert not is_transient(requests.TooManyRedirects())
    assert not is_transient(requests.exceptions.SSLError(ssl.SSLCertVerificationError("bad")))


def test_a_session_keeps_connections(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", 1000, seed=1)
    with OriginServer(tmp_path) as origin, make_session(2) as session:
        for _ in range(5):
            session.get(f"{origin.url}/a.zip")
        assert origin.count("GET") == 5
        assert origin.connections == 1
