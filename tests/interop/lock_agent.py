"""A lock worker as a process of its own, as on another machine."""

import signal
import subprocess

from hub import BINARY


class LockAgent:
    """`portcullis lock-agent` for a hub whose LOCK_AGENT is remote."""

    def __init__(self, hub, credentials, **settings):
        wanted = {
            "MQTT_URL": hub.mqtt_url,
            "MQTT_USERNAME": credentials["username"],
            "MQTT_PASSWORD": credentials["password"],
            **settings,
        }
        environment = hub.environment(**{**hub.WORKER, **wanted})
        # It knows the hub by MQTT alone.
        for name in ("DATA_DIR", "PORT", "MQTT_PORT", "LOCK_AGENT"):
            environment.pop(name, None)
        self.path = hub.folder / "lock-agent.log"
        self.log = self.path.open("ab")
        self.process = subprocess.Popen(
            [BINARY, "lock-agent"],
            cwd=hub.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.ended()

    def ended(self):
        """Its exit code."""
        code = self.process.wait(15)
        self.log.close()
        return code
