# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action: check the input of roles and report all problems at once."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import ElementError
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible_collections.miniweb.stack.plugins.lookup.secret import SecretMissing
from ansible_collections.miniweb.stack.plugins.plugin_utils import applications
from ansible_collections.miniweb.stack.plugins.plugin_utils.roles import ROLES, load, options_of, trust_as_template
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import forget, remember

COLLECTION = "miniweb.stack"
# The role that wires the whole system together, and whose play checks all roles before it changes anything.
SITE = "miniweb"

PRIVATE = re.compile(r"\b__[a-z]\w*")
SECRET = re.compile(r"(password|passphrase|secret|key)$", re.IGNORECASE)
PASSWORD = re.compile(r"(password|passphrase)$", re.IGNORECASE)
# What YAML and Jinja make of values that are not in quotes; a boolean is also a number, a time also a date.
NOT_TEXT: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "number": (int, float),
    "date": (datetime.date,),
    "list": (list, tuple),
    "dictionary": (dict,),
}
# Shorter values occur in too many words to be masked everywhere, and are no real secrets.
SHORTEST_SECRET = 4
LONG_SECRET = 12

# What Python and Jinja say, and what it means to whoever wrote the value.
MEANINGS = (
    (r".*argument '(\w+)' is of type .*unable to convert to (\w+):.*", r"\1 must be a value of the type \2"),
    (r".*[Ee]lements value for option .*unable to convert to (\w+):.*", r"each entry must be a value of the type \1"),
    (r".*(?:object of type '\w+'|'\w+ object') has no attribute '?(\w+)'?.*", r"there is no \1 in it"),
    (r".*(?:[Rr]ecursive loop|recursion depth).*", "it refers to itself"),
    (
        r".*(?:has no len\(\)|is not iterable|is not subscriptable|unsupported operand|not supported between|NoneType|<class '|doesn't apply to"
        r"|must be str|can only concatenate|cannot be converted|could not convert|invalid literal for).*",
        "a value in it has the wrong type",
    ),
    (r"^Error (?:rendering template|while evaluating \w+): ", ""),
)


def tags_of(path: str) -> set[str]:
    """Return the tags that a role has in the play of the whole system: its name and those in its meta/service.yml."""
    name = os.path.basename(path)
    others = load(os.path.join(path, "meta", "service.yml")).get("tags") or []
    return {name, *others, *(["always"] if name == SITE else [])}


def selected(path: str, run_tags: t.Iterable[str], skip_tags: t.Iterable[str]) -> bool:
    """Return whether the tags of the run select the role in a directory."""
    run, skip, tags = set(run_tags), set(skip_tags), tags_of(path)
    if run and run.isdisjoint({*tags, "all", "tagged"}) and "always" not in tags:
        return False
    if "all" in skip and ("always" not in tags or "always" in skip):
        return False
    return tags.isdisjoint(skip) and "tagged" not in skip


def listed(value: t.Any) -> list[t.Any]:
    """Return a single value or a list as a list; empty for None."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def is_secret(name: str, spec: dict[str, t.Any]) -> bool:
    """Return whether the values of an option must not be shown."""
    return bool(spec.get("no_log", SECRET.search(name)))


def secrets_in(value: t.Any, name: str, spec: dict[str, t.Any], hidden: bool = False) -> t.Iterator[str]:
    """Yield the strings within an option's value that must not be shown; none of one with ``no_log: false``."""
    if spec.get("no_log") is False:
        return
    hidden = hidden or is_secret(name, spec)
    if isinstance(value, dict):
        options = spec.get("options") or {}
        for key, item in value.items():
            yield from secrets_in(item, str(key), options.get(key) or {}, hidden)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from secrets_in(item, "", {"options": spec.get("options")}, hidden)
    elif hidden and len(str(value)) >= SHORTEST_SECRET:
        yield str(value)


def shown(name: str, value: t.Any, spec: dict[str, t.Any]) -> str:
    """Describe the value of an option, as far as it may be shown."""
    if isinstance(value, (list, tuple)):
        return "is a list"
    if isinstance(value, dict):
        return "is a dictionary"
    return "has a value that is not shown here" if is_secret(name, spec) else f'is "{value}"'


def plain(reason: str) -> str:
    """Return why something cannot be evaluated without words that only mean something to programmers of Ansible."""
    text = " ".join(reason.split()).rstrip(".")
    for pattern, meaning in MEANINGS:
        text = re.sub(pattern, meaning, text)
    return text


def problems_of_value(name: str, value: t.Any, spec: dict[str, t.Any]) -> list[str]:
    """Return how a value violates the specification of its option, one sentence per problem."""
    simple = {key: item for key, item in spec.items() if key in ("type", "choices", "required")}
    if value is None and spec.get("type") in ("dict", "list"):
        return [f"{name} is empty: set it to a value of the type {spec['type']}."]
    if ArgumentSpecValidator({name: simple}).validate({name: value}).error_messages:
        choices = " or ".join(map(str, spec.get("choices") or []))
        wanted = choices or f"a value of the type {spec.get('type', 'str')}"
        return [f"{name} {shown(name, value, spec)}: set it to {wanted}."]
    if not spec.get("options") and not spec.get("elements"):
        return []
    errors = ArgumentSpecValidator({name: spec}).validate({name: value}).errors.errors
    # An element of the wrong type would otherwise be reported for its content as well.
    errors = [error for error in errors if isinstance(error, ElementError)] or errors
    return [f"{name}: {plain(error.msg)}; correct it." for error in errors]


def problems_of_text(label: str, value: t.Any, spec: dict[str, t.Any], hidden: bool = False) -> t.Iterator[str]:
    """Yield how texts within an option's value are none or cannot be used, one sentence per problem.

    The specification makes a text of anything, too late: YAML reads 012345670123 as 1402433619. In dictionaries without a
    specification, only what has the name of a secret must be text.

    :param label: the name of the option, or of a part of its value, such as ``app_secrets[0].content``.
    """
    name = re.split(r"[.\[]", label)[-1]
    hidden = hidden or is_secret(name, spec)
    options, elements = spec.get("options"), spec.get("elements")
    kind = spec.get("type", "str")
    if kind == "str":
        found = next((found for found, types in NOT_TEXT.items() if isinstance(value, types)), "")
        if found:
            seen = "" if hidden or found in ("list", "dictionary") else f' ("{value}")'
            yield f"{label} is read as a {found}{seen}, not as text: put the value in quotes where it is set."
        elif value is None and "default" in spec:
            yield f"{label} has no value: set it, or remove the line."
        elif PASSWORD.search(name) and isinstance(value, str) and re.search(r"[\x00-\x1f\x7f]", value):
            yield f"{label}: the password has a line break or another control character in it; give one without."
    elif kind == "raw":
        return
    elif isinstance(value, dict):
        for key, item in value.items():
            secret = SECRET.search(str(key)) and not isinstance(item, (dict, list, tuple))
            known = (options or {}).get(key) or {"type": "str" if secret else None}
            yield from problems_of_text(f"{label}.{key}", item, known, hidden)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from problems_of_text(f"{label}[{number}]", item, {"type": elements, "options": options}, hidden)


def from_here(path: str) -> str:
    """Return a path relative to the current directory if it is below it, otherwise unchanged."""
    here = os.path.join(os.getcwd(), "")
    return path[len(here) :] if path.startswith(here) else path


class LostSecret(t.NamedTuple):
    """A secret that is missing on the controller although data in a volume of the server need it."""

    variable: str
    path: str
    volume: str


def missing_secret(error: BaseException | None) -> str:
    """Return the path of the missing secret that caused an error; empty if the cause is another."""
    while error and not isinstance(error, SecretMissing):
        error = error.__cause__ or error.__context__
    return error.path if error else ""


class Role:
    """The input of one role, and what is wrong with it."""

    def __init__(self, path: str, variables: dict[str, t.Any], loader: t.Any, whose: str = "") -> None:
        """Load a role's rules.

        :param whose: the entry that the variables are those of, with which each problem begins.
        """
        self.name, self.whose = os.path.basename(path), whose
        self.loader = loader
        self.variables = {
            **variables,
            "ansible_role_name": self.name,
            "role_name": self.name,
            "role_path": path,
            "ansible_search_path": [path, *variables.get("ansible_search_path", [])],
        }
        # Shared by all evaluations, because creating one takes longer than most of them.
        self.templar = Templar(loader=loader, variables=self.variables)
        self.options = options_of(path)
        self.rules = load(os.path.join(path, "meta", "checks.yml"), self._templates)
        self.problems: list[str] = []
        self.wrong: set[str] = set()
        self.evaluated: set[str] = set()
        self.secrets: set[str] = set()
        self.absent = False

    def _templates(self, text: str) -> t.Any:
        return self.loader.load(trust_as_template(text))

    def check(self) -> None:
        """Find everything that the controller can find."""
        self._check_names()
        state = f"{self.name}_state"
        if state in self.options:
            self._check_option(state)
            self.absent = state not in self.wrong and self._template(self.variables.get(state)) == "absent"
        for name in self.options:
            if name != state:
                if self.absent:
                    self._check_unevaluated(name)
                else:
                    self._check_option(name)
        for check in self._active("checks"):
            self._check_condition(check)

    def lost_secrets(self) -> list[LostSecret]:
        """Return the secrets that the options would generate although data on the server may need the old ones."""
        variables = {**self.variables, "miniweb_secrets_create": False}
        found = []
        for entry in self.rules.get("kept_secrets") or []:
            name = entry["variable"]
            try:
                if self._template(variables.get(f"{self.name}_state"), variables) == "absent":
                    continue
                if self._all(listed(entry.get("when")), variables):
                    self._template(variables.get(entry.get("from", name)), variables)
            except Exception as error:
                # The check reports all other errors.
                path = missing_secret(error)
                if path:
                    found.append(LostSecret(name, path, entry["volume"]))
        return found

    def server(self) -> list[dict[str, t.Any]]:
        """Return what has to be checked on the server, for the module server_check."""
        questions = []
        for entry in [] if self.absent else self._active("server"):
            try:
                if not self._all(listed(entry.get("when")), self.variables):
                    continue
                question = self._template({key: value for key, value in entry.items() if key != "when"})
            except Exception as error:
                what = f"what the role {self.name} requires of the server"
                self._failed(": ".join([*filter(None, [self._named_in(entry)]), what]), error)
                continue
            for key in ("ports", "disk_free_mb"):
                question[key] = {name: n for name, n in (question.get(key) or {}).items() if not self._touched(name)}
            if self._touched(entry.get("engine")):
                del question["engine"]
            questions.append(question)
        return questions

    def _active(self, key: str) -> list[dict[str, t.Any]]:
        return [entry for entry in self.rules.get(key) or [] if not self.absent or entry.get("always")]

    def _check_names(self) -> None:
        for old, new in (self.rules.get("renamed") or {}).items():
            if old in self.variables:
                self._say(f"{old} is now called {new}: rename it.")
        for old, instead in (self.rules.get("replaced") or {}).items():
            if old in self.variables:
                self._say(f"{old} no longer exists: {instead}.")

    def _check_option(self, name: str) -> None:
        spec = self.options[name]
        if name not in self.variables:
            if spec.get("required"):
                self._wrong(name, f"{name} is not set, and the role {self.name} needs it: set it.")
            return
        raw = self.variables[name]
        self.secrets.update(secrets_in(raw, name, spec))
        try:
            value = self._template(raw)
        except Exception as error:
            self._wrong(name, f"{name} cannot be evaluated ({self._reason(error)}): correct it, or what it refers to.")
            return
        self.secrets.update(secrets_in(value, name, spec))
        # Many conditions refer to it.
        self.variables[name] = value
        for problem in problems_of_value(name, value, spec) or problems_of_text(name, value, spec):
            self._wrong(name, problem)

    def _check_unevaluated(self, name: str) -> None:
        """Check an option of a role that is absent, without evaluating templates: other roles may use it."""
        for problem in problems_of_text(name, self.variables.get(name, ""), self.options[name]):
            self._wrong(name, problem)

    def _check_condition(self, check: dict[str, t.Any]) -> None:
        if self._touched(check):
            return
        self._evaluate_private(check)
        variables = {**self.variables, **(check.get("vars") or {})}
        if "each" not in check:
            self._check_once(check, variables)
            return
        for name in listed(self._template(check["each"])):
            if name in self.variables and name not in self.wrong:
                self._check_once(check, {**variables, "name": name, "value": self.variables[name]})

    def _evaluate_private(self, check: dict[str, t.Any]) -> None:
        """Replace the role's private variables in a check by their values, because several conditions refer to them."""
        for name in PRIVATE.findall(str(check)):
            if name in self.variables and name not in self.evaluated:
                self.evaluated.add(name)
                # A condition may only hold for values with which it can be evaluated; the condition itself reports what it cannot.
                with contextlib.suppress(Exception):
                    self.variables[name] = self._template(self.variables[name])

    def _check_once(self, check: dict[str, t.Any], variables: dict[str, t.Any]) -> None:
        conditions = listed(check["that"])
        try:
            if self._all(listed(check.get("when")), variables) and not self._all(conditions, variables):
                self._say(self._redacted(str(self._template(check["message"], variables))))
        except Exception as error:
            about = variables["name"] if "each" in check else self._named_in(check)
            what = f'the check "{" and ".join(map(str, conditions))}" of the role {self.name}'
            self._failed(": ".join([*filter(None, [about]), what]), error)

    def _named_in(self, value: t.Any) -> str:
        """Return the names of the role's options that are in a check or any part of it."""
        return ", ".join(name for name in self.options if re.search(rf"\b{re.escape(name)}\b", str(value)))

    def _touched(self, value: t.Any) -> bool:
        """Return whether something refers to a variable that is known to be wrong, so that a report adds nothing."""
        return bool(self.wrong) and bool(re.search(rf"\b({'|'.join(map(re.escape, self.wrong))})\b", str(value)))

    def _failed(self, what: str, error: Exception) -> None:
        """Report something that cannot be evaluated, unless a wrong variable may be the cause."""
        if not self.wrong:
            self._say(f"{what} cannot be evaluated ({self._reason(error)}): correct it, or what it refers to.")

    def _wrong(self, name: str, problem: str) -> None:
        self.wrong.add(name)
        self._say(self._redacted(problem))

    def _reason(self, error: Exception) -> str:
        return self._redacted(plain(str(error)))

    def _redacted(self, text: str) -> str:
        for secret in sorted(self.secrets, key=len, reverse=True):
            # A short secret may also be part of a variable's name.
            edges = ("", "") if len(secret) >= LONG_SECRET else (r"(?<!\w)", r"(?!\w)")
            text = re.sub(re.escape(secret).join(edges), "***", text)
        return text

    def _say(self, problem: str) -> None:
        self.problems.append(" ".join([*filter(None, [self.whose]), *str(problem).split()]))

    def _template(self, value: t.Any, variables: dict[str, t.Any] | None = None) -> t.Any:
        self.templar.available_variables = variables or self.variables
        return self.templar.template(value)

    def _all(self, conditions: list[t.Any], variables: dict[str, t.Any]) -> bool:
        """Return whether all conditions hold; they are evaluated like the `when` of a task."""
        if hasattr(self.templar, "evaluate_conditional"):
            self.templar.available_variables = variables
            return all(self.templar.evaluate_conditional(condition) for condition in conditions)
        # Imported here, because only ansible-core before 2.19 needs it.
        from ansible.playbook.conditional import Conditional

        conditional = Conditional(loader=self.loader)
        conditional.when = conditions
        return conditional.evaluate_conditional(self.templar, variables)


class Application(Role):
    """The variables of an application beside the first one, which are those of the role flask_app and of its site."""

    def __init__(self, number: int, entry: dict[str, t.Any], variables: dict[str, t.Any], loader: t.Any) -> None:
        """Load the rules for an entry of miniweb_applications.

        :param number: its place in the list, from 1.
        """
        name = entry.get("flask_app_name")
        whose = f"{applications.LIST}, {name if isinstance(name, str) else f'entry {number}'}:"
        super().__init__(applications.ROLE, applications.scope(entry, variables), loader, whose)
        self.entry = entry
        self.options = applications.options()

    def check(self) -> None:
        """Find everything that the controller can find."""
        unknown = ", ".join(sorted(map(str, self.entry.keys() - self.options.keys())))
        if unknown:
            self._say(f"{unknown} cannot be set for one application: correct the name, or take it out.")
        if "flask_app_name" in self.entry:
            super().check()
        else:
            self._say("flask_app_name is not set: give the application a name that no other one has.")


class ActionModule(ActionBase):
    """Action plugin."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Check the roles and fail with all problems; never change anything."""
        result = {**super().run(tmp, task_vars), "changed": False}
        variables = task_vars or {}
        dummy, arguments = self.validate_argument_spec({"roles": {"type": "list", "elements": "str"}})
        paths = self._paths(arguments["roles"], variables)
        # The server is checked as a whole only once, before the play changes anything.
        whole = arguments["roles"] is not None and self._task._role is not None and self._stands_for_play()
        if paths:
            # The findings of an earlier play of this run may be outdated.
            forget(variables)
        if whole:
            remember(variables, values={})
        roles = [Role(path, variables, self._loader) for path in paths]
        if any(os.path.basename(path) == os.path.basename(applications.ROLE) for path in paths):
            found = applications.entries(variables, self._templar)
            roles += [Application(number, entry, variables, self._loader) for number, entry in enumerate(found, 1)]
        failure = self._fails_for_lost_secrets(roles, variables)
        if failure:
            return {**result, **failure}
        questions = []
        for role in roles:
            role.check()
            questions += role.server()
        problems = [problem for role in roles for problem in role.problems]
        if questions or whole:
            asked = {"checks": questions, "notes": whole}
            answer = self._execute_module(f"{COLLECTION}.server_check", asked, task_vars=variables)
            # Kept out of the result: only the tasks of this run use it.
            found = {name: answer.pop(name) for name in ("engine", "ipv6", "disk_mb") if name in answer}
            if found:
                remember(variables, **found)
            if whole:
                found = {"settled": {}, "traces": None, "services": None}
                remember(variables, **{name: answer.pop(name, empty) for name, empty in found.items()})
            if answer.get("failed") or answer.get("unreachable"):
                if not problems:
                    return {**result, **answer}
                problems.append(f"The server could not be checked: {answer.get('msg', answer)}")
            problems += answer.get("problems", [])
        if problems:
            # Two roles may report the same problem.
            return {**result, "failed": True, "msg": "\n".join(dict.fromkeys(problems))}
        return result

    def _fails_for_lost_secrets(self, roles: list[Role], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return a failure, before any secret is generated, if the server has data that need a lost one."""
        lost = [secret for role in roles for secret in role.lost_secrets()]
        if not lost:
            return {}
        asked = {"checks": [], "volumes": list(dict.fromkeys(secret.volume for secret in lost))}
        answer = self._execute_module(f"{COLLECTION}.server_check", asked, task_vars=variables)
        if answer.get("failed") or answer.get("unreachable"):
            return answer
        host = variables["inventory_hostname"]
        problems = [
            f'{secret.variable}: "{from_here(secret.path)}" does not exist, but {host} has data that need it (volume '
            f"{secret.volume}): put the file of the first deployment there, or set {secret.variable}."
            for secret in lost
            if secret.volume in answer["volumes"]
        ]
        return {"failed": True, "msg": "\n".join(problems)} if problems else {}

    def _paths(self, names: list[str] | None, variables: dict[str, t.Any]) -> list[str]:
        """Return the directories of the roles to check, without duplicates, in order."""
        tags = (variables.get("ansible_run_tags", []), variables.get("ansible_skip_tags", []))
        if names is None:
            return self._own_path(variables, *tags)
        shorts = (name.removeprefix(f"{COLLECTION}.") for name in names)
        known = (name for name in dict.fromkeys(shorts) if os.path.isdir(os.path.join(ROLES, name, "meta")))
        paths = (os.path.join(ROLES, name) for name in known)
        # A role that lists other roles needs them, whatever the tags of its play.
        return [path for path in paths if not self._stands_for_play() or selected(path, *tags)]

    def _stands_for_play(self) -> bool:
        """Return whether the roles that the task lists are those of a whole play."""
        own = self._task._role
        return own is None or own.get_name(include_role_fqcn=False) == SITE

    def _own_path(self, variables: dict[str, t.Any], run_tags: list[str], skip_tags: list[str]) -> list[str]:
        """Return the directory of the task's own role; none if the play's first task has already checked it."""
        role = self._task._role
        if role is None:
            raise AnsibleActionFail(
                "check_input is used outside a role: give it roles, for example ansible_play_role_names."
            )
        path = role.get_role_path()
        short = role.get_name(include_role_fqcn=False)
        site = role.get_name().removesuffix(short) + SITE
        play = [*variables.get("ansible_play_role_names", []), *variables.get("ansible_role_names", [])]
        checked = site in play and "always" not in skip_tags and selected(path, run_tags, skip_tags)
        return [] if checked else [path]
