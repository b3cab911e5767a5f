# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback: one line per change and per long-running task, and the full message of failures."""

from __future__ import annotations

DOCUMENTATION = r"""
name: quiet
type: stdout
short_description: One line per change and per long-running task, and nothing else
version_added: 1.0.0
author: miniweb.stack maintainers (@miniweb)
description:
  - Prints one line for every task that changed something, with the host, the role, the task, and what was done, if the
    module returns a list called C(actions), as M(miniweb.stack.compose_service) does. Nothing is printed for unchanged
    tasks.
  - A task that is still running after O(progress_seconds) is named with the hosts that it is running on, and again after 3
    and 6 times as long, and then each time 6 times as long has passed. With the default, that is 10, 30 and 60 seconds, and
    then every minute. M(ansible.builtin.pause) is left out, because it prints its own prompt.
  - A task that failed is shown with its message and everything else that its result holds, multi-line texts as lines. A failure that
    is ignored or rescued says so and is shown with its message and what the program printed.
  - Messages of M(ansible.builtin.debug), warnings, deprecations and, in diff mode, differences are always shown. What
    C(no_log) hides stays hidden, including the message of a failure.
  - The last lines say for each host how much changed, how many tasks ran, and how many seconds the whole run took.
  - Before each task it takes what Ansible has loaded out of the care of Python's garbage collector (C(gc.freeze)), which makes a run that
    changes nothing a quarter shorter.
  - With C(-v), everything is printed as P(ansible.builtin.default#callback) prints it, without progress. O(display_ok_hosts),
    O(display_skipped_hosts), O(check_mode_markers) and O(show_task_path_on_failure) only matter there.
requirements:
  - "Set as stdout callback: C(stdout_callback = miniweb.stack.quiet) in the section C([defaults]) of C(ansible.cfg), or
    C(ANSIBLE_STDOUT_CALLBACK=miniweb.stack.quiet) in the environment."
options:
  progress_seconds:
    description: Seconds after which a running task is named for the first time. V(0) means never.
    type: int
    default: 10
    env:
      - name: MINIWEB_PROGRESS_SECONDS
    ini:
      - section: callback_quiet
        key: progress_seconds
extends_documentation_fragment:
  - default_callback
  - result_format_callback
seealso:
  - plugin: ansible.builtin.default
    plugin_type: callback
"""

import contextlib
import dataclasses
import gc
import sys
import textwrap
import threading
import time
import typing as t

from ansible import constants as C
from ansible import context
from ansible.playbook.block import Block
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils.fqcn import add_internal_fqcns

PROMPTS = add_internal_fqcns(("pause",))
# Keys of a failure's result that do not help to understand it, or are printed elsewhere.
UNTOLD = (
    "ansible_facts",
    "changed",
    "delta",
    "deprecations",
    "diff",
    "end",
    "exception",
    "failed",
    "failed_when_result",
    "invocation",
    "msg",
    "start",
    "stderr_lines",
    "stdout_lines",
    "warnings",
)
# Keys that explain a failure that does not end the play; -v prints the rest.
EXPLAINING = ("logs", "message", "module_stderr", "stderr", "stdout")


@dataclasses.dataclass
class Running:
    """A task that hosts are running; `where` is its role and name.

    Times are seconds of the monotonic clock. The next progress line is due at an age of `intervals` * progress_seconds.
    """

    where: tuple[str, ...]
    began: float
    hosts: dict[str, str] = dataclasses.field(default_factory=dict)
    intervals: int = 1

    def due(self, seconds: int) -> float:
        return self.began + self.intervals * seconds

    def postpone(self, now: float, seconds: int) -> None:
        while self.due(seconds) <= now:
            self.intervals = {1: 3, 3: 6}.get(self.intervals, self.intervals + 6)


def place(task: t.Any) -> tuple[str, ...]:
    """Return the task's role, if it has one, and its name."""
    role = (task._role.get_name(include_role_fqcn=False),) if task._role else ()
    return (*role, " ".join((task.name or task.action).split()))


def columns(*words: str) -> str:
    return "  ".join(words)


def actions(found: dict[str, t.Any]) -> str:
    """Return what a module did, as it reports it in `actions`; empty if it does not."""
    value = found.get("actions")
    return ", ".join(value) if isinstance(value, list) and all(isinstance(one, str) for one in value) else ""


def is_rescued(task: t.Any) -> bool:
    """Return whether the play continues in a `rescue` after a failure of this task."""
    inner, parent = {task._uuid}, task._parent
    while parent is not None:
        # Imported tasks are listed directly in the block, although their parent is the import.
        if isinstance(parent, Block) and parent.rescue and inner & {one._uuid for one in parent.block}:
            return True
        inner.add(parent._uuid)
        parent = parent._parent
    return False


def causes(result: t.Any) -> list[t.Any]:
    """Return Ansible's own explanation of a failure, the root cause last; empty before ansible-core 2.19."""
    event = getattr(getattr(result, "exception", None), "event", None)
    found = []
    while event is not None:
        found.append(event)
        event = getattr(getattr(event, "chain", None), "event", None)
    return found


def telling(found: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return a result without Ansible's internal keys and without the loop item, unless the item is all there is."""
    own = {name: value for name, value in found.items() if not name.startswith("_ansible")}
    item = own.pop("ansible_loop_var", None)
    return {name: value for name, value in own.items() if name != item} or own


class CallbackModule(Default):
    """Callback plugin."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "miniweb.stack.quiet"

    def __init__(self) -> None:
        super().__init__()
        self._began = time.monotonic()
        self._running: dict[str, Running] = {}
        self._running_lock = threading.Lock()
        self._progress: threading.Thread | None = None
        self._over = threading.Event()
        if self._display.verbosity:
            for name in vars(CallbackModule):
                if name.startswith("v2_"):
                    setattr(self, name, getattr(super(), name))

    # -- the run ------------------------------------------------------------------------------------------------------

    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        if context.CLIARGS["check"]:
            self._say("Check mode: the lines say what would change.", C.COLOR_VERBOSE)

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        if self._progress is None and self.get_option("progress_seconds") > 0:
            self._progress = threading.Thread(target=self._name_running, daemon=True)
            self._progress.start()

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        pass

    def v2_playbook_on_include(self, included_file: t.Any) -> None:
        pass

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        self._over.set()
        seconds = time.monotonic() - self._began
        would = "would change" if context.CLIARGS["check"] else "changed"
        for host in sorted(stats.processed):
            counts = stats.summarize(host)
            bad = counts["unreachable"] or counts["failures"]
            words = ["unreachable"] if counts["unreachable"] else []
            words += [f"{counts['failures']} failed"] if counts["failures"] else []
            words += [f"{counts['changed'] or 'nothing'} {would}"]
            words += [f"{counts[name]} {name}" for name in ("rescued", "ignored") if counts[name]]
            tasks = sum(counts[name] for name in ("ok", "failures", "unreachable", "rescued"))
            ran = f"{tasks} task{'' if tasks == 1 else 's'}, {seconds:.0f} s"
            color = C.COLOR_ERROR if bad else C.COLOR_CHANGED if counts["changed"] else C.COLOR_OK
            self._say(f"{host}: {', '.join(words)} ({ran})", color)
        if stats.custom and self.get_option("show_custom_stats"):
            for host, values in sorted(stats.custom.items()):
                self._say("\n".join([f"{'run' if host == '_run' else host}:", *self._told(values)]))

    # -- tasks --------------------------------------------------------------------------------------------------------

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        self._announce(task)

    def v2_playbook_on_handler_task_start(self, task: t.Any) -> None:
        self._announce(task)

    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:
        super().v2_runner_on_start(host, task)
        label = host.get_name()
        # Templates have not been evaluated yet.
        if task.delegate_to and task.delegate_to != label and "{{" not in task.delegate_to:
            label += f" -> {task.delegate_to}"
        with self._running_lock:
            running = self._running.setdefault(task._uuid, Running(place(task), time.monotonic()))
            if task.action not in PROMPTS:
                running.hosts[host.get_name()] = label

    def v2_runner_on_ok(self, result: t.Any) -> None:
        self._end(result)
        self._handle_warnings(result._result)
        # The items of a loop have been reported one by one.
        if not self._is_loop(result):
            self._tell_success(result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        self._end(result)
        self._handle_warnings(result._result)
        if not self._is_loop(result):
            self._tell_failure(result)

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        self._end(result)
        self._handle_warnings(result._result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        self._end(result)
        self._handle_warnings(result._result)
        self._tell_failure(result, unreachable=True)

    def v2_runner_item_on_ok(self, result: t.Any) -> None:
        self._handle_warnings(result._result)
        self._tell_success(result, self._item(result))

    def v2_runner_item_on_failed(self, result: t.Any) -> None:
        self._handle_warnings(result._result)
        self._tell_failure(result, item=self._item(result))

    def v2_runner_item_on_skipped(self, result: t.Any) -> None:
        self._handle_warnings(result._result)

    def v2_runner_retry(self, result: t.Any) -> None:
        pass

    def v2_runner_on_async_poll(self, result: t.Any) -> None:
        pass

    def v2_runner_on_async_ok(self, result: t.Any) -> None:
        pass

    def v2_runner_on_async_failed(self, result: t.Any) -> None:
        pass

    def v2_on_file_diff(self, result: t.Any) -> None:
        # Each diff is printed after the line it belongs to.
        pass

    # -- what is printed ----------------------------------------------------------------------------------------------

    def _tell_success(self, result: t.Any, item: str = "") -> None:
        found, task = result._result, result._task
        if task.action in C._ACTION_DEBUG and "censored" not in found:
            self._clean_results(found, task.action)
            lines = self._told({"": found["msg"]} if "msg" in found else telling(found))
            self._say(self._headed(f"{self._where(result)}{item}", lines), C.COLOR_OK)
        elif found.get("changed"):
            done = actions(found)
            dry = " (check mode)" if task.check_mode and not context.CLIARGS["check"] else ""
            self._say(f"{self._where(result)}{item}{f': {done}' if done else ''}{dry}", C.COLOR_CHANGED)
            diff = self._get_diff(found["diff"]) if task.diff and found.get("diff") else ""
            if diff:
                self._say(diff.rstrip("\n"))

    def _tell_failure(self, result: t.Any, unreachable: bool = False, item: str = "") -> None:
        found, task = result._result, result._task
        reasons = causes(result)
        if "censored" in found:
            found, reasons = {"msg": found["censored"]}, []
        if task.ignore_unreachable if unreachable else task.ignore_errors:
            end = ", ignored"
        elif not unreachable and is_rescued(task):
            end = ", rescued"
        else:
            end = ""
        message = found.get("msg", "")
        lines = [f"{self._where(result)}{item}: {'unreachable' if unreachable else 'failed'}{end}"]
        lines += self._told({"": message})
        to_stderr = self.get_option("display_failed_stderr")
        if end or unreachable:
            if reasons and reasons[-1].msg not in str(message):
                lines += self._told({"": reasons[-1].msg})
            lines += self._told({name: found[name] for name in EXPLAINING if name in found})
            self._say("\n".join(lines), C.COLOR_WARN if end else C.COLOR_UNREACHABLE, to_stderr)
            return
        lines += self._told({name: value for name, value in sorted(telling(found).items()) if name not in UNTOLD})
        lines += [f"  in {task.get_path()}"] if task.get_path() else []
        self._say("\n".join(lines), C.COLOR_ERROR, to_stderr)
        # Since ansible-core 2.19, Ansible explains every failure. A module's message alone has already been printed.
        if not reasons or reasons[-1].msg != message or any(one.formatted_traceback for one in reasons):
            self._handle_exception(found, use_stderr=to_stderr)

    def _told(self, values: dict[str, t.Any]) -> list[str]:
        """Return named values as lines: strings verbatim, empty values omitted.

        :param values: values of a result by name; a value with an empty name is shown without one.
        """
        lines: list[str] = []
        for name, value in values.items():
            if isinstance(value, list) and all(isinstance(one, str) for one in value):
                value = "\n".join(value)
            if isinstance(value, (dict, list)) and value:
                text = self._dump_results(
                    {name: value} if name else value if isinstance(value, dict) else {"msg": value}
                )
                shown = textwrap.dedent(text).strip().splitlines()
            else:
                text = "" if value in (None, {}, []) else str(value)
                shown = [line.rstrip() for line in text.strip("\n").splitlines()]
                if name and len(shown) > 1:
                    shown = [f"{name}:", *(f"  {line}" for line in shown)]
                elif name and shown:
                    shown = [f"{name}: {shown[0]}"]
            lines += [f"  {line}".rstrip() for line in shown]
        return lines

    @staticmethod
    def _headed(head: str, lines: list[str]) -> str:
        return f"{head}: {lines[0].strip()}" if len(lines) == 1 else "\n".join([f"{head}:", *lines])

    def _where(self, result: t.Any) -> str:
        """Return host, role and name of a task that has ended."""
        return columns(self.host_label(result), *place(result._task))

    def _item(self, result: t.Any) -> str:
        return f" ({' '.join(str(self._get_item_label(result._result)).split())})"

    @staticmethod
    def _is_loop(result: t.Any) -> bool:
        return bool(result._task.loop) and "results" in result._result

    def _say(self, text: str, color: str | None = None, to_stderr: bool = False) -> None:
        # The reader of a pipe may have closed it; the run continues.
        with contextlib.suppress(BrokenPipeError):
            self._display.display(text, color=color, stderr=to_stderr)
            # Ansible flushes only at the end of the run; until then nothing would reach a pipe.
            (sys.stderr if to_stderr else sys.stdout).flush()

    # -- progress -----------------------------------------------------------------------------------------------------

    def _announce(self, task: t.Any) -> None:
        """Record the task's name, which is evaluated only here, and its start, unless other hosts have started it."""
        # Each task is a new process. In it, Python's collector would look through all that Ansible has loaded, again and again: a
        # quarter of a run without changes.
        gc.freeze()
        with self._running_lock:
            if task._uuid not in self._running or not self._running[task._uuid].hosts:
                self._running[task._uuid] = Running(place(task), time.monotonic())

    def _end(self, result: t.Any) -> None:
        with self._running_lock:
            running = self._running.get(result._task._uuid)
            if running:
                running.hosts.pop(result._host.get_name(), None)

    def _name_running(self) -> None:
        """Print the long-running tasks until the run is over."""
        seconds = wait = self.get_option("progress_seconds")
        while not self._over.wait(wait):
            wait = seconds
            # No finished task is printed, because its end waits for the lock, too.
            with self._running_lock:
                now = time.monotonic()
                for task in self._running.values():
                    if not task.hosts:
                        continue
                    if now >= task.due(seconds):
                        label = columns(", ".join(task.hosts.values()), *task.where)
                        self._say(f"{label}… {now - task.began:.0f} s", C.COLOR_VERBOSE)
                        task.postpone(now, seconds)
                    wait = min(wait, task.due(seconds) - now)
