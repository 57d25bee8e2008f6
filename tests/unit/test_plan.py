"""Bad plans: what is wrong with each, where, and in which order. Good ones are in test_plan_good.py.

What is wrong with the text and with its form.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from bulkshare.errors import PlanError
from bulkshare.plan.load import load_plan

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "version: 1\nname: n\n"
PAIR = "share:\n- images: [a]\n  projects: [b]\n"

KEYS = (
    "known here: version, name, cloud, clouds, region, api, check_projects, prune_limit, strict, limits, retry, "
    "notify, groups, share, receive"
)
IMAGE_KEYS = (
    "known here: group, file, name, tag, property, owner, "
    "status, newer_than, older_than, latest, skip_latest, per, allow_empty"
)
PROJECT_KEYS = "known here: group, file, name, domain, tag, enabled, parent, allow_empty"
TEXT = [
    pytest.param(
        "version: 1\nname: [n\nshare: 3\n",
        [
            (
                "3:6: is not valid YAML: while parsing a flow sequence, did not find expected ',' or ']' (started "
                "on line 2); a comma is missing, or the [ is not closed"
            )
        ],
        id="a list that is not closed",
    ),
    pytest.param(
        "version: 1\n\tname: n\n",
        [
            (
                "2:1: is not valid YAML: while scanning a plain scalar, found a tab character that violates "
                "indentation (started on line 1); indent with spaces"
            )
        ],
        id="a tab",
    ),
    pytest.param(
        "version: 1\nname: a: b\n",
        [
            (
                "2:8: is not valid YAML: mapping values are not allowed in this context; check the indentation, "
                "and quote text that contains `: `"
            )
        ],
        id="a colon in text",
    ),
    pytest.param(
        HEAD + "share:\n- images: [a]\n projects: [b]\n",
        [
            (
                "5:2: is not valid YAML: while parsing a block mapping, did not find expected key (started on "
                "line 1); check the indentation of this line and of the one above"
            )
        ],
        id="indentation",
    ),
    pytest.param(
        'version: 1\nname: "abc\n',
        [
            (
                "3:1: is not valid YAML: while scanning a quoted scalar, found unexpected end of stream (started "
                "on line 2); a quote is not closed"
            )
        ],
        id="a quote that is not closed",
    ),
    pytest.param(
        "version: 1\nshare: {a: b\n",
        [
            (
                "3:1: is not valid YAML: while parsing a flow mapping, did not find expected ',' or '}' (started "
                "on line 2); a comma is missing, or the { is not closed"
            )
        ],
        id="a mapping that is not closed",
    ),
    pytest.param(
        "version: 1\nname: @foo\n",
        [
            (
                "2:7: is not valid YAML: while scanning for the next token, found character that cannot start "
                "any token; quote text that begins with this character, and indent with spaces, not tabs"
            )
        ],
        id="an at sign",
    ),
    pytest.param(
        HEAD + "share:\n- images: [*a]\n  projects: [b]\n",
        ["4:12: is not valid YAML: found undefined alias; quote text that begins with *"],
        id="an unknown alias",
    ),
    pytest.param(
        HEAD + "x: &a 1\ny: &a 2\n" + PAIR,
        [
            (
                "4:4: is not valid YAML: found duplicate anchor; first occurrence, second occurrence (started on "
                "line 3); give each anchor its own name"
            )
        ],
        id="an anchor twice",
    ),
    pytest.param(
        "version: 1\nname: \x01\n",
        ["2:7: the invisible character U+0001 is not allowed in YAML; remove it"],
        id="a control character",
    ),
    pytest.param(
        "version: 1\nname: n\u2028m\n" + PAIR,
        ["2:8: the invisible character U+2028 is not allowed in YAML; remove it"],
        id="a line separator",
    ),
    pytest.param(
        HEAD + PAIR + "---\nversion: 1\nname: n\n" + PAIR,
        [
            (
                "6:1: is not valid YAML: expected a single document in the stream, but found another document "
                "(started on line 1); a plan is a single document: remove the ---"
            )
        ],
        id="two documents",
    ),
    pytest.param("", ["1:1: the file is empty; a plan begins with `version: 1`"], id="nothing"),
    pytest.param("# x\n", ["1:1: the file is empty; a plan begins with `version: 1`"], id="a comment only"),
    pytest.param("~\n", ["1:1: a plan is a mapping that begins with `version: 1`, not nothing"], id="null"),
    pytest.param("- a\n", ["1:1: a plan is a mapping that begins with `version: 1`, not a list"], id="a list"),
    pytest.param("foo\n", ["1:1: a plan is a mapping that begins with `version: 1`, not text"], id="a text"),
    pytest.param(
        HEAD + "share: " + "[" * 60 + "]" * 60,
        ["3:56: is nested more than 50 levels deep; a plan has seven"],
        id="deep lists",
    ),
    pytest.param(
        "{a: " * 60 + "}" * 60, ["1:197: is nested more than 50 levels deep; a plan has seven"], id="deep mappings"
    ),
    pytest.param(
        (
            "version: !!int 1\nname: !foo n\nshare: !!set\n- images: !!python/object/apply:os.system [a]\n"
            "  projects: [! b, !!str 12]\n"
        ),
        [
            "1:10: tags are not supported; remove '!!int': IDs are always text",
            "2:7: tags are not supported; remove '!foo': IDs are always text",
            "3:8: tags are not supported; remove '!!set': IDs are always text",
            ("4:11: tags are not supported; remove '!!python/object/apply:os.system': IDs are always text"),
        ],
        id="tags",
    ),
    pytest.param(
        HEAD + "x: &x {images: [a]}\nshare:\n- <<: *x\n  projects: [b]\n",
        [
            f"3:1: unknown key 'x'; {KEYS}",
            "5:3: merge keys (<<) are not supported; write the keys out, or use groups",
            "5:3: `images` is missing; add it here",
        ],
        id="merge keys",
    ),
    pytest.param(
        "? [a, b]\n: c\nversion: 1\nname: n\n" + PAIR,
        ["1:3: a key must be a word, not a list or a mapping; quote text that contains braces"],
        id="a key that is a list",
    ),
    pytest.param(
        HEAD + PAIR + "name: m\n" + PAIR,
        [
            "6:1: key 'name' is repeated; it is already on line 2. Keep one",
            "7:1: key 'share' is repeated; it is already on line 3. Keep one",
        ],
        id="keys twice",
    ),
    pytest.param(
        HEAD + "share:\n- images: [a]\n  images: [b]\n  projects: [b]\n",
        ["5:3: key 'images' is repeated; it is already on line 4. Keep one"],
        id="a key twice in an entry",
    ),
    pytest.param(
        HEAD
        + "a: &a ["
        + "x, " * 60
        + "]\n"
        + "".join(f"{b}: &{b} [" + f"*{a}, " * 60 + "]\n" for a, b in pairwise("abcde"))
        + PAIR,
        ["6:4: expands to more than 5,000,000 values through its aliases; use groups"],
        id="an alias bomb",
    ),
    pytest.param(
        HEAD + "share: &s\n- images: [a]\n  projects: *s\n",
        ["3:8: contains an alias of itself; write the list out"],
        id="an alias of itself",
    ),
    pytest.param(
        HEAD + "groups: &g {images: *g}\n" + PAIR,
        ["3:9: contains an alias of itself; write the list out"],
        id="a mapping in itself",
    ),
]
FORM = [
    pytest.param(
        HEAD + 'cloud: "a\\nb"\nregion: " a"\n' + PAIR,
        [
            "3:8: 'a b' has surrounding white space or invisible characters; remove them",
            "4:9: 'a' has surrounding white space or invisible characters; remove them",
        ],
        id="names with characters that can't be seen",
    ),
    pytest.param(
        "{}\n",
        [
            "1:1: `version` is missing; add it here",
            "1:1: `name` is missing; add it here",
            "1:1: `share` is missing; add it here",
        ],
        id="an empty mapping",
    ),
    pytest.param(
        HEAD + PAIR + "prune: true\n",
        ["6:1: `prune` is a key of the items under `share`; move it there"],
        id="a key of an entry at the top",
    ),
    pytest.param(
        HEAD + PAIR + "shares: 3\n", ["6:1: unknown key 'shares'; did you mean 'share'?"], id="an unknown key"
    ),
    pytest.param(
        HEAD + PAIR + "zzzzzz: 3\n",
        [(f"6:1: unknown key 'zzzzzz'; {KEYS}")],
        id="a key like no other",
    ),
    pytest.param(
        HEAD + PAIR + "limits: {concurency: 3, per-image: 3, zzz: 4}\n",
        [
            "6:10: unknown key 'concurency'; did you mean 'concurrency'?",
            "6:25: unknown key 'per-image'; did you mean 'per_image'?",
            "6:39: unknown key 'zzz'; known here: concurrency, rate, per_image, members_per_image, batch, jobs",
        ],
        id="unknown limits",
    ),
    pytest.param(
        HEAD
        + PAIR
        + "notify: {comand: [x], webhook: {from_envv: A, format: teams}, on: [failure, never], timeout: 5}\n",
        [
            "6:10: unknown key 'comand'; did you mean 'command'?",
            "6:33: unknown key 'from_envv'; did you mean 'from_env'?",
            "6:55: expected 'json', 'slack' or 'alertmanager', found 'teams'",
            "6:77: expected 'failure', 'change' or 'always', found 'never'",
            "6:94: '5' is not a duration; write for example 500ms, 0.5s or 2m",
        ],
        id="who is notified, misspelled",
    ),
    pytest.param(
        HEAD + PAIR + "notify: {on: failure}\n",
        ["6:9: notifies no one; add `command` or `webhook`"],
        id="no one is notified",
    ),
    pytest.param(
        HEAD + PAIR + "notify: {command: [''], webhook: {}}\n",
        ["6:34: has no URL; add `from_env` (an environment variable) or `file`"],
        id="a webhook without a URL",
    ),
    pytest.param(
        HEAD + PAIR + "notify: {command: [''], webhook: {from_env: A, file: b}}\n",
        ["6:54: `from_env` and `file` are both present; keep one"],
        id="a webhook with two URLs",
    ),
    pytest.param(
        HEAD + PAIR + "notify: {command: [''], webhook: {from_env: 'a b'}}\n",
        ["6:45: 'a b' is not a name of an environment variable"],
        id="a variable that is none",
    ),
    pytest.param(
        HEAD + PAIR + "notify: {command: ['']}\n",
        ["6:19: the command begins with nothing; name a program"],
        id="a command that is none",
    ),
    pytest.param(HEAD + PAIR + "notify:\n", ["6:8: expected a mapping, found nothing"], id="notify is empty"),
    pytest.param(
        HEAD + PAIR + "retry: {attempt: 3, bas: 4}\n",
        ["6:9: unknown key 'attempt'; did you mean 'attempts'?", "6:21: unknown key 'bas'; did you mean 'base'?"],
        id="unknown in retry",
    ),
    pytest.param(
        HEAD + PAIR + "groups: {image: {}, project: {a: [b]}}\n",
        ["6:10: unknown key 'image'; did you mean 'images'?", "6:21: unknown key 'project'; did you mean 'projects'?"],
        id="unknown kinds of groups",
    ),
    pytest.param(
        HEAD + "share:\n- image: [a]\n  projects: [b]\n  exept: [c]\n",
        ["4:3: unknown key 'image'; did you mean 'images'?", "6:3: unknown key 'exept'; did you mean 'except'?"],
        id="unknown in an entry",
    ),
    pytest.param(
        HEAD
        + (
            "share:\n- images: [{grop: a}]\n"
            "  projects: [{fiel: b}, {file: x, grop: b}, {group: x, file: y}, {}, {zzz: 1}]\n"
        ),
        [
            "4:13: unknown key 'grop'; did you mean 'group'?",
            "5:15: unknown key 'fiel'; did you mean 'file'?",
            "5:32: x: no such file",
            "5:35: unknown key 'grop'; did you mean 'group'?",
            "5:46: an item is either a group, a file or a selector; make it two items",
            ("5:53: there is no group 'x' of projects; none is defined; define it in `groups: {projects: ...}`"),
            "5:62: y: no such file",
            "5:66: selects nothing; add `group`, `file`, or what to select by: name, domain, tag, enabled, parent",
            f"5:71: unknown key 'zzz'; {PROJECT_KEYS}",
        ],
        id="unknown in items",
    ),
    pytest.param(
        HEAD + "share:\n- images: [{<id>: a}]\n  projects: [b]\n<group>: 3\n<file>: {<id>: 3}\n",
        [
            (f"4:13: unknown key '<id>'; {IMAGE_KEYS}"),
            "6:1: unknown key '<group>'; did you mean 'groups'?",
            (f"7:1: unknown key '<file>'; {KEYS}"),
        ],
        id="keys spelled like our own marks",
    ),
    pytest.param(
        HEAD + PAIR + "groups: {images: {<id>: [], <group>: [{<file>: 3}]}}\n",
        [
            "6:25: the list is empty; add at least one item, or remove it",
            "6:40: unknown key '<file>'; did you mean 'file'?",
        ],
        id="groups spelled like our own marks",
    ),
    pytest.param(
        HEAD + "share: 3\nlimits: 3\nretry: []\ngroups: foo\n",
        [
            "3:8: expected a list, found '3'",
            "4:9: expected a mapping, found '3'",
            "5:8: expected a mapping, found a list",
            "6:9: expected a mapping, found 'foo'",
        ],
        id="sections of a wrong type",
    ),
    pytest.param(
        HEAD + "share: {images: [a], projects: [b]}\n",
        ["3:8: expected a list, found a mapping"],
        id="share is a mapping",
    ),
    pytest.param(
        HEAD + "share: [foo, null, [a], {images: a, projects: {file: x}}]\n",
        [
            "3:9: expected a mapping, found 'foo'",
            "3:14: expected a mapping, found nothing",
            "3:20: expected a mapping, found a list",
            "3:34: expected a list, found 'a'",
            "3:47: expected a list, found a mapping",
        ],
        id="entries of a wrong type",
    ),
    pytest.param(
        HEAD
        + (
            "share:\n- images: [null, [a], '', {group: null}, {file: [a]}, {file: }]\n  projects: [b]\n  except: null\n"
        ),
        [
            "4:12: expected text, found nothing",
            "4:18: expected text, found a list",
            "4:23: an ID can't be empty",
            "4:35: expected text, found nothing",
            "4:49: expected text, found a list",
            "4:62: expected text, found nothing",
            "6:11: expected a list, found nothing",
        ],
        id="items of a wrong type",
    ),
    pytest.param(
        "version: [1]\nname: {a: b}\ncloud: [a]\nregion: {}\n" + PAIR,
        [
            "1:10: expected the plan format's version, which is 1",
            "2:7: expected text, found a mapping",
            "3:8: expected text, found a list",
            "4:9: expected text, found a mapping",
        ],
        id="header of a wrong type",
    ),
    pytest.param(
        "version: 1\nname:\ncloud:\nregion: ''\n" + PAIR,
        ["2:6: expected text, found nothing", "3:7: expected text, found nothing", "4:9: expected text, found nothing"],
        id="header empty",
    ),
    pytest.param(
        HEAD + PAIR + "limits:\nretry:\ngroups:\n",
        [
            "6:8: expected a mapping, found nothing",
            "7:7: expected a mapping, found nothing",
            "8:8: expected a mapping, found nothing",
        ],
        id="sections empty",
    ),
    pytest.param(
        HEAD + PAIR + "limits: {rate: }\nretry: {base: }\ngroups: {images: , projects: {a: }}\n",
        [
            "6:16: expected a number, found nothing",
            "7:15: expected a duration such as 500ms, found nothing",
            "8:18: expected a mapping, found nothing",
            "8:34: expected a list, found nothing",
        ],
        id="values empty",
    ),
    pytest.param(HEAD + "share:\n", ["3:7: expected a list, found nothing"], id="share empty"),
    pytest.param(
        HEAD + "share: []\ngroups: {images: {a: []}}\n",
        [
            "3:8: the list is empty; add at least one item, or remove it",
            "4:22: the list is empty; add at least one item, or remove it",
        ],
        id="empty list of entries",
    ),
    pytest.param(
        HEAD + "share:\n- images: []\n  projects: []\n  except: []\n",
        [
            "4:11: the list is empty; add at least one item, or remove it",
            "5:13: the list is empty; add at least one item, or `prune: true` if no project is to have the images",
            "6:11: the list is empty; add at least one item, or remove it",
        ],
        id="empty lists",
    ),
    pytest.param(
        HEAD + "share:\n- images: abc\n  projects: {group: a}\n",
        ["4:11: expected a list, found 'abc'", "5:13: expected a list, found a mapping"],
        id="bare items",
    ),
    pytest.param(
        "version: 2\nname: n\n" + PAIR,
        ["1:10: version 2 is for a newer bulkshare; this one reads version 1"],
        id="a later version",
    ),
    pytest.param("version: 0\nname: n\n" + PAIR, ["1:10: there is no version 0; the first is 1"], id="version 0"),
    pytest.param(
        "version: 1.0\nname: n\n" + PAIR, ["1:10: expected the plan format's version, which is 1"], id="version 1.0"
    ),
    pytest.param(
        "version:\nname: n\n" + PAIR, ["1:9: expected the plan format's version, which is 1"], id="version empty"
    ),
    pytest.param(
        "version: 99999999999999999999999999\nname: n\n" + PAIR,
        ["1:10: version 9999999999999999999… is for a newer bulkshare; this one reads version 1"],
        id="version huge",
    ),
    pytest.param(
        "version: ٢\nname: n\n" + PAIR,
        ["1:10: expected the plan format's version, which is 1"],
        id="version in other digits",
    ),
    pytest.param("name: n\n" + PAIR, ["1:1: `version` is missing; add it here"], id="version missing"),
    pytest.param(
        "version: 1\nname: Foo Bar\n" + PAIR,
        ["2:7: 'Foo Bar' is not a valid plan name; use a-z, 0-9 and -"],
        id="a bad name",
    ),
    pytest.param(
        "version: 1\nname: " + "a" * 101 + "\n" + PAIR,
        ["2:7: a plan's name has at most 100 characters"],
        id="a long name",
    ),
    pytest.param(
        HEAD + PAIR + "limits: {concurrency: 0, rate: 0, per_image: -1}\n",
        [
            "6:23: must be 1 or more, found '0'",
            "6:32: must be 0.001 or more, found '0'",
            "6:46: must be 1 or more, found '-1'",
        ],
        id="limits too low",
    ),
    pytest.param(
        HEAD + PAIR + "limits: {concurrency: 1.5, rate: nan, per_image: many}\n",
        [
            "6:23: expected a whole number, found '1.5'",
            "6:34: expected a number, found 'nan'",
            "6:50: expected a whole number, found 'many'",
        ],
        id="limits that are no numbers",
    ),
    pytest.param(
        HEAD + PAIR + "limits: {concurrency: 1001, rate: inf, per_image: 1_0}\n",
        ["6:23: must be 1,000 or less, found '1001'", "6:35: expected a number, found 'inf'"],
        id="limits too high",
    ),
    pytest.param(
        HEAD + PAIR + "limits: {concurrency: [1], rate: .inf, per_image: 1e2}\n",
        [
            "6:23: expected a whole number, found a list",
            "6:34: expected a number, found '.inf'",
            "6:51: expected a whole number, found '1e2'",
        ],
        id="limits of wrong types",
    ),
    pytest.param(
        HEAD + PAIR + "limits: {concurrency: 99999999999999999999999999, rate: -.nan, per_image: true}\n",
        [
            "6:23: must be 1,000 or less, found '99999999999999999999999999'",
            "6:57: expected a number, found '-.nan'",
            "6:75: expected a whole number, found 'true'",
        ],
        id="limits beyond any",
    ),
    pytest.param(
        HEAD + PAIR + "retry: {attempts: 0, base: 10, cap: 0s}\n",
        [
            "6:19: must be 1 or more, found '0'",
            "6:28: '10' is not a duration; write for example 500ms, 0.5s or 2m",
            "6:37: '0s' is not longer than zero; write for example 500ms, 0.5s or 2m",
        ],
        id="durations missing units",
    ),
    pytest.param(
        HEAD + PAIR + "retry: {base: 60s, cap: 30s}\n",
        ["6:15: base (60s) is longer than cap (30s); change one of them"],
        id="base above cap",
    ),
    pytest.param(
        HEAD + PAIR + "retry: {base: 31s}\n",
        ["6:15: base (31s) is longer than cap (30s); change one of them"],
        id="base above the cap that is not there",
    ),
    pytest.param(
        HEAD + PAIR + "retry: {cap: 100ms}\n",
        ["6:14: base (0.5s) is longer than cap (0.1s); change one of them"],
        id="cap below the base that is not there",
    ),
    pytest.param(
        HEAD + PAIR + "retry: {base: foo, cap: -3s}\n",
        [
            "6:15: 'foo' is not a duration; write for example 500ms, 0.5s or 2m",
            "6:25: '-3s' is not a duration; write for example 500ms, 0.5s or 2m",
        ],
        id="bad durations",
    ),
    pytest.param(
        HEAD + PAIR + "retry: {base: 99999999999999999999999h, cap: 1}\n",
        [
            "6:15: '99999999999999999999999h' is more than a day; write for example 500ms, 0.5s or 2m",
            "6:46: '1' is not a duration; write for example 500ms, 0.5s or 2m",
        ],
        id="durations beyond any",
    ),
    pytest.param(
        HEAD + PAIR + "retry: {base: 0.0000001ns, cap: 1y}\n",
        [
            "6:15: '0.0000001ns' is not a duration; write for example 500ms, 0.5s or 2m",
            "6:33: '1y' is not a duration; write for example 500ms, 0.5s or 2m",
        ],
        id="durations in other units",
    ),
    pytest.param(
        HEAD + PAIR + "retry: {base: [], cap: {}}\n",
        [
            "6:15: expected a duration such as 500ms, found a list",
            "6:24: expected a duration such as 500ms, found a mapping",
        ],
        id="durations of a wrong type",
    ),
    pytest.param(
        (
            "version: 2\nname: A B\nlimit: {rate: 3}\nlimits: {rate: 0}\nshare:\n- images: []\n"
            "  projects: [{group: x}]\n  exept: [a]\n- foo\n"
        ),
        [
            "1:10: version 2 is for a newer bulkshare; this one reads version 1",
            "2:7: 'A B' is not a valid plan name; use a-z, 0-9 and -",
            "3:1: unknown key 'limit'; did you mean 'limits'?",
            "4:16: must be 0.001 or more, found '0'",
            "6:11: the list is empty; add at least one item, or remove it",
            ("7:22: there is no group 'x' of projects; none is defined; define it in `groups: {projects: ...}`"),
            "8:3: unknown key 'exept'; did you mean 'except'?",
            "9:3: expected a mapping, found 'foo'",
        ],
        id="several problems",
    ),
    pytest.param(
        HEAD + "name: n\nfoo: 3\nlimits: {rate: 1, rate: 0}\nshare: []\n",
        [
            "3:1: key 'name' is repeated; it is already on line 2. Keep one",
            f"4:1: unknown key 'foo'; {KEYS}",
            "5:19: key 'rate' is repeated; it is already on line 5. Keep one",
            "6:8: the list is empty; add at least one item, or remove it",
        ],
        id="problems of all kinds",
    ),
    pytest.param(
        "version: 1\r\nname: n\r\nshare:\r\n- images: [a b]\r\n  projects: [b]\r\nfoo: 3\r\n",
        [
            "4:12: 'a b' contains white space, which no ID may contain: give each ID its own item or line",
            f"6:1: unknown key 'foo'; {KEYS}",
        ],
        id="CRLF",
    ),
    pytest.param(
        "\ufeffverzion: 1\nname: n\n" + PAIR,
        ["1:1: unknown key 'verzion'; did you mean 'version'?"],
        id="a byte order mark",
    ),
    pytest.param(
        HEAD + "share:\n- &e\n  images: [a]\n  projectz: [b]\n- *e\n",
        ["6:3: unknown key 'projectz'; did you mean 'projects'?"],
        id="in what an alias repeats",
    ),
]


def problems_of(path: Path) -> list[str]:
    """Return what is wrong with a plan, in order; the plan's own problems without the file's name."""
    with pytest.raises(PlanError) as caught:
        load_plan(path)
    shown = [str(problem) for problem in caught.value.problems]
    return [line.removeprefix(f"{path}:").replace(f"{path.parent}/", "") for line in shown]


@pytest.mark.parametrize(("text", "problems"), TEXT)
def test_text(tmp_path: Path, text: str, problems: list[str]) -> None:
    """What is no YAML, and YAML that no plan is written in."""
    path = tmp_path / "plan.yaml"
    path.write_bytes(text.encode())
    assert problems_of(path) == problems


@pytest.mark.parametrize(("text", "problems"), FORM)
def test_form(tmp_path: Path, text: str, problems: list[str]) -> None:
    """Keys and values that a plan does not have."""
    path = tmp_path / "plan.yaml"
    path.write_bytes(text.encode())
    assert problems_of(path) == problems


def test_no_text(tmp_path: Path) -> None:
    """A plan that is not there, a folder, and bytes that are no UTF-8, with the place of the first of them."""
    path = tmp_path / "plan.yaml"
    with pytest.raises(PlanError) as missing:
        load_plan(path)
    assert str(missing.value) == f"{path}: no such file"
    with pytest.raises(PlanError) as folder:
        load_plan(tmp_path)
    assert str(folder.value) == f"{tmp_path}: is a directory, not a file"
    path.write_bytes("\ufeffversion: 1\nname: é".encode() + b"\xfc\n")
    assert problems_of(path) == ["2:8: byte 0xfc is not UTF-8; save the file as UTF-8"]
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        path.write_bytes("version: 1\n".encode(encoding))
        assert problems_of(path) == ["1:1: is UTF-16; save the file as UTF-8"]
