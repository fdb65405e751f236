"""compose.yaml, as Compose understands it (its schema, names filled in, every profile), and what each of its services must
keep to: no root, no capability, nothing to write but its volumes, secrets as files, no port beyond this machine."""

import os
import subprocess
import sys

import yaml


def understood():
    """What Compose makes of the file, all profiles in it. Only what the file names reaches it."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        ["docker-compose", "--file", "compose.yaml", "config"], capture_output=True, text=True, env=environment
    )
    if done.returncode != 0:
        sys.exit(done.stderr)
    return yaml.safe_load(done.stdout)


def image_user():
    """The user that the last stage of the Containerfile ends with."""
    with open("Containerfile") as file:
        users = [line.split()[1] for line in file if line.startswith("USER ")]
    return users[-1] if users else "root"


def faults_of(name, service):
    if not service.get("read_only"):
        yield "its file system can be written"
    if service.get("cap_drop") != ["ALL"] or service.get("cap_add"):
        yield "it has capabilities"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield "it can gain privileges"
    if service.get("privileged") or service.get("pid") == "host" or service.get("network_mode") == "host":
        yield "it is not contained"
    user = str(service.get("user", image_user()))
    if user.split(":")[0] in ("root", "0"):
        yield "it runs as root"
    for port in service.get("ports", []):
        if not str(port).startswith("127.0.0.1:"):
            yield f"its port {port} is open to other machines"
    for key, value in (service.get("environment") or {}).items():
        if any(word in key for word in ("PASSWORD", "SECRET", "DATABASE_URL")) and not str(value).startswith("/run/secrets/"):
            yield f"{key} is no file under /run/secrets"
    if "restart" not in service:
        yield "it stays down"
    # A lock worker's health is the hub's to tell: it has no port to be asked at.
    if name != "lock-agent" and "healthcheck" not in service:
        yield "nobody asks whether it works"


def main():
    faults = []
    services = understood()["services"]
    unasked = sorted(name for name, service in services.items() if not service.get("profiles"))
    if unasked != ["hub", "postgres"]:
        faults.append(f"without a profile there are {unasked}")
    if services["hub"]["depends_on"] != {"postgres": {"condition": "service_healthy"}}:
        faults.append("hub: it does not wait for postgres")
    if services["lock-agent"].get("devices") != ["/dev/gpiochip0:/dev/gpiochip0"]:
        faults.append("lock-agent: it has other devices than the GPIO chip")
    for name, service in services.items():
        faults += [f"{name}: {fault}" for fault in faults_of(name, service)]
    print("\n".join(faults) or f"{len(services)} services: {', '.join(sorted(services))}")
    return bool(faults)


sys.exit(main())
