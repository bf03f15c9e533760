"""The core in CPython, through UniFFI, against a real server.

Joins, receives a typed alert, sends one queued message; then what hosts get wrong: an error with a
code, a pull that is cancelled, an exit with a client still open.

    cargo xtask probe python

Needs the generated bindings with the library beside them (WARDLINE_PYTHON, default
bindings/python/generated), and a server started with `serve --dev` (WARDLINE_URL, WARDLINE_TOKEN);
where none is named, one of its own (WARDLINE_SERVER, default target/debug/wardline-server).
"""

import asyncio
import atexit
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
GENERATED = pathlib.Path(os.environ.get("WARDLINE_PYTHON", ROOT / "bindings/python/generated"))
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
SERVER = pathlib.Path(os.environ.get("WARDLINE_SERVER", TARGET / "debug/wardline-server"))

# The modules import each other as parts of one package.
sys.path.insert(0, str(GENERATED.parent))
core = importlib.import_module(f"{GENERATED.name}.wardline")
ffi = importlib.import_module(f"{GENERATED.name}.wardline_ffi")

# CPython before 3.14 ends foreign threads by force at its exit.
atexit.register(ffi.shutdown)


class Server:
    """The server that is named, or one of its own, on a port of its own."""

    def __init__(self, folder):
        self.process = None
        if "WARDLINE_URL" in os.environ:
            self.url, self.token = os.environ["WARDLINE_URL"], os.environ["WARDLINE_TOKEN"]
            return
        command = [str(SERVER), "serve", "--dev", "--port", "0"]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "LOG_LEVEL": "error"},
            stdout=subprocess.PIPE,
            text=True,
        )
        said = {}
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            said[word] = rest.strip()
            if word == "listening":
                break
        self.url, self.token = said["url"], said["token"]

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=20)


async def message(room):
    """The next event of a room that is a message."""
    while True:
        event = await asyncio.wait_for(room.next_event(), 10)
        assert event is not None, "the room ended"
        if isinstance(event, ffi.RoomEvent.MESSAGE):
            return event.event


async def probe(server, folder):
    client = ffi.Client(
        ffi.Config(
            url=server.url,
            token=server.token,
            storage=str(pathlib.Path(folder, "outbox.db")),
            sdk="wardline-python",
        )
    )
    # Queued while offline, in a store that outlives the process.
    queued = await client.send("notes", "note", json.dumps({"text": "seen at the gate"}), None)
    await client.connect()
    assert client.status() == core.Status.CONNECTED, client.status()
    established = None
    while not isinstance(established, ffi.ClientEvent.ESTABLISHED):
        established = await asyncio.wait_for(client.next_event(), 10)
    assert (established.tenant, established.user) == ("demo", "you"), established

    outcome = await asyncio.wait_for(queued.outcome(), 10)
    assert isinstance(outcome, core.Outcome.ACCEPTED), outcome
    notes = await client.join("notes", ffi.JoinOptions(from_first=True))
    note = await message(notes)
    assert (note.name, note.id) == ("note", queued.id()), note
    assert json.loads(note.payload.data) == {"text": "seen at the gate"}, note

    alerts = await client.subscribe_to_alerts(["intrusion"], [])
    raised = await client.create_alert(
        core.NewAlert(kind="intrusion", severity=core.Severity.HIGH, title="Door forced",
                      description=None, source=None, metadata=None, room=None)
    )
    event = await message(alerts)
    alert = event.payload.event[0]
    assert isinstance(event.payload.event, core.AlertEvent.CREATED), event.payload
    assert (alert.id, alert.severity) == (raised.id, core.Severity.HIGH), alert

    try:
        await client.acknowledge_alert("no such alert", None)
        raise AssertionError("an alert that is not there was acknowledged")
    except core.Error as error:
        assert error.code == "not_found" and not ffi.is_retryable(error), error

    # A pull that is given up takes nothing with it.
    try:
        await asyncio.wait_for(alerts.next_event(), 0.05)
    except asyncio.TimeoutError:
        pass
    await client.acknowledge_alert(raised.id, "on my way")
    event = await message(alerts)
    assert isinstance(event.payload.event, core.AlertEvent.ACKNOWLEDGED), event.payload

    # Leaving ends a pull that waits.
    pull = asyncio.create_task(notes.next_batch(10))
    await asyncio.sleep(0)
    await notes.leave()
    while await asyncio.wait_for(pull, 10):
        pull = asyncio.create_task(notes.next_batch(10))
    await client.disconnect()
    # Left open on purpose: the exit must not hang or abort.
    return client


def main():
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        try:
            kept = asyncio.run(asyncio.wait_for(probe(server, folder), 60))
        finally:
            server.stop()
        assert kept.status() == core.Status.DISCONNECTED
    print("python: joined, a typed alert came, one queued message was accepted")


main()
