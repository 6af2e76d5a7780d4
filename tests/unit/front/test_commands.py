"""Every command of `penstock`: its help at 80 columns, its wrong options, its errors, its exit codes.

A command that is added must be described here: what it reads, and a wrong value for each option that refuses some.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from click.testing import CliRunner

from penstock.cli import main

NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens there
JOB = "job_01a22c7edd3d2df407b449ffbc2d1034"


class Described(NamedTuple):
    """`reads`: variables that its help names. `wrong`: arguments with one value that is refused, and what is named.

    `fails`: arguments, and the environment, with which it ends with 1 and a line that holds `says`.
    """

    reads: tuple[str, ...] = ()
    wrong: tuple[tuple[str, str], ...] = ()
    fails: tuple[str, str] | None = None


GATEWAY = ("PENSTOCK_GATEWAY_URL",)
KAFKA = ("PENSTOCK_KAFKA_BOOTSTRAP_SERVERS", "PENSTOCK_TOPIC_PREFIX")
SERVICES = (KAFKA[0], "PENSTOCK_POSTGRES_DSN", "PENSTOCK_REDIS_URL")
BAD_GATEWAY = ("--gateway nowhere", "--gateway")
AWAY = f"--gateway {NOBODY}"

COMMANDS = {
    "run": Described(
        GATEWAY,
        (BAD_GATEWAY, ("--timeout 0", "--timeout"), ("--version A", "--version"), ("Digits x", "MODEL")),
        (f"digits x {AWAY}", "http://127.0.0.1:9 cannot be reached: All connection attempts failed"),
    ),
    "jobs list": Described(
        GATEWAY,
        (BAD_GATEWAY, ("--limit 0", "--limit"), ("--status done", "--status"), ("--model A", "--model")),
        (AWAY, "it is what --gateway names"),
    ),
    "jobs get": Described(GATEWAY, (BAD_GATEWAY, ("/", "ID")), (f"{JOB} {AWAY}", "cannot be reached")),
    "jobs wait": Described(
        GATEWAY,
        (BAD_GATEWAY, (f"{JOB} --timeout -1", "--timeout"), ("", "ID")),
        (f"{JOB} {AWAY} --timeout 0", "not all jobs have ended within 0 s"),
    ),
    "jobs cancel": Described(GATEWAY, (BAD_GATEWAY, ("/", "ID")), (f"{JOB} {AWAY}", "cannot be reached")),
    "models list": Described(GATEWAY, (BAD_GATEWAY, ("A", "MODEL")), (AWAY, "cannot be reached")),
    "models load": Described(GATEWAY, (BAD_GATEWAY, ("a A", "VERSION")), (f"a 1 {AWAY}", "cannot be reached")),
    "models unload": Described(GATEWAY, (BAD_GATEWAY, ("a", "VERSION")), (f"a 1 {AWAY}", "cannot be reached")),
    "up": Described(
        (*SERVICES, "PENSTOCK_MODEL_REPOSITORY", "PENSTOCK_WORKER_TRUST", "PENSTOCK_CACHE_DIR", "PENSTOCK_JAVA"),
        (
            ("--port x", "--port"),
            ("--workers 0", "--workers"),
            ("--gateways 65", "--gateways"),
            ("--trust some", "--trust"),
        ),
    ),
    "gateway": Described((*SERVICES, "PENSTOCK_GATEWAY_PORT", "PENSTOCK_LOG_LEVEL")),
    "worker": Described(("PENSTOCK_WORKER_TRUST", "PENSTOCK_MODEL_REPOSITORY", SERVICES[0], SERVICES[2])),
    "router": Described((*SERVICES, "PENSTOCK_ROUTER_MAX_TIMEOUT_S", "PENSTOCK_HEALTH_PORT")),
    "sink": Described((*SERVICES, "PENSTOCK_SINK_BATCH_RECORDS")),
    "notifier": Described((SERVICES[1], "PENSTOCK_NOTIFIER_CONCURRENCY", "PENSTOCK_WEBHOOK_ALLOW_PRIVATE")),
    "feeder": Described((*SERVICES, "PENSTOCK_BLOBS_URL", "PENSTOCK_FEEDER_WINDOW_S")),
    "rollout-controller": Described((*SERVICES[:2], "PENSTOCK_HEALTH_PORT")),
    "migrate": Described(
        (*SERVICES[:2], "PENSTOCK_TOPIC_PARTITIONS"),
        (("--json", "--json"),),
    ),
    "doctor": Described(
        (*SERVICES, *GATEWAY),
        (("--timeout 0", "--timeout"),),
        ("--data-dir /nowhere", "no `penstock up` runs over /nowhere"),
    ),
    "asyncapi": Described(("PENSTOCK_TOPIC_PREFIX",)),
    "status": Described(GATEWAY, (BAD_GATEWAY,), None),
    "route show": Described(GATEWAY, (BAD_GATEWAY, ("A", "MODEL")), (f"a {AWAY}", "cannot be reached")),
    "route list": Described(GATEWAY, (BAD_GATEWAY,), (AWAY, "cannot be reached")),
    "route history": Described(
        GATEWAY, (BAD_GATEWAY, ("a --limit 0", "--limit"), ("A", "MODEL")), (f"a {AWAY}", "cannot be reached")
    ),
    "route shadow": Described(
        GATEWAY, (BAD_GATEWAY, ("a --limit 0", "--limit"), ("a --of A", "--of")), (f"a {AWAY}", "cannot be reached")
    ),
    "route set": Described(
        GATEWAY,
        (
            BAD_GATEWAY,
            ("A 1=100", "MODEL"),
            ("a 1", "VERSION=PERCENT"),
            ("a 1=50 2=49", "99 % together, not 100 %"),
            ("a 1=100 1=0", "given twice"),
            ("a 1=99.999 2=0.001", "two decimals"),
            ("a 1=nan", "a number of percent"),
            ("a A=100", "'A' is no version"),
            ("a --default A", "--default"),
            ("a --label canary", "--label"),
            ("a --label canary=A", "--label"),
            ("a --pin acme=1", "--pin"),
            ("a --pin tenant:=1", "--pin"),
            ("a --shadow 2", "--shadow"),
            ("a --shadow A=0.1", "--shadow"),
            ("a --shadow 2=1.5", "0 to 1"),
            ("a --shadow 2=nan", "0 to 1"),
            ("a --file /nowhere", "--file"),
            ("a --file /dev/null", "--file"),
            ("a 1=100 --file /dev/null", "--file holds the whole route"),
            ("a 1=100 --if-revision 0", "--if-revision"),
            ("a 1=100 --wait 61", "--wait"),
            ("a", "nothing to set"),
        ),
        (f"a 1=100 {AWAY}", "cannot be reached"),
    ),
    "route switch": Described(
        GATEWAY,
        (BAD_GATEWAY, ("a A", "VERSION"), ("a 1 --workers 0", "--workers"), ("a 1 --timeout -1", "--timeout")),
        (f"a 1 {AWAY} --timeout 0", "not 1 of a/1's workers are ready within 0 s"),
    ),
    "route rollback": Described(
        GATEWAY, (BAD_GATEWAY, ("a 0", "REVISION"), ("a", "REVISION")), (f"a 1 {AWAY}", "cannot be reached")
    ),
    "route delete": Described(
        GATEWAY, (BAD_GATEWAY, ("a --if-revision x", "--if-revision")), (f"a {AWAY}", "cannot be reached")
    ),
    "feedback": Described(
        GATEWAY,
        (
            BAD_GATEWAY,
            (f"{JOB} --reward 2", "--reward"),
            (JOB, "--reward or --label"),
            ("/ --label 7", "JOB"),
        ),
        (f"{JOB} --reward 1 {AWAY}", "cannot be reached"),
    ),
    "compare": Described(
        GATEWAY,
        (
            BAD_GATEWAY,
            ("digits", "--versions"),
            ("digits --versions 1", "are no versions"),
            ("digits --versions 1,2 --since soon", "is no duration"),
            ("digits --versions 1,2 --lane slow", "--lane"),
        ),
        (f"digits --versions 1,2 {AWAY}", "cannot be reached"),
    ),
    "env": Described((), (), ("--data-dir /nowhere", "no `penstock up` runs over /nowhere")),
    "submit": Described(
        ("PENSTOCK_SUBMIT_TO", *GATEWAY, KAFKA[0]),
        (
            ("/dev/null --to ftp://x", "--to"),
            ("/dev/null --concurrency 0", "--concurrency"),
            ("/dev/null --lane fast", "--lane"),
            ("/dev/null --timeout-s 0", "--timeout-s"),
            ("/nowhere", "FILE"),
        ),
        (f"/dev/null --to {NOBODY}", "cannot be reached"),
    ),
    "rollout start": Described(
        GATEWAY,
        (
            BAD_GATEWAY,
            ("A 2", "MODEL"),
            ("a 2 --steps 1,x", "--steps"),
            ("a 2 --step-time soon", "--step-time"),
            ("a 2 --step-time 0s", "--step-time"),
            ("a 2 --guardrail sad", "--guardrail"),
            ("a 2 --guardrail slow:margin", "--guardrail"),
            ("a 2 --timeout -1", "--timeout"),
            ("a", "VERSION"),
        ),
        (f"a 2 {AWAY}", "cannot be reached"),
    ),
    **{
        f"rollout {verb}": Described(GATEWAY, (BAD_GATEWAY, ("A_", "ROLLOUT")), (f"a {AWAY}", "cannot be reached"))
        for verb in ("pause", "resume", "abort", "promote", "retry", "show")
    },
    "rollout explain": Described(
        GATEWAY, (BAD_GATEWAY, ("/", "ROLLOUT"), ("a --event 0", "--event")), (f"a {AWAY}", "cannot be reached")
    ),
    "rollout list": Described(
        GATEWAY, (BAD_GATEWAY, ("--status done", "--status"), ("--limit 0", "--limit")), (AWAY, "cannot be reached")
    ),
    "rollout wait": Described(
        GATEWAY,
        (BAD_GATEWAY, ("a --timeout -1", "--timeout"), ("", "ROLLOUT")),
        (f"rollout_1 {AWAY} --timeout 0", "rollout_1 has not ended within 0 s"),
    ),
    "hold": Described(
        GATEWAY,
        (
            BAD_GATEWAY,
            ("--model A", "--model"),
            ("--model a --version A", "--version"),
            ("--version 1", "--version needs its --model"),
            ("--model a --lane fast", "--lane"),
            ("", "which jobs are meant"),
            ("--model a list", "takes its options behind its name"),
        ),
        (f"--model a {AWAY}", "cannot be reached"),
    ),
    "hold list": Described(GATEWAY, (BAD_GATEWAY,), (AWAY, "cannot be reached")),
    "hold log": Described(GATEWAY, (BAD_GATEWAY, ("--limit 0", "--limit")), (AWAY, "cannot be reached")),
    "release": Described(GATEWAY, (BAD_GATEWAY, ("x", "IDS"), ("", "IDS")), (f"hold_1 {AWAY}", "cannot be reached")),
    "drain": Described(
        GATEWAY,
        (BAD_GATEWAY, ("", "which jobs are meant"), ("--tenant a --timeout -1", "--timeout")),
        (f"--tenant a {AWAY}", "cannot be reached"),
    ),
    "batch submit": Described(
        GATEWAY,
        (
            BAD_GATEWAY,
            ("nothing.jsonl", "FILE"),
            ("/dev/null --window 1y", "--window"),
            ("/dev/null --model A", "--model"),
            ("/dev/null --priority x", "--priority"),
            ("/dev/null --metadata x", "--metadata"),
        ),
        (f"/dev/null {AWAY}", "/dev/null has no lines"),
    ),
    "batch run": Described(
        (KAFKA[0],),
        (
            ("nothing.csv --model a --output b", "SOURCE"),
            ("/dev/null --model A --output b", "--model"),
            ("/dev/null --model a --output b --window x", "--window"),
            ("/dev/null --model a --output b --timeout 0", "--timeout"),
        ),
    ),
    "batch resume": Described((KAFKA[0],), (("x --window 0", "--window"),), ("x", "no run writes x")),
    "batch status": Described(GATEWAY, (BAD_GATEWAY, ("/", "ID")), (f"batch_1 {AWAY}", "cannot be reached")),
    "batch cancel": Described(GATEWAY, (BAD_GATEWAY, ("/", "ID")), (f"batch_1 {AWAY}", "cannot be reached")),
    "batch results": Described(
        GATEWAY,
        (BAD_GATEWAY, ("/", "ID"), ("batch_1 --partial --errors x", "--errors")),
        (f"batch_1 {AWAY}", "cannot be reached"),
    ),
    "batch list": Described(GATEWAY, (BAD_GATEWAY, ("--limit 0", "--limit")), (AWAY, "cannot be reached")),
    "webhooks listen": Described(
        GATEWAY,
        (
            BAD_GATEWAY,
            ("--event job.done", "--event"),
            ("--endpoint x", "--endpoint"),
            ("--secret x", "--secret"),
            ("--count 0", "--count"),
            ("--forward-to nowhere", "--forward-to"),
            ("--endpoint we_1 --event job.failed", "--endpoint has its own events"),
        ),
        (f"--event job.failed {AWAY}", "cannot be reached"),
    ),
    "webhooks endpoints": Described(
        GATEWAY, (BAD_GATEWAY, ("x", "ENDPOINT"), ("--limit 0", "--limit")), (AWAY, "cannot be reached")
    ),
    "webhooks create": Described(
        GATEWAY,
        (
            BAD_GATEWAY,
            ("", "give URL, or --pull"),
            ("https://x --pull", "give URL, or --pull"),
            ("https://x --event job.done", "--event"),
            ("https://x --payload half", "--payload"),
            ("https://x --concurrency 0", "--concurrency"),
            ("https://x --max-per-second -1", "--max-per-second"),
            ("https://x --timeout 0", "--timeout"),
            ("https://x --connect-timeout 0", "--connect-timeout"),
        ),
        (f"https://x {AWAY}", "cannot be reached"),
    ),
    "webhooks update": Described(
        GATEWAY,
        (BAD_GATEWAY, ("x", "ENDPOINT"), ("we_1", "nothing to change"), ("we_1 --payload half", "--payload")),
        (f"we_1 --name a {AWAY}", "cannot be reached"),
    ),
    "webhooks enable": Described(
        GATEWAY,
        (
            BAD_GATEWAY,
            ("x", "ENDPOINT"),
            ("we_1 --replay all", "--replay"),
            ("we_1 --since soon", "--since"),
            ("we_1 --since 2h --replay none", "give one"),
        ),
        (f"we_1 {AWAY}", "cannot be reached"),
    ),
    "webhooks rotate": Described(
        GATEWAY,
        (BAD_GATEWAY, ("x", "ENDPOINT"), ("we_1 --grace soon", "--grace"), ("we_1 --grace 8d", "7d at most")),
        (f"we_1 {AWAY}", "cannot be reached"),
    ),
    "webhooks secret": Described(
        GATEWAY,
        (BAD_GATEWAY, ("--grace 1h", "give --rotate"), ("--rotate --grace 8d", "7d at most")),
        (AWAY, "cannot be reached"),
    ),
    "webhooks test": Described(
        GATEWAY, (BAD_GATEWAY, ("we_1 --event job.done", "--event")), (f"we_1 {AWAY}", "cannot be reached")
    ),
    **{
        f"webhooks {verb}": Described(GATEWAY, (BAD_GATEWAY, ("x", "ENDPOINT")), (f"we_1 {AWAY}", "cannot be reached"))
        for verb in ("delete", "disable")
    },
    "webhooks deliveries": Described(
        GATEWAY,
        (
            BAD_GATEWAY,
            ("x", "DELIVERY"),
            ("--endpoint x", "--endpoint"),
            ("--state done", "--state"),
            ("--since soon", "--since"),
            ("--limit 0", "--limit"),
            ("msg_1 --state failed", "not both"),
        ),
        (AWAY, "cannot be reached"),
    ),
    "webhooks replay": Described(
        GATEWAY,
        (
            BAD_GATEWAY,
            ("x", "DELIVERY"),
            ("", "which deliveries are meant"),
            ("msg_1 --state failed", "which deliveries are meant"),
            ("msg_1 --dry-run", "--dry-run counts"),
            ("--until soon", "--until"),
        ),
        (f"msg_1 {AWAY}", "cannot be reached"),
    ),
    "dlq list": Described(
        KAFKA,
        (("--since yesterday", "--since"), ("--until x", "--until"), ("--limit 0", "--limit")),
        ("--data-dir /nowhere", "no `penstock up` runs over /nowhere"),
    ),
    "dlq show": Described(KAFKA, (("x", "IDS"), ("", "IDS")), ("t:0:1 --data-dir /nowhere", "no `penstock up` runs")),
    "dlq replay": Described(KAFKA, (("x", "IDS"),), ("--data-dir /nowhere", "no `penstock up` runs")),
    "dlq drop": Described(KAFKA, (("x", "IDS"),), ("--data-dir /nowhere", "no `penstock up` runs")),
    "init": Described(
        (), (("--from keras", "--from"), ("/etc/passwd", "DIRECTORY")), ("/proc/models", "cannot be written")
    ),
    "models check": Described(
        ("PENSTOCK_MODEL_REPOSITORY", "PENSTOCK_WORKER_TRUST", "PENSTOCK_WORKER_DEVICE"),
        (("/nowhere", "DIRECTORY"), (". --trust all", "--trust"), (". --timeout 0", "--timeout"), ("", "DIRECTORY")),
        (".", ".: holds no model"),
    ),
    "models pin": Described((), (("/nowhere", "DIRECTORY"), ("", "DIRECTORY")), (".", ".: holds no model.yaml")),
    "import triton": Described(
        (),
        (("/nowhere models", "MODEL"), (". models --max-batch-size 0", "--max-batch-size")),
        (". models --name A", "cannot be a model's name here"),
    ),
    "import mlflow": Described(
        (),
        (("/nowhere models", "MODEL"), (". models --max-batch-size 0", "--max-batch-size")),
        (". models", "MLmodel: cannot be read"),
    ),
    "import huggingface": Described(
        (),
        (("/nowhere models", "MODEL"), (". models --max-batch-size 0", "--max-batch-size")),
        (". models", "config.json: cannot be read: No such file or directory"),
    ),
    "export sklearn": Described(
        (),
        (("/nowhere models --name a", "MODEL"), ("/dev/null models", "--name"), ("/etc/passwd m --name a", "--trust")),
        ("/etc/passwd models --name a --trust", "/etc/passwd: cannot be loaded"),
    ),
}
GROUPS = {"jobs", "models", "dlq", "import", "export", "route", "rollout", "webhooks", "batch"}
ALSO_COMMANDS = {"hold"}  # groups that do something by themselves
ALL = sorted(COMMANDS)
WAITING = {"jobs wait", "route switch", "rollout wait"}


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    """With no variable of ours, no data directory, and in an empty folder."""
    for name in os.environ:
        if name.startswith("PENSTOCK_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("penstock.running.default_data_dir", lambda _: tmp_path / "none")
    monkeypatch.chdir(tmp_path)
    return CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1"})


def test_every_command_is_described() -> None:
    context = click.Context(main, info_name="penstock")
    groups = {name: main.get_command(context, name) for name in GROUPS | ALSO_COMMANDS}
    within = {f"{name} {each}" for name, group in groups.items() for each in names_in(group, context)}
    assert set(main.list_commands(context)) - GROUPS | within == set(ALL)


def names_in(group: click.Command | None, context: click.Context) -> list[str]:
    assert isinstance(group, click.Group)
    return group.list_commands(context)


@pytest.mark.parametrize("command", ["", *sorted(GROUPS), *ALL])
def test_help_fits_80_columns_and_says_what_the_command_does(invoke: CliRunner, command: str) -> None:
    shown = invoke.invoke(main, [*command.split(), "--help"])
    assert shown.exit_code == 0
    assert max(map(len, shown.output.splitlines())) <= 80
    assert len(shown.output.splitlines()[2].split()) > 2


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_the_variables_that_are_read(invoke: CliRunner, command: str) -> None:
    shown = invoke.invoke(main, [*command.split(), "--help"]).output
    assert f"penstock {command}" in shown.partition("Examples:")[2]
    assert not [name for name in COMMANDS[command].reads if name not in shown]


@pytest.mark.parametrize(
    ("role", "variable"), [("worker", "PENSTOCK_WORKER_MODELS"), ("sink", "PENSTOCK_POSTGRES_DSN")]
)
def test_the_help_of_a_role_has_its_examples_exit_status_and_variables(
    invoke: CliRunner, role: str, variable: str
) -> None:
    shown = invoke.invoke(main, [role, "--help"]).output
    _, _, after = shown.partition("Examples:")
    examples, _, after = after.partition("Exit status:")
    assert f"penstock {role}" in examples
    assert "[default:" in after
    assert variable in after


@pytest.mark.parametrize("command", ALL)
def test_an_unknown_option_ends_with_2(invoke: CliRunner, command: str) -> None:
    ran = invoke.invoke(main, [*command.split(), "--no-such-option"])
    assert ran.exit_code == 2
    assert "No such option: --no-such-option" in ran.stderr


@pytest.mark.parametrize(
    ("command", "arguments", "named"),
    [(command, *wrong) for command, described in COMMANDS.items() for wrong in described.wrong],
)
def test_a_wrong_value_ends_with_2_and_names_its_option(
    invoke: CliRunner, command: str, arguments: str, named: str
) -> None:
    ran = invoke.invoke(main, [*command.split(), *arguments.split()])
    assert ran.exit_code == 2
    assert named in ran.stderr.splitlines()[-1]
    assert ran.stdout == ""


@pytest.mark.parametrize("command", [command for command, described in COMMANDS.items() if described.fails])
def test_what_fails_is_told_in_one_line_and_ends_as_documented(invoke: CliRunner, command: str) -> None:
    arguments, says = COMMANDS[command].fails or ("", "")
    ran = invoke.invoke(main, [*command.split(), *arguments.split()])
    assert ran.exit_code == (124 if command in WAITING else 1)
    (line,) = ran.stderr.splitlines()
    assert line.startswith("Error: ")
    assert says in line
    assert ran.stdout == ""


@pytest.mark.parametrize("command", [command for command, described in COMMANDS.items() if described.reads == GATEWAY])
def test_two_places_to_go_to_are_refused(invoke: CliRunner, command: str) -> None:
    arguments = (COMMANDS[command].fails or (AWAY, ""))[0]
    ran = invoke.invoke(main, [*command.split(), *arguments.split(), "--data-dir", "/nowhere"])
    assert ran.exit_code == 2
    assert "--gateway and --data-dir both say where to go" in ran.stderr


def test_where_nothing_runs_the_way_out_is_told(invoke: CliRunner, tmp_path: Path) -> None:
    ran = invoke.invoke(main, ["models", "list"])
    assert ran.exit_code == 1
    assert "http://localhost:8080 cannot be reached" in ran.stderr
    assert f"no `penstock up` runs over {tmp_path / 'none'}: --data-dir or PENSTOCK_GATEWAY_URL" in ran.stderr


def test_a_reader_that_leaves_early_ends_a_command_with_141_and_no_word() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as nobody:
        ended = subprocess.run(
            [sys.executable, "-m", "penstock", "--help"], stdout=nobody, stderr=subprocess.PIPE, check=False
        )
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_ctrl_c_ends_a_command_with_130_and_no_traceback(invoke: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("penstock.models.served.ask", interrupted)
    ran = invoke.invoke(main, ["models", "list"])
    assert (ran.exit_code, ran.output) == (130, "")
