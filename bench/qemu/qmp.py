# SPDX-License-Identifier: BSD-2-Clause
"""A client of QEMU's monitor protocol: JSON objects, a line each, over a unix socket."""
import json
import socket

from .processes import PATIENCE, Trouble, await_that


class Monitor:
    def __init__(self, path, process):
        self.name = process.name
        self.events = []
        await_that("its monitor listens", path.exists, process)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        await_that("its monitor answers", lambda: self._connect(path), process)
        self.lines = self.socket.makefile("rb")
        self._read()  # the greeting: the machine is made
        self.ask("qmp_capabilities")

    def _connect(self, path):
        try:
            self.socket.connect(str(path))
            return True
        except ConnectionRefusedError:
            return False

    def _read(self):
        try:
            line = self.lines.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise Trouble(f"{self.name}: its monitor fell silent")
        return json.loads(line)

    def ask(self, command, **arguments):
        """The answer to a command; what else is said meanwhile is kept."""
        request = {"execute": command, "arguments": arguments}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            said = self._read()
            if "error" in said:
                raise Trouble(f"{self.name}: {command}: {said['error']['desc']}")
            if "return" in said:
                return said["return"]
            self.events.append(said)

    def await_migrated(self):
        """Return when it says that the migration has completed."""
        while True:
            event = self.events.pop(0) if self.events else self._read()
            status = event.get("data", {}).get("status")
            if event.get("event") == "MIGRATION" and status == "completed":
                return
            if status == "failed":
                why = self.ask("query-migrate").get("error-desc", "no reason given")
                raise Trouble(f"{self.name}: the migration failed: {why}")

    def close(self):
        self.lines.close()
        self.socket.close()
