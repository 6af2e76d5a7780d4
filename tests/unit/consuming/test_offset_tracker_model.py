"""The low-water mark against a model that remembers everything, over every order of events."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.examples import examples
from workers.consuming.offsets import OffsetTracker, Partition

PARTITIONS = [Partition("things", number) for number in range(3)]
partitions = st.sampled_from(PARTITIONS)


class TrackerAgainstModel(RuleBasedStateMachine):
    """The model: what each partition's broker holds, who owns it since when, and which offsets are finished."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = OffsetTracker()
        self.open: dict[Partition, dict[int, bool]] = {}  # of the present epoch: offset -> finished
        self.broker: dict[Partition, int] = dict.fromkeys(PARTITIONS, 0)
        self.handed_out: list[tuple[Partition, int, int]] = []

    @rule(partition=partitions)
    def assign(self, partition: Partition) -> None:
        self.tracker.assign([partition])
        self.open[partition] = {}

    @rule(partition=partitions)
    def revoke(self, partition: Partition) -> None:
        self.tracker.revoke([partition])
        self.open.pop(partition, None)

    @rule(partition=partitions, gaps=st.lists(st.integers(1, 3), min_size=1, max_size=5))
    def fetch(self, partition: Partition, gaps: list[int]) -> None:
        known = self.open.get(partition)
        offset = self.broker[partition] - 1 if not known else max(known)
        offsets = [offset := offset + gap for gap in gaps]
        epoch = self.tracker.register(partition, offsets)
        assert (epoch is not None) == (known is not None)
        if epoch is None or known is None:
            return
        known.update(dict.fromkeys(offsets, False))
        self.handed_out.extend((partition, epoch, each) for each in offsets)

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        if not self.handed_out:
            return
        partition, epoch, offset = data.draw(st.sampled_from(self.handed_out))
        owned = self.tracker.owns(partition, epoch)
        self.tracker.finish(partition, epoch, [offset])
        if owned:
            self.open[partition][offset] = True

    @rule(accepted=st.booleans())
    def commit(self, accepted: bool) -> None:
        marks = self.tracker.to_commit()
        for partition, mark in marks.items():
            assert mark >= self.broker[partition], "a commit rewinds the group"
            unfinished = [offset for offset, finished in self.open[partition].items() if not finished]
            assert all(mark <= offset for offset in unfinished), "a commit passes an open record"
        if accepted:
            self.broker |= marks
            self.tracker.committed(marks)

    @invariant()
    def the_mark_is_the_first_open_offset_or_one_past_the_last(self) -> None:
        marks = self.tracker.to_commit()
        for partition, known in self.open.items():
            unfinished = [offset for offset, finished in known.items() if not finished]
            expected = min(unfinished) if unfinished else max(known, default=-1) + 1
            if partition in marks:
                assert marks[partition] == expected
            if known:
                assert self.tracker.span(partition) == max(known) + 1 - expected
            assert self.tracker.open_count(partition) == len(unfinished)
        assert set(marks) <= set(self.open)


TestTrackerAgainstModel = TrackerAgainstModel.TestCase
TestTrackerAgainstModel.settings = examples(60, stateful_step_count=40)
