"""The proxies' examples of deploy/, as they stand but for names, ports and certificates: what passes through them, and whom
the hub sees behind them."""

import os
import pathlib
import shutil
import subprocess

import pytest
import requests
import requests.adapters

from clients import PahoDevice, PythonDashboard
from hub import ROOT, Hub, free_port, short_temporary_folder
from waiting import until

STREAM_MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")


class Proxy:
    """A proxy's process before a hub, and where its clients find it."""

    def __init__(self, hub):
        self.hub = hub
        self.folder = short_temporary_folder()
        self.port, self.mqtt_port = free_port(), free_port()
        self.url = f"https://localhost:{self.port}"
        self.ca = self.folder / "fullchain.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", self.folder / "privkey.pem",
             "-out", self.ca],
            check=True, capture_output=True,
        )  # fmt: skip
        self.log = (self.folder / "log").open("wb")
        self.process = self.start()
        until(self.answers, "the proxy passes requests on")

    def answers(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        return requests.get(f"{self.url}/healthz", verify=self.ca, timeout=5).ok

    def example(self, path, *changes):
        text = (ROOT / "deploy" / path).read_text()
        own = [
            ("hub.example.org", "localhost"),
            ("/etc/portcullis/tls", str(self.folder)),
            ("127.0.0.1:3000", f"127.0.0.1:{self.hub.port}"),
            ("127.0.0.1:1883", f"127.0.0.1:{self.hub.mqtt_port}"),
        ]
        for old, new in [*own, *changes]:
            assert old in text or (old, new) in own, f"{old} is not in {path}"
            text = text.replace(old, new)
        return text

    def run(self, *command):
        environment = {**os.environ, "HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)}
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment)

    def close(self):
        self.process.terminate()
        self.process.wait(15)
        self.log.close()
        shutil.rmtree(self.folder)


class Nginx(Proxy):
    def start(self):
        plain = free_port()
        site = self.example(
            "nginx/portcullis.conf",
            (" 80;", f" {plain};"), (":80;", f":{plain};"), (" 443 ", f" {self.port} "), (":443 ", f":{self.port} "),
        )  # fmt: skip
        stream = self.example(
            "nginx/portcullis-mqtt-stream.conf", (" 8883 ", f" {self.mqtt_port} "), (":8883 ", f":{self.mqtt_port} ")
        )
        temporary = "".join(
            f"{name}_temp_path {self.folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.folder / "nginx.conf").write_text(
            f"load_module {STREAM_MODULE};\npid {self.folder}/pid;\ndaemon off;\nevents {{ }}\n"
            f"http {{\naccess_log off;\n{temporary}\n{site}\n}}\n{stream}"
        )
        return self.run("nginx", "-e", "stderr", "-c", self.folder / "nginx.conf")


class Caddy(Proxy):
    def start(self):
        site = self.example(
            "caddy/Caddyfile",
            ("\nlocalhost {", f"\nhttps://localhost:{self.port} {{\n\ttls {self.ca} {self.folder}/privkey.pem"),
        )
        config = self.folder / "Caddyfile"
        config.write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + site)
        return self.run("caddy", "run", "--adapter", "caddyfile", "--config", config)


@pytest.fixture(scope="module")
def behind(request):
    """A hub that believes its proxy."""
    hub = Hub(TRUSTED_PROXIES="127.0.0.1")
    request.addfinalizer(hub.remove)
    return hub.start()


@pytest.fixture(params=[Nginx, Caddy])
def proxy(request, behind, closing):
    return closing(request.param(behind))


@pytest.fixture
def engine(behind):
    name = f"engine-{os.urandom(4).hex()}"
    return behind.device(name, "ai-engine")


def session_from(address):
    """HTTP from another of this machine's addresses, so that proxy and client can be told apart."""
    session = requests.Session()
    adapter = requests.adapters.HTTPAdapter()
    adapter.init_poolmanager(1, 1, source_address=(address, 0))
    session.mount("https://", adapter)
    return session


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_detection_passes_in_and_out(proxy, behind, engine, closing, detection, transport):
    dashboard = closing(PythonDashboard(proxy.url, behind.token(), transports=[transport], ca=proxy.ca))
    dashboard.wait("connection")
    device = closing(PahoDevice(behind, engine, port=proxy.port, path="/mqtt", ca=proxy.ca))
    report = detection(2)
    assert device.publish("camera/1/detections", report) == 0
    dashboard.wait("event:detected", lambda event: event["detectionId"] == report["detectionId"])


def test_the_hub_sees_the_client_and_not_the_proxy(proxy, behind):
    session = session_from("127.0.0.2")
    headers = {"Authorization": f"Bearer {behind.token()}", "X-Forwarded-For": "203.0.113.9"}
    answer = session.post(f"{proxy.url}/api/lock/open", headers=headers, verify=proxy.ca, timeout=15)
    assert answer.status_code == 200, answer.text
    assert behind.get("/api/lock/history?limit=1")[0]["address"] == "127.0.0.2", "no hearsay either"


def test_mqtt_by_tls_through_nginx(behind, engine, closing, detection):
    proxy = closing(Nginx(behind))
    device = closing(PahoDevice(behind, engine, port=proxy.mqtt_port, ca=proxy.ca))
    assert device.subscribe("camera/+/events") == 1
    report = detection(1)
    assert device.publish("camera/1/detections", report) == 0
    device.wait("camera/1/events", lambda heard: heard.payload["detectionId"] == report["detectionId"])
