"""What the doctor makes of what it saw, and how it is shown."""

import asyncio
import errno
import resource
import threading
from pathlib import Path

import asyncpg
import httpx
import msgspec
import pytest
from redis.exceptions import AuthenticationError

from penstock.addresses import without_password
from penstock.doctor import gateway, kafka_state, machine, postgres
from penstock.doctor import redis as redis_check
from penstock.doctor.examining import examine, in_thread
from penstock.doctor.findings import EXIT_STATUS, Finding, Level, Tell, clock, worst
from penstock.doctor.kafka_state import Brokers, Group, Partition
from penstock.doctor.models import ModelsCheck
from penstock.doctor.postgres import About
from penstock.doctor.rendering import Secrets, document, lines
from penstock.doctor.settings import SettingsCheck
from penstock.documents import Health
from producers.topic_settings import Other
from stores.postgres.migrations import SchemaState, Standing, Step, known_migrations
from tests.unit.models.handlers import write_handler
from tests.unit.models.repositories import write_model

GIB = 1024**3
WELL = Finding("Kafka", Level.OK, "1 broker")
ODD = Finding("Kafka", Level.WARNING, "group x has no members", "start a role")
ILL = Finding("Redis", Level.PROBLEM, "Redis refuses the password", "put PENSTOCK_REDIS_URL right")


def levels(findings: list[Finding]) -> list[str]:
    return [str(finding.level) for finding in findings]


async def found_by(check: object) -> list[Finding]:
    found: list[Finding] = []
    await check(found.append)  # type: ignore[operator]
    return found


class TestExamining:
    async def test_parts_are_examined_side_by_side_and_told_in_order(self) -> None:
        both = asyncio.Barrier(2)

        async def first(tell: Tell) -> None:
            await both.wait()
            tell(WELL)

        async def second(tell: Tell) -> None:
            await both.wait()
            tell(ILL)

        assert await examine({"Kafka": first, "Redis": second}, 60) == ([WELL, ILL], False)

    async def test_what_hangs_is_cut_off_and_what_it_found_by_then_is_told(self) -> None:
        async def hang(tell: Tell) -> None:
            tell(WELL)
            await asyncio.Event().wait()

        findings, cut_off = await examine({"Kafka": hang}, 0.01)
        assert findings[0] == WELL
        assert (findings[1].level, findings[1].told) == (Level.PROBLEM, "no answer within 0.01 s")
        assert cut_off

    async def test_a_thread_that_hangs_holds_nobody_up(self) -> None:
        ended = threading.Event()

        async def hang(tell: Tell) -> None:
            await in_thread(ended.wait)

        _, cut_off = await examine({"models": hang}, 0.01)
        ended.set()
        assert cut_off

    async def test_whatever_a_check_meets_is_told_in_a_line(self) -> None:
        async def fail(tell: Tell) -> None:
            raise OSError(5, "Input/output error", "/models")

        (finding,), _ = await examine({"models": fail}, 60)
        assert finding == Finding("models", Level.PROBLEM, "Input/output error: /models")

    async def test_what_a_thread_raises_is_raised(self) -> None:
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda: 1 // 0)


class TestShowing:
    def test_a_pipe_gets_a_line_for_each_finding_and_one_for_what_is_to_be_done(self) -> None:
        assert list(lines([WELL, ODD, ILL], None)) == [
            "\x1b[32mok     \x1b[0m  Kafka  1 broker",
            "\x1b[33mwarning\x1b[0m  Kafka  group x has no members",
            "                -> start a role",
            "\x1b[31mproblem\x1b[0m  Redis  Redis refuses the password",
            "                -> put PENSTOCK_REDIS_URL right",
            "1 problem, 1 warning",
        ]

    def test_a_terminal_gets_lines_that_it_has_room_for(self) -> None:
        long = Finding("Kafka", Level.WARNING, "a word " * 40, "do this " * 40)
        shown = list(lines([long], 80))
        assert max(map(len, shown[1:])) <= 80
        assert len(shown) > 6

    def test_all_well_is_said(self) -> None:
        assert list(lines([WELL], None))[-1] == "all well"

    def test_programs_get_the_worst_and_all_findings(self) -> None:
        assert document([WELL, ODD]) == {
            "status": "warning",
            "findings": [
                {"subject": "Kafka", "level": "ok", "told": "1 broker", "remedy": ""},
                {"subject": "Kafka", "level": "warning", "told": "group x has no members", "remedy": "start a role"},
            ],
        }

    def test_the_exit_status_is_that_of_the_worst(self) -> None:
        assert [EXIT_STATUS[worst(each)] for each in ([], [WELL], [WELL, ODD], [ILL, ODD])] == [0, 0, 1, 2]

    def test_no_secret_is_shown_whatever_a_driver_says(self) -> None:
        secrets = Secrets(["postgresql://me:p%40ss-word@db/jobs", "redis://:other-one@cache"], ["third-one", None])
        leak = Finding("x", Level.PROBLEM, "p@ss-word p%40ss-word other-one", "third-one")
        assert secrets.hidden(leak) == Finding("x", Level.PROBLEM, "*** *** ***", "***")

    @pytest.mark.parametrize(
        "address",
        [
            "postgresql://me@db/jobs?password=p%40ss-word",
            "redis://cache?password=p%40ss-word",
            "postgresql://me@db/jobs?Pass%77ord=p%40ss-word",
        ],
    )
    def test_nor_is_one_that_stands_behind_the_question_mark(self, address: str) -> None:
        assert without_password(address) == address.partition("?")[0]
        leak = Finding("x", Level.PROBLEM, f"{address} p@ss-word")
        assert "ss-word" not in Secrets([address], []).hidden(leak).told

    def test_nor_one_in_an_address_that_cannot_be_read(self) -> None:
        address = "redis://:other-one@[::1"
        assert "other-one" not in without_password(address)
        assert (
            "other-one" not in Secrets([address], []).hidden(Finding("x", Level.PROBLEM, f"{address} other-one")).told
        )

    def test_what_a_server_says_is_one_line_and_cannot_speak_to_the_terminal(self) -> None:
        told = list(lines([Finding("roles", Level.PROBLEM, "not ready: \x1b]0;x\x07\nsecond", "a\nb")], None))
        assert told[0].endswith("not ready: ?]0;x? second")
        assert len(told) == 3


class TestClocks:
    @pytest.mark.parametrize("theirs_s", [99.5, 100.0, 101.0, 102.9])
    def test_clocks_agree_to_a_second(self, theirs_s: float) -> None:
        assert clock("Redis", theirs_s, 100.0, 102.0).level is Level.OK

    @pytest.mark.parametrize(("theirs_s", "told"), [(90.0, "10.0 s behind ours"), (110.0, "8.0 s ahead of ours")])
    def test_clocks_apart_are_told(self, theirs_s: float, told: str) -> None:
        finding = clock("Redis", theirs_s, 100.0, 102.0)
        assert finding.level is Level.WARNING
        assert told in finding.told


class TestMachine:
    @pytest.mark.parametrize(("free_gib", "level"), [(60, "ok"), (3, "warning"), (0.5, "problem")])
    def test_little_room_is_told_before_there_is_none(self, free_gib: float, level: str) -> None:
        assert machine.room(Path("/data"), int(free_gib * GIB)).level == level

    @pytest.mark.parametrize(("most", "level"), [(1024, "warning"), (4096, "ok"), (resource.RLIM_INFINITY, "ok")])
    def test_few_open_files_are_told(self, most: int, level: str) -> None:
        assert machine.open_files(most).level == level

    def test_a_java_that_is_none_is_told_as_up_would(self) -> None:
        finding = machine.java({"PENSTOCK_JAVA": "/no/java"})
        assert finding == Finding("machine", Level.PROBLEM, "PENSTOCK_JAVA is /no/java, which is no program")


class TestKafka:
    @pytest.mark.parametrize(
        ("understood", "words"),
        [
            ({3: (0, 13), 44: (0, 1), 75: (0, 0)}, "4.0 or newer"),
            ({3: (0, 12), 44: (0, 1), 75: (0, 0)}, "3.7 or newer"),
            ({3: (0, 9), 44: (0, 1)}, "2.3 or newer"),
            ({3: (0, 5)}, None),
        ],
    )
    def test_a_release_is_known_by_its_requests(
        self, understood: dict[int, tuple[int, int]], words: str | None
    ) -> None:
        assert kafka_state.version_of(understood) == words
        assert kafka_state.judged_brokers(Brokers(1, words, False), "kafka:9092").level == (
            "ok" if words else "problem"
        )

    def test_topics_that_are_missing_leaderless_or_behind_are_told(self) -> None:
        topics = {"a": [Partition(1, 3, 3)], "b": [Partition(-1, 3, 0)], "c": [Partition(1, 3, 2)]}
        missing, headless, behind = kafka_state.judged_topics(topics, ["a", *(f"t{n}" for n in range(7))])
        assert (missing.level, missing.remedy) == (Level.PROBLEM, "run `penstock migrate`")
        assert missing.told == "7 topics are missing: t0, t1, t2, t3, t4 and 2 more"
        assert (headless.level, headless.told) == (
            Level.PROBLEM,
            "partitions without a leader, of b: nothing can be written there",
        )
        assert (behind.level, behind.told) == (Level.WARNING, "copies that are behind, of b, c")

    def test_topics_that_are_all_there_are_counted(self) -> None:
        (finding,) = kafka_state.judged_topics({"a": [Partition(1, 1, 1)] * 4}, ["a"])
        assert (finding.level, finding.told) == (Level.OK, "1 topics with 4 partitions, each with a leader")

    def test_topics_that_are_set_up_otherwise_are_told(self) -> None:
        (finding,) = kafka_state.judged_settings({"a": {"retention.ms": Other("7", "1000")}})
        assert (finding.level, finding.told) == (Level.WARNING, "retention.ms of a is 7, and would be 1000")

    def test_records_that_nobody_reads_are_told(self) -> None:
        groups = [Group("p.sink", 1, 0), Group("p.digits.1.live", 2, 7), Group("p.old.1.live", 0, 3)]
        alone, all_of_them = kafka_state.judged_groups(groups)
        assert alone.told == "group p.old.1.live has no members, and 3 records wait for it"
        assert (all_of_them.level, all_of_them.told) == (
            Level.OK,
            "2 of 3 groups have members; records that wait: p.digits.1.live 7",
        )
        assert levels(kafka_state.judged_groups([])) == ["warning"]


class TestPostgres:
    DSN = "postgresql://me:secret@db/jobs"
    SOUND = About("18.1", 18, 0.0, False, True, "me", 10, 100, [])

    def test_a_sound_server_is_one_line_without_the_password(self) -> None:
        (finding,) = postgres.judged(self.DSN, self.SOUND)
        assert finding == Finding("Postgres", Level.OK, "Postgres 18.1 answers at postgresql://me@db/jobs")

    @pytest.mark.parametrize(
        ("about", "level", "words"),
        [
            (SOUND._replace(major=12), "problem", "older"),
            (SOUND._replace(standby=True), "problem", "standby"),
            (SOUND._replace(creates=False), "warning", "may create no tables"),
            (SOUND._replace(closed=["jobs"]), "problem", "may not read and write jobs"),
            (SOUND._replace(connections=95), "warning", "95 of its 100 connections"),
        ],
    )
    def test_what_is_wrong_with_it_is_told(self, about: About, level: str, words: str) -> None:
        _, finding = postgres.judged(self.DSN, about)
        assert finding.level == level
        assert words in finding.told
        assert finding.remedy

    @pytest.mark.parametrize(
        ("error", "words", "remedy"),
        [
            (asyncpg.InvalidPasswordError("password authentication failed"), "failed", "user and password"),
            (asyncpg.InvalidCatalogNameError('database "x" does not exist'), '"x"', "create the database"),
            (OSError(111, "Connection refused"), "Connection refused", "start it"),
            (TimeoutError(), "no answer in time", "start it"),
        ],
    )
    def test_the_real_error_comes_with_what_to_do(self, error: Exception, words: str, remedy: str) -> None:
        finding = postgres.unreachable(self.DSN, error)
        assert words in finding.told
        assert "secret" not in finding.told
        assert remedy in finding.remedy

    def test_the_state_of_the_schema_is_told(self) -> None:
        done = [Step(each.number, each.name, each.kind, Standing.APPLIED) for each in known_migrations()]
        pending = done[0]._replace(standing=Standing.PENDING)
        assert postgres.schema(SchemaState(done, None, False, [])).level is Level.OK
        behind = postgres.schema(SchemaState([pending], None, False, []))
        assert (behind.level, behind.remedy) == (Level.PROBLEM, "run `penstock migrate`")


class TestOthers:
    def test_a_password_that_redis_refuses_is_told_as_that(self) -> None:
        finding = redis_check.unreachable("redis://:wrong@cache/0", AuthenticationError("invalid password"))
        assert finding.told == "Redis refuses the password (redis://cache/0)"

    async def test_of_a_role_that_answers_nonsense_the_others_are_told_all_the_same(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pages = {"gateway": "[]", "worker": '{"ready":true,"checks":{}}', "sink": '{"ready":true,"checks":[]}'}

        def answer(request: httpx.Request) -> httpx.Response:
            headers = {"date": "no date"}
            return httpx.Response(200, text=pages.get(request.url.host, ""), headers=headers)

        def clients_for(_: str, connections: int) -> list[httpx.AsyncClient]:
            return [httpx.AsyncClient(transport=httpx.MockTransport(answer)) for _ in range(connections)]

        monkeypatch.setattr("penstock.doctor.gateway.clients_for", clients_for)
        health = {name: f"http://{name}" for name in pages}
        found = await found_by(gateway.RolesCheck("http://gateway", "here", health))
        assert sorted(finding.told.partition(" at ")[0] for finding in found) == [
            "gateway does not answer",
            "sink does not answer",
            "worker is ready",
        ]

    def test_a_role_that_is_not_ready_says_why(self) -> None:
        answer = {"ready": False, "checks": {"kafka": "ok", "postgres": "does not answer"}}
        finding = gateway.health("sink", "http://here", msgspec.convert(answer, Health))
        assert (finding.level, finding.told) == (Level.PROBLEM, "sink is not ready: postgres: does not answer")

    def test_a_role_that_is_slower_says_what_that_costs(self) -> None:
        answer = {"ready": True, "checks": {}, "slower": {"redis": "Redis cannot be reached"}}
        finding = gateway.health("gateway", "http://here", msgspec.convert(answer, Health))
        assert (finding.level, finding.told) == (
            Level.WARNING,
            "gateway is ready, but slower: Redis cannot be reached",
        )

    async def test_settings_that_nobody_reads_or_a_role_would_refuse_are_told(self) -> None:
        unknown, invalid = await found_by(
            SettingsCheck({"PENSTOCK_WORKR_TRUST": "code", "PENSTOCK_GATEWAY_PORT": "-1"})
        )
        assert unknown.told == "PENSTOCK_WORKR_TRUST is no setting: is PENSTOCK_WORKER_TRUST meant?"
        assert invalid.told.startswith("PENSTOCK_GATEWAY_PORT: ")
        assert levels(await found_by(SettingsCheck({"PENSTOCK_GATEWAY_PORT": "1"}))) == ["ok"]

    async def test_models_are_told_with_what_is_wrong_with_each(self, tmp_path: Path) -> None:
        write_model(tmp_path, "platform: none", name="odd")
        directory = write_handler(tmp_path, {"handler.py": "x = 1"})
        distrusted = await found_by(ModelsCheck(tmp_path, "data"))
        assert [finding.told for finding in distrusted if "PENSTOCK_WORKER_TRUST=code" in finding.told]
        odd, sums = await found_by(ModelsCheck(tmp_path, "code"))
        assert odd.told == f"odd is left out: {tmp_path}/odd/model.yaml: name: is missing"
        assert (sums.level, sums.told) == (
            Level.OK,
            "sums/1 can be tried: python_handler, 1 file as pinned",
        )
        (directory / "handler.py").write_text("x = 2")
        _, changed = await found_by(ModelsCheck(tmp_path, "code"))
        assert changed.level is Level.PROBLEM
        assert "is not the file that model.yaml pins" in changed.told

    async def test_a_pinned_file_that_cannot_be_read_is_told_of_its_model_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("first", "second"):
            write_handler(tmp_path, {"handler.py": "x = 1"}, name=name)

        def digest_of(path: Path) -> str:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        monkeypatch.setattr("penstock.doctor.models.digest_of", digest_of)
        told = [finding.told for finding in await found_by(ModelsCheck(tmp_path, "code"))]
        assert told == [
            f"{name}/1 is left out: Permission denied: {tmp_path / name / '1' / 'handler.py'}"
            for name in ("first", "second")
        ]

    async def test_a_repository_without_models_is_told(self, tmp_path: Path) -> None:
        (missing,) = await found_by(ModelsCheck(tmp_path / "none", "data"))
        assert missing.told == f"there is no folder {tmp_path / 'none'}: workers wait for it"
        (empty,) = await found_by(ModelsCheck(tmp_path, "data"))
        assert empty.told == f"there is no model in {tmp_path} yet"
