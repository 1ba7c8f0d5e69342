"""Ctrl-C is answered at once, whatever the process is doing."""

import signal
import subprocess
import sys
import time

import pytest

from graftwork.core.cli.interruption import interruptible

HEAD = """
import multiprocessing, threading, time
from concurrent.futures import ThreadPoolExecutor
from graftwork.core.cli.interruption import interruptible
def wait():
    time.sleep(60)
def click():
    import typer
    app = typer.Typer()
    @app.command()
    def run():
        print("in", flush=True)
        time.sleep(60)
    app([])
with interruptible("interrupted; go on with --resume"):
"""
BUSY = {
    "waiting": "    print('in', flush=True); wait()",
    "in threads that do not end": "    with ThreadPoolExecutor(2) as pool:\n"
    "        print('in', flush=True); list(pool.map(lambda _: wait(), range(4)))",
    "with a worker process": "    one = multiprocessing.get_context('fork').Process(target=wait); one.start()\n"
    "    print('in', flush=True); one.join()",
    "within a command": "    click()",
}


@pytest.mark.parametrize("busy", BUSY)
def test_one_sentence_and_the_end(busy):
    with subprocess.Popen([sys.executable, "-c", HEAD + BUSY[busy]], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert time.monotonic() - began < 5  # half a second on a machine that does nothing else
    assert (process.returncode, said) == (130, "interrupted; go on with --resume\n")


def test_afterwards_an_interrupt_is_what_it_was():
    before = signal.getsignal(signal.SIGINT)
    with interruptible(""):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_second_interrupt_and_a_stderr_that_nobody_reads_change_nothing():
    code = HEAD + BUSY["waiting"]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stderr.close()
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130


def test_what_a_shell_runs_in_the_background_is_not_interrupted():
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        + HEAD
        + ("    print('in', flush=True); time.sleep(1); print('done', flush=True)")
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[0] == "done\n"
    assert process.returncode == 0
