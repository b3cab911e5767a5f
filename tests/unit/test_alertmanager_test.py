"""alertmanager_test: the configuration that it sends with, and what it reads from Alertmanager's log."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.miniweb.stack.plugins.action.alertmanager_test import integrations, to_all
from ansible_collections.miniweb.stack.plugins.modules.alertmanager_test import results

CONFIGURATION = {
    "global": {"smtp_smarthost": "mail:25"},
    "route": {"receiver": "default", "group_wait": "30s", "routes": [{"receiver": "pager", "matchers": ["a=b"]}]},
    "inhibit_rules": [{"source_matchers": ["a=b"]}],
    "receivers": [
        {"name": "nobody"},
        {"name": "default", "email_configs": [{"to": "a"}, {"to": "b"}], "slack_configs": [{"channel": "c"}]},
        {"name": "pager", "webhook_configs": [{"url_file": "/run/secrets/url"}]},
        {"name": "empty", "webhook_configs": None},
    ],
}


def test_an_alert_goes_to_every_receiver_that_has_an_integration() -> None:
    made = to_all(CONFIGURATION)
    assert made["route"]["routes"] == [
        {"receiver": "default", "continue": True},
        {"receiver": "pager", "continue": True},
    ]
    assert (made["route"]["group_wait"], "inhibit_rules" in made) == ("0s", False)
    assert made["global"] == CONFIGURATION["global"]
    names: list[Any] = [name for receiver in CONFIGURATION["receivers"] for name in integrations(receiver)]
    assert names == ["default/email[0]", "default/email[1]", "default/slack[0]", "pager/webhook[0]"]


DISPATCHER = "time=2026-11-26T17:00:00Z level=DEBUG source=notify.go:1 component=dispatcher"
OLD = "ts=2026-11-26T17:00:00Z caller=notify.go:1 level=debug component=dispatcher"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([f'{DISPATCHER} msg="Notify success" receiver=default integration=email[0] attempts=1'], {"default/email[0]": ""}),
        # Versions before 0.28 log in another order.
        ([f'{OLD} receiver=default integration=email[0] msg="Notify success" attempts=1'], {"default/email[0]": ""}),
        (
            [
                f'{DISPATCHER} msg="Notify attempt failed, will retry later" receiver=pager integration=webhook[0] '
                'attempts=1 err="Post \\"<redacted>\\": connection refused"'
            ],
            {"pager/webhook[0]": 'Post "<redacted>": connection refused'},
        ),
        # A later attempt was successful.
        (
            [
                f'{DISPATCHER} msg="Notify attempt failed, will retry later" receiver=a integration=webhook[0] err="no"',
                f'{DISPATCHER} msg="Notify success" receiver=a integration=webhook[0] attempts=2',
            ],
            {"a/webhook[0]": ""},
        ),
        (
            [
                f'{DISPATCHER} msg="Notify for alerts failed" num_alerts=1 '
                'err="pager/webhook[0]: notify retry canceled: unexpected status code 404: page not found\\n"'
            ],
            {"pager/webhook[0]": "notify retry canceled: unexpected status code 404: page not found"},
        ),
        ([f'{DISPATCHER} msg="Completed loading of configuration file" file=x', "anything else"], {}),
    ],
)  # fmt: skip
def test_what_became_of_the_message(lines: list[str], found: dict[str, str]) -> None:
    assert results("\n".join(lines)) == found
