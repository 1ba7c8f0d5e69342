"""Ctrl-C and requests to end are answered at once, whatever the process is doing; a loop may first leave by itself."""

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
with interruptible("interrupted; go on", "asked to end"):
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
    assert (process.returncode, said) == (130, "interrupted; go on\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("busy", ["waiting", "in threads that do not end", "with a worker process"])
def test_a_request_to_end_ends_what_keeps_nothing_with_its_own_status(busy, number):
    with subprocess.Popen([sys.executable, "-c", HEAD + BUSY[busy]], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        began = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
        assert time.monotonic() - began < 5
    assert (process.returncode, said) == (75, "asked to end\n")


LOOP = """
    from graftwork.core.compute.preemption import PreemptedError, asked_to_end, leaving_by_itself
    with leaving_by_itself():
        print('in', flush=True)
        while not asked_to_end():
            pass
        time.sleep(1)
        {last}
"""


@pytest.mark.parametrize(("last", "said"), [
    ("print('kept'); raise PreemptedError", ""),
    ("print('kept')", ""),  # the end of the block is the end
    ("print('kept'); raise OSError('gone')", "left with OSError: gone\n"),
])  # fmt: skip
def test_a_loop_that_keeps_where_it_stands_is_waited_for(last, said):
    code = HEAD + LOOP.format(last=last) + "\n    print('went on')"
    with subprocess.Popen([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        process.send_signal(signal.SIGUSR1)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (75, "kept\n", "asked to end\n" + said)


def test_a_process_whose_neighbour_was_asked_leaves_as_if_it_were():
    code = HEAD + (
        "    from graftwork.core.compute.preemption import PreemptedError, ask_oneself, leaving_by_itself\n"
        "    with leaving_by_itself():\n"
        "        ask_oneself(); print('kept'); raise PreemptedError"
    )
    done = subprocess.run([sys.executable, "-u", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (75, "kept\n", "asked to end\n")


def test_a_child_that_is_ended_ends_nobody_else():
    code = HEAD + (
        "    import os, signal\n"
        "    one = multiprocessing.get_context('fork').Process(target=wait); one.start()\n"
        "    time.sleep(0.2); one.terminate(); one.join(); time.sleep(0.7)\n"
        "    print(one.exitcode == -signal.SIGTERM)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_afterwards_an_interrupt_is_what_it_was():
    heard = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in heard]
    with interruptible(""):
        assert all(signal.getsignal(number) is not one for number, one in zip(heard, before, strict=True))
    assert [signal.getsignal(number) for number in heard] == before
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
