"""What a worker serves, from its repository and from what is wanted: the real reconciler, made-up weights and lanes."""

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from runtime.lifecycle import BackgroundTasks
from schemas.errors import ConfigurationError, Unavailable
from schemas.model_states import ModelState, WantedState, encode_state
from schemas.worker_reports import VersionReport
from tests.unit.models.repositories import fields, installed, write_model
from tests.unit.models.test_model_cache import Loader
from tests.unit.models.test_model_cache import ModelLoader as LoadedModel
from tests.waiting import eventually
from workers.inference.engine.inference_thread import InferenceThread
from workers.inference.execution.failures import DeviceFailed
from workers.inference.lifecycle import reconciler
from workers.inference.lifecycle.model_cache import ModelCache, ModelSlot
from workers.inference.lifecycle.model_loader import ModelLoader
from workers.inference.lifecycle.reconciler import ModelReconciler
from workers.inference.lifecycle.watcher import RepositoryWatch
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.repository import ModelRepository


class SlowLoader(Loader):
    """Raises what is in `raising`, by the version's name."""

    def __init__(self) -> None:
        super().__init__()
        self.raising: dict[str, Exception] = {}
        self._held: dict[str, tuple[threading.Event, threading.Event]] = {}

    @contextmanager
    def held(self, name: str) -> Iterator[threading.Event]:
        """Loading this version takes until the end of the block. The event is set when it has begun."""
        began, ended = self._held[name] = threading.Event(), threading.Event()
        try:
            yield began
        finally:
            ended.set()

    def __call__(self, version: ModelVersion) -> LoadedModel:
        if version.name in self.raising:
            raise self.raising[version.name]
        if version.name in self._held:
            began, ended = self._held[version.name]
            began.set()
            assert ended.wait(30)
        return super().__call__(version)


class Lanes:
    """Lanes of a version that do nothing."""

    def __init__(self, slot: ModelSlot, diary: list[str]) -> None:
        self._slot = slot
        self._diary = diary

    @property
    def slot(self) -> ModelSlot:
        return self._slot

    @property
    def absent(self) -> list[str]:
        return []

    def start(self) -> None:
        self._diary.append(f"serve {self._slot.name}")

    def leave(self) -> None:
        self._diary.append(f"leave {self._slot.name}")

    async def left(self) -> None:
        assert self._slot.backend is not None

    async def forgotten(self) -> None:
        await self.left()


class Announcements:
    """Takes down what the catalog is told; `away` while Kafka is."""

    def __init__(self, diary: list[str]) -> None:
        self._diary = diary
        self.away = False

    async def announce(self, versions: Sequence[ModelVersion]) -> None:
        self._diary.extend(f"announce {version.name}" for version in versions)

    async def take_back(self, version: ModelVersion) -> None:
        if self.away:
            raise Unavailable("away")
        self._diary.append(f"take back {version.name}")


class Shop:
    """A reconciler, and all that it does in `diary`."""

    def __init__(
        self, root: Path, patterns: Sequence[str], weights: ModelLoader, load: SlowLoader, side: BackgroundTasks
    ) -> None:
        self.root = root
        self.load = load
        self.weights = weights
        self.diary: list[str] = []
        self.announcements = Announcements(self.diary)
        self.slots: dict[str, ModelSlot] = {}
        self.reported: dict[str, tuple[str, str]] = {}
        self._patterns = patterns
        self.reconciler = ModelReconciler(
            RepositoryWatch(ModelRepository(root, installed("onnxruntime", "tokenizers")), patterns),
            weights,
            self.announcements,
            self._serve,
            side,
            interval_s=0.01,
            report=self._hear,
            for_clients=lambda error: str(error).replace(f"{root}/", ""),
        )

    def _hear(self, versions: Mapping[str, VersionReport]) -> None:
        self.reported = {name: (said.state.value, said.reason) for name, said in versions.items()}

    async def reports(self, **versions: tuple[str, str]) -> None:
        """Returns once this is what is reported; `__` in a name stands for a slash."""
        wanted = {name.replace("__", "/"): said for name, said in versions.items()}
        await eventually(lambda: self.reported == wanted, what=f"a report of {wanted}, not {self.reported}")

    def _serve(self, slot: ModelSlot) -> Lanes:
        self.slots[slot.name] = slot
        return Lanes(slot, self.diary)

    async def start(self) -> None:
        await self.reconciler.start()
        await self.reconciler.loaded()

    def want(self, name: str, state: ModelState, day: int = 1) -> None:
        self.reconciler.hear(name.encode(), encode_state(WantedState(state, datetime(2026, 1, day, tzinfo=UTC))))

    async def wrote(self, *lines: str) -> None:
        """Returns once these are the next lines of the diary, and clears it."""
        await eventually(lambda: self.diary == list(lines), what=f"{lines} in the diary, not {self.diary}")
        self.diary.clear()


def loader(load: Loader, limit_bytes: int, running: InferenceThread, loading: InferenceThread) -> ModelLoader:
    return ModelLoader(ModelCache(load, limit_bytes), bounded=limit_bytes > 0, running=running, loading=loading)


@asynccontextmanager
async def opened(root: Path, *patterns: str, broken: Sequence[str] = (), limit_bytes: int = 0) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(InferenceThread())
        loading = await stack.enter_async_context(InferenceThread("loading"))
        side = await stack.enter_async_context(BackgroundTasks(asyncio.Event()))
        load = SlowLoader()
        load.broken = set(broken)
        shop = Shop(root, patterns or ["*"], loader(load, limit_bytes, running, loading), load, side)
        yield shop


@asynccontextmanager
async def following(
    root: Path, *patterns: str, broken: Sequence[str] = (), limit_bytes: int = 0
) -> AsyncIterator[Shop]:
    """A shop that is open and has an eye on the repository; what it did to open is not in the diary."""
    async with opened(root, *patterns, broken=broken, limit_bytes=limit_bytes) as shop:
        await shop.start()
        shop.diary.clear()
        task = asyncio.create_task(shop.reconciler.follow())
        try:
            yield shop
        finally:
            task.cancel()
            (ended,) = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(ended, asyncio.CancelledError), ended


async def test_each_version_is_loaded_then_announced_then_served(tmp_path: Path) -> None:
    write_model(tmp_path, versions=("1", "2"))
    async with opened(tmp_path) as shop:
        await shop.start()
        await shop.wrote("announce digits/1", "serve digits/1", "announce digits/2", "serve digits/2")


async def test_before_a_version_is_served_it_has_run_in_the_thread_that_makes_all_runs(tmp_path: Path) -> None:
    """Libraries keep what they set up for a thread: CUDA's graphs, caches of algorithms."""
    write_model(tmp_path)
    async with opened(tmp_path) as shop:
        await shop.start()
        (backend,) = shop.load.made
        assert "inference" in backend.ran_in


async def test_what_only_a_wildcard_met_and_cannot_be_loaded_is_left_out(tmp_path: Path) -> None:
    write_model(tmp_path, versions=("1", "2"))
    async with opened(tmp_path, broken=["digits/1"]) as shop:
        await shop.start()
        await shop.wrote("announce digits/2", "serve digits/2")


async def test_what_cannot_be_served_is_known_with_the_reason_until_it_is_mended(tmp_path: Path) -> None:
    write_model(tmp_path, versions=("1", "2"))
    write_model(tmp_path, "platform: none", name="odd")
    async with following(tmp_path, broken=["digits/1"]) as shop:
        assert shop.reconciler.served == ["digits/2"]
        assert shop.reconciler.failed == {
            "odd": f"{tmp_path}/odd/model.yaml: name: is missing",
            "digits/1": "digits/1 is broken",
        }
        shop.load.broken.clear()
        (tmp_path / "digits" / "1" / "model.onnx").write_bytes(b"mended")
        write_model(tmp_path, fields(name="odd"), name="odd")
        await eventually(lambda: shop.reconciler.served == ["digits/1", "digits/2", "odd/1"])
        assert shop.reconciler.failed == {}


async def test_what_nobody_wants_is_not_missed(tmp_path: Path) -> None:
    write_model(tmp_path, fields(max_batch_size=0))
    async with opened(tmp_path) as shop:
        await shop.start()
        assert list(shop.reconciler.failed) == ["digits/1"]
        shop.want("digits/1", ModelState.UNLOADED)
        assert shop.reconciler.failed == {}


async def test_what_is_gone_or_unloaded_has_not_failed_and_its_reason_is_forgotten(tmp_path: Path) -> None:
    write_model(tmp_path, versions=("1", "2", "3"))
    async with following(tmp_path, broken=["digits/1", "digits/2", "digits/3"]) as shop:
        reasons = {f"digits/{number}": f"digits/{number} is broken" for number in (1, 2, 3)}
        assert shop.reconciler.failed == reasons
        shutil.rmtree(tmp_path / "digits" / "1")
        shop.want("digits/2", ModelState.UNLOADED)
        await eventually(lambda: list(shop.reconciler.failed) == ["digits/3"])

        shop.want("digits/2", ModelState.LOADED, day=2)
        write_model(tmp_path, versions=("1",))
        await eventually(lambda: shop.reconciler.failed == reasons, what="what came back failing again")


@pytest.mark.parametrize("limit_bytes", [0, 1_000_000])
async def test_a_version_whose_new_files_fail_and_are_put_back_has_not_failed(tmp_path: Path, limit_bytes: int) -> None:
    write_model(tmp_path)
    file = tmp_path / "digits" / "1" / "model.onnx"
    before, times = file.read_bytes(), file.stat()
    async with following(tmp_path, limit_bytes=limit_bytes) as shop:
        shop.load.broken = {"digits/1"}
        file.write_bytes(b"broken")
        await shop.reports(digits__1=("refused", "digits/1 is broken"))
        assert shop.reconciler.failed == {}  # those of before are served on
        shop.load.broken.clear()
        file.write_bytes(before)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        await shop.reports()
        await eventually(lambda: shop.slots["digits/1"].backend is not None, what="the files of before being loaded")


async def test_a_folder_that_comes_later_is_served_once_its_files_are_all_there(tmp_path: Path) -> None:
    root = tmp_path / "models"
    async with following(root) as shop:
        assert "No such file" in shop.reconciler.trouble
        write_model(root)
        await shop.wrote("announce digits/1", "serve digits/1")
        assert shop.reconciler.trouble == ""


async def test_what_is_unloaded_at_the_start_is_not_loaded_even_where_it_is_named(tmp_path: Path) -> None:
    write_model(tmp_path)
    async with opened(tmp_path, "digits/1", broken=["digits/1"]) as shop:
        shop.want("digits/1", ModelState.UNLOADED)
        await shop.start()
        await shop.wrote()


async def test_within_a_bound_the_rest_is_served_and_waits_to_be_loaded(tmp_path: Path) -> None:
    write_model(tmp_path, versions=("1", "2"))
    for version in "12":
        (tmp_path / "digits" / version / "model.onnx").write_bytes(b"x" * 100)
    async with opened(tmp_path, limit_bytes=150) as shop:
        await shop.start()
        await shop.wrote("announce digits/1", "serve digits/1", "announce digits/2", "serve digits/2")
        assert shop.weights.cache.names == ["digits/1"]


async def test_a_version_that_comes_is_served_and_one_that_goes_is_left(tmp_path: Path) -> None:
    write_model(tmp_path)
    async with following(tmp_path) as shop:
        write_model(tmp_path, versions=("2",))
        await shop.wrote("announce digits/2", "serve digits/2", "announce digits/1")  # 1 is the default no more

        shutil.rmtree(tmp_path / "digits" / "1")
        await shop.wrote("leave digits/1")
        await eventually(lambda: shop.load.open_names() == ["digits/2"])


async def test_a_new_version_that_cannot_be_loaded_is_tried_again_when_it_is_mended(tmp_path: Path) -> None:
    write_model(tmp_path)
    async with following(tmp_path, broken=["digits/2"]) as shop:
        write_model(tmp_path, fields(default_version="1"), versions=("2",))
        write_model(tmp_path, fields(default_version="1"), versions=("3",))
        await shop.wrote("announce digits/3", "serve digits/3")

        shop.load.broken.clear()
        (tmp_path / "digits" / "2" / "model.onnx").write_bytes(b"mended")
        await shop.wrote("announce digits/2", "serve digits/2")


async def test_what_is_unloaded_while_another_version_loads_is_left_at_once(tmp_path: Path) -> None:
    write_model(tmp_path)
    async with following(tmp_path) as shop:
        with shop.load.held("slow/1") as began:
            write_model(tmp_path, name="slow")
            await eventually(began.is_set)
            shop.want("digits/1", ModelState.UNLOADED)
            await shop.wrote("leave digits/1", "take back digits/1")
        await shop.wrote("announce slow/1", "serve slow/1")


async def test_what_is_unloaded_while_it_loads_is_never_served(tmp_path: Path) -> None:
    write_model(tmp_path)
    async with following(tmp_path) as shop:
        with shop.load.held("slow/1") as began:
            write_model(tmp_path, name="slow")
            await eventually(began.is_set)
            shop.want("slow/1", ModelState.UNLOADED)
        await eventually(lambda: len(shop.load.made) == 2 and shop.load.open_names() == ["digits/1"])
        await shop.wrote()


async def test_at_the_end_nothing_stays_in_memory(tmp_path: Path) -> None:
    write_model(tmp_path, versions=("1", "2"))
    async with following(tmp_path) as shop:
        await shop.weights.close()
        assert shop.load.made
        assert shop.load.open_names() == []


async def test_what_is_left_while_its_new_files_load_keeps_nothing_in_memory(tmp_path: Path) -> None:
    write_model(tmp_path)
    async with following(tmp_path) as shop:
        with shop.load.held("digits/1") as began:
            (tmp_path / "digits" / "1" / "model.onnx").write_bytes(b"new")
            await eventually(began.is_set)
            shop.want("digits/1", ModelState.UNLOADED)
            await shop.wrote("leave digits/1", "take back digits/1")
        await eventually(lambda: len(shop.load.made) == 2 and not shop.load.open_names())


async def test_the_default_stays_in_the_catalog_until_the_new_one_is_served(tmp_path: Path) -> None:
    write_model(tmp_path)
    async with following(tmp_path) as shop:
        with shop.load.held("digits/2") as began:
            write_model(tmp_path, versions=("2",))
            await eventually(began.is_set)
            await shop.wrote()
        await shop.wrote("announce digits/2", "serve digits/2", "announce digits/1")


async def test_new_weights_come_with_their_tokenizer(tmp_path: Path) -> None:
    content = fields(
        input=[{"name": "text", "data_type": "TYPE_STRING", "dims": []}],
        parameters={"tokenizer": {"input": "text", "max_tokens": 8}},
    )
    write_model(tmp_path, content)
    (tmp_path / "digits" / "tokenizer.json").write_text("{}")
    async with following(tmp_path) as shop:
        (tmp_path / "digits" / "1" / "model.onnx").write_bytes(b"new")
        (tmp_path / "digits" / "tokenizer.json").write_text('{"new": 1}')
        await shop.wrote("announce digits/1", "leave digits/1", "serve digits/1")  # in lanes that read it again


async def test_the_log_has_the_cause_of_a_version_that_is_left_out(tmp_path: Path) -> None:
    write_model(tmp_path, name="odd")
    write_model(tmp_path)
    async with opened(tmp_path) as shop:
        failed = ConfigurationError("odd/1 failed (ValueError)")
        failed.__cause__ = ValueError("columns are\n missing")
        shop.load.raising["odd/1"] = failed
        with capture_logs() as logs:
            await shop.start()
        assert [entry["reason"] for entry in logs if entry["event"] == "model left out"] == [
            "odd/1 failed (ValueError), because of ValueError: columns are missing"
        ]


async def test_changed_files_take_the_place_of_those_before(tmp_path: Path) -> None:
    write_model(tmp_path)
    async with following(tmp_path) as shop:
        (tmp_path / "digits" / "1" / "model.onnx").write_bytes(b"new")
        await shop.wrote("announce digits/1")
        assert len(shop.load.made) == 2
        assert shop.load.open_names() == ["digits/1"]


async def test_other_micro_batches_take_other_lanes(tmp_path: Path) -> None:
    write_model(tmp_path)
    async with following(tmp_path) as shop:
        write_model(tmp_path, fields(max_batch_size=2))
        await shop.wrote("announce digits/1", "leave digits/1", "serve digits/1")
        await eventually(lambda: shop.load.open_names() == ["digits/1"])


async def test_a_mistake_in_model_yaml_stops_nothing(tmp_path: Path) -> None:
    write_model(tmp_path)
    async with following(tmp_path) as shop:
        write_model(tmp_path, "no: model")
        write_model(tmp_path, fields(name="other"), name="other")
        await shop.wrote("announce other/1", "serve other/1")  # two looks later than the mistake


async def test_unloading_leaves_and_takes_back_and_loading_serves_again(tmp_path: Path) -> None:
    write_model(tmp_path, versions=("1", "2"))
    async with following(tmp_path) as shop:
        shop.want("digits/2", ModelState.UNLOADED)
        await shop.wrote("leave digits/2", "take back digits/2")
        await eventually(lambda: shop.load.open_names() == ["digits/1"])

        shop.want("digits/2", ModelState.LOADED, day=2)
        await shop.wrote("announce digits/2", "serve digits/2")


async def test_a_catalog_that_cannot_be_told_stops_no_unloading(tmp_path: Path) -> None:
    write_model(tmp_path)
    async with following(tmp_path) as shop:
        shop.announcements.away = True
        shop.want("digits/1", ModelState.UNLOADED)
        await shop.wrote("leave digits/1")
        await eventually(lambda: not shop.load.open_names())


async def test_loading_what_is_served_announces_it_again(tmp_path: Path) -> None:
    write_model(tmp_path)
    async with following(tmp_path) as shop:
        shop.want("digits/1", ModelState.LOADED)
        await shop.wrote("announce digits/1")


async def test_a_repository_that_cannot_be_read_stops_nothing(tmp_path: Path) -> None:
    root = tmp_path / "models"
    write_model(root)
    async with following(root) as shop:
        root.rename(tmp_path / "away")
        shop.want("digits/1", ModelState.LOADED)
        (tmp_path / "away").rename(root)
        await shop.wrote("announce digits/1")


async def test_a_version_that_answers_wrongly_is_left_and_served_again_after_a_fresh_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "FIRST_RELOAD_S", 0.01)
    write_model(tmp_path)
    async with following(tmp_path) as shop:
        loaded = len(shop.load.made)
        wrong = shop.slots["digits/1"]
        shop.reconciler.take_out(wrong)
        await shop.wrote("leave digits/1", "announce digits/1", "serve digits/1")
        shop.reconciler.take_out(wrong)  # which is no longer what is served
        assert len(shop.load.made) == loaded + 1
        assert shop.reconciler.out_of_service == []
        await eventually(lambda: shop.load.open_names() == ["digits/1"])  # the weights that answered wrongly are gone


async def test_a_version_that_was_taken_out_is_loaded_until_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "FIRST_RELOAD_S", 0.01)
    write_model(tmp_path)
    async with following(tmp_path) as shop:
        shop.load.broken = {"digits/1"}
        tries = shop.load.tries
        shop.reconciler.take_out(shop.slots["digits/1"])
        await eventually(lambda: shop.load.tries >= tries + 3)
        assert shop.reconciler.out_of_service == ["digits/1"]
        shop.load.broken = set()
        await shop.wrote("leave digits/1", "announce digits/1", "serve digits/1")


async def test_a_version_that_was_taken_out_and_is_gone_is_out_of_service_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "FIRST_RELOAD_S", 3600.0)
    write_model(tmp_path, versions=("1", "2"))
    async with following(tmp_path) as shop:
        shop.reconciler.take_out(shop.slots["digits/1"])
        await shop.wrote("leave digits/1")
        assert shop.reconciler.out_of_service == ["digits/1"]
        shop.reconciler.take_out(shop.slots["digits/2"])
        await shop.wrote("leave digits/2")
        shutil.rmtree(tmp_path / "digits" / "1")
        await eventually(lambda: shop.reconciler.out_of_service == ["digits/2"])
        shop.want("digits/2", ModelState.UNLOADED)
        await eventually(lambda: shop.reconciler.out_of_service == [])


async def test_a_version_that_answers_wrongly_has_failed_with_that_reason_while_it_is_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "FIRST_RELOAD_S", 0.01)
    write_model(tmp_path)
    async with following(tmp_path, broken=["digits/1"]) as shop:
        assert shop.reconciler.failed == {"digits/1": "digits/1 is broken"}
        shop.load.broken.clear()
        shop.want("digits/1", ModelState.LOADED)
        await shop.wrote("announce digits/1", "serve digits/1")
        with shop.load.held("digits/1") as began:
            shop.reconciler.take_out(shop.slots["digits/1"])
            await eventually(began.is_set, what="the load")
            assert shop.reconciler.failed == {"digits/1": reconciler.ANSWERS_WRONGLY}
        await eventually(lambda: shop.reconciler.failed == {})


async def test_a_version_that_is_unloaded_while_it_is_loaded_again_is_out_of_service_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "FIRST_RELOAD_S", 0.01)
    write_model(tmp_path)
    async with following(tmp_path) as shop:
        with shop.load.held("digits/1") as began:
            shop.reconciler.take_out(shop.slots["digits/1"])
            await eventually(began.is_set, what="the load")
            shop.want("digits/1", ModelState.UNLOADED)
        await eventually(lambda: shop.reconciler.out_of_service == [])


async def test_a_device_that_fails_while_a_version_is_loaded_ends_the_process(tmp_path: Path) -> None:
    write_model(tmp_path)
    with pytest.raises(DeviceFailed):  # noqa: PT012 - it is raised where the side tasks are left
        async with opened(tmp_path) as shop:
            shop.load.device_failed = True
            await shop.start()


async def test_what_is_not_served_is_reported_with_its_reason_until_it_is_mended(tmp_path: Path) -> None:
    write_model(tmp_path)
    async with following(tmp_path, broken=["digits/2"]) as shop:
        await shop.reports()
        write_model(tmp_path, fields(default_version="1"), versions=("2",))
        await shop.reports(digits__2=("refused", "digits/2 is broken"))

        shop.load.broken.clear()
        shop.want("digits/2", ModelState.LOADED)
        await shop.reports()
        shop.want("digits/2", ModelState.UNLOADED)
        await shop.reports(digits__2=("unloaded", ""))
        shutil.rmtree(tmp_path / "digits" / "2")
        await shop.reports()


async def test_a_refused_version_that_is_gone_is_reported_no_more(tmp_path: Path) -> None:
    write_model(tmp_path)
    async with following(tmp_path, broken=["digits/2"]) as shop:
        write_model(tmp_path, fields(default_version="1"), versions=("2",))
        await shop.reports(digits__2=("refused", "digits/2 is broken"))
        shutil.rmtree(tmp_path / "digits" / "2")
        await shop.reports()


async def test_a_model_that_cannot_be_read_is_reported_as_a_whole(tmp_path: Path) -> None:
    write_model(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.yaml").write_text("name: [")
    async with following(tmp_path) as shop:
        await eventually(lambda: "other" in shop.reported, what="a report of it")
        state, reason = shop.reported["other"]
        assert (state, reason.partition(",")[0]) == ("refused", "other/model.yaml")


async def test_a_version_is_reported_as_loading_while_it_is_loaded(tmp_path: Path) -> None:
    write_model(tmp_path)
    async with following(tmp_path) as shop:
        with shop.load.held("digits/2") as began:
            write_model(tmp_path, fields(default_version="1"), versions=("2",))
            await eventually(began.is_set, what="the load")
            await shop.reports(digits__2=("loading", ""))
        await shop.reports()


async def test_a_version_that_answers_wrongly_is_reported_as_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    async with following(tmp_path) as shop:
        shop.load.broken = {"digits/1"}
        shop.reconciler.take_out(shop.slots["digits/1"])
        await shop.reports(digits__1=("refused", reconciler.ANSWERS_WRONGLY))
