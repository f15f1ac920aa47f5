"""A command in Python, for wasi:cli 0.2: it reports what it was given, as README.md lists it."""

import os
import pathlib
import sys
import time

from wit_world import exports
from wit_world.imports import exit as wasi_exit


class Run(exports.Run):
    def run(self) -> None:
        arguments = sys.argv[1:]
        for number, argument in enumerate(arguments, 1):
            print(f"arg {number}: {argument}")
        print(f"GREETING={os.environ['GREETING']}")
        motd = pathlib.Path(os.environ["CONFIG_DIR"], "motd").read_text(encoding="utf-8")
        print(f"config: {motd.strip()}")
        note = pathlib.Path("/note.txt")
        note.write_text("kept by python", encoding="utf-8")
        print(f"note: {note.read_text(encoding='utf-8')}")

        if not pathlib.Path("/nowhere").exists():
            print("a missing file is missing")
        if sys.stdin.read() == "":
            print("stdin is empty")
        if os.urandom(16) != os.urandom(16):
            print("random differs")
        if time.gmtime().tm_year >= 2024:
            print("the clock is set")
        began = time.monotonic()
        time.sleep(0.05)
        if time.monotonic() - began >= 0.05:
            print("slept")
        print("a word on stderr", file=sys.stderr)

        match arguments:
            case ["exit", code]:
                # sys.exit(7) would end it with 1: the wrapper knows only success and failure.
                sys.stdout.flush()
                wasi_exit.exit_with_code(int(code))
            case ["panic"]:
                raise RuntimeError("asked to")
