"""How model versions stand: what the catalog holds, what operators want, what workers report, who is in their lanes."""

from collections import defaultdict
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

from producers.catalog import Catalog
from producers.holds import Holds
from producers.model_states import ModelStates
from producers.routes import Routes
from producers.worker_reports import WorkerReports
from schemas.catalog import CatalogEntry
from schemas.errors import ModelNotFound, PenstockError, Unavailable
from schemas.holds import admission_refused, because
from schemas.job_documents import Notice
from schemas.jobs import Job, Status
from schemas.model_states import ModelState
from schemas.moves import moved_to
from schemas.routes import LATEST, STABLE
from schemas.topics import Lane
from schemas.versions import CatalogSnapshot, natural_order
from schemas.worker_reports import NotServed

FIRST_MODEL_RETRY_S: Final = 2.0
NO_REASON: Final = "the worker's log has the reason"


class State(StrEnum):
    SERVING = "serving"  # a worker is there
    LOADING = "loading"  # a worker is loading it, and none serves it yet
    REFUSED = "refused"  # it is in a worker's repository and could not be loaded
    UNLOADED = "unloaded"  # an operator has taken it out of service
    NO_WORKER = "no_worker"  # it was served, and jobs for it wait until a worker is back
    UNKNOWN = "unknown"  # whether a worker is there cannot be told at the moment


class Standing(NamedTuple):
    """`reason` says why a worker could not load the version, or what stands in the repository now under its name."""

    state: State
    reason: str | None = None


class Serving:
    """`workers` says of a model and version how many workers serve it now, or None where it cannot tell."""

    def __init__(
        self,
        catalog: Catalog,
        wanted: ModelStates,
        reports: WorkerReports,
        workers: Callable[[str, str], int | None],
        routes: Routes,
        holds: Holds,
    ) -> None:
        self._catalog = catalog
        self._wanted = wanted
        self._reports = reports
        self._workers = workers
        self._routes = routes
        self._holds = holds

    @property
    def catalog(self) -> Catalog:
        return self._catalog

    @property
    def snapshot(self) -> CatalogSnapshot:
        return self._catalog.snapshot

    def known(self, model: str, version: str | None) -> CatalogEntry:
        """The entry in the catalog. Raises `ModelNotFound`, saying what is known of the version."""
        try:
            return self._catalog.snapshot.choose(model, version)
        except ModelNotFound as error:
            raise self._explained(error, model, version) from error

    def choose(self, model: str, version: str | None) -> CatalogEntry:
        """As `known`, where jobs are to go there: raises what `explained` tells."""
        try:
            return self._catalog.snapshot.choose(model, version)
        except ModelNotFound as error:
            raise self.explained(error, model, version) from error

    def explained(self, error: ModelNotFound, model: str, version: str | None) -> PenstockError:
        """What to tell whoever submits for what the catalog does not hold; `Unavailable` for what is about to come, and
        while nobody can know of any model."""
        if not self._catalog.told:
            return Unavailable("no worker has announced any model yet", retry_after_s=FIRST_MODEL_RETRY_S)
        coming = self._coming(model, version)
        return self._explained(error, model, version) if coming is None else coming

    def _explained(self, error: ModelNotFound, model: str, version: str | None) -> ModelNotFound:
        why = self._why_not(model, version)
        return error if why is None else ModelNotFound(why, param=error.param)

    def models(self) -> dict[str, dict[str, Standing]]:
        """All that the catalog holds or a worker reports, or that was there a moment ago, by name; and `versions`."""
        left = self._left()
        names = self._catalog.snapshot.models.keys() | set(self._reports.models()) | left.keys()
        return {name: self._versions(name, left.get(name, set())) for name in sorted(names)}

    def versions(self, model: str) -> dict[str, Standing]:
        """How each version stands, in ascending order. A model whose model.yaml cannot be read may have none."""
        return self._versions(model, self._left().get(model, set()))

    def _versions(self, model: str, left: set[str]) -> dict[str, Standing]:
        reported = {version for version in self._reports.of_model(model) if version is not None}
        known = self._catalog.snapshot.models.get(model, {}).keys() | reported | left
        return {version: self.standing(model, version) for version in sorted(known, key=natural_order)}

    def _left(self) -> dict[str, set[str]]:
        """The versions of each model that were there a moment ago."""
        left = defaultdict[str, set[str]](set)
        for model, version in (*self._catalog.left(), *self._reports.left()):
            left[model].add(version)
        return left

    def refusal(self, model: str) -> str | None:
        """Why a worker can read nothing of the model."""
        said = self._reports.of_model(model).get(None)
        return None if said is None else said.reason or NO_REASON

    def refuse_held(self, tenant: str, lane: Lane) -> None:
        """Raises `AdmissionRefused` where an operator has new jobs of the tenant in the lane refused."""
        hold = self._holds.now.refusing(tenant, lane.model, lane.version, lane.cls)
        if hold is not None:
            raise admission_refused(hold)

    def notice(self, job: Job) -> Notice | None:
        """What a client should know of a job that waits: that it is held, or that no worker serves its version now.
        Of one whose version was taken back only the first: it waits for another."""
        if job.status is not Status.QUEUED:
            return None
        hold = self._holds.now.holding(job)
        if hold is not None:
            waits = "this one waits until they are released or its deadline passes"
            return Notice(f"an operator holds the jobs of {hold}{because(hold)}; {waits}", hold)
        text = None if self._goes_on(job) else self._why_waiting(job)
        return None if text is None else Notice(text)

    def _why_waiting(self, job: Job) -> str | None:
        state, reason = self.standing(job.model, job.version)
        name = f"{job.model}/{job.version}"
        match state:
            case State.NO_WORKER:
                return f"no worker serves {name} now; the job waits until one does or its deadline passes"
            case State.UNLOADED:
                return f"{name} is unloaded; the job waits until it is loaded again or its deadline passes"
            case State.LOADING:
                return f"{name} is being loaded"
            case State.REFUSED:
                return f"no worker serves {name} now, and it could not be loaded: {reason}"
        return None

    def _goes_on(self, job: Job) -> bool:
        route = self._routes.of.get(job.model)
        return route is not None and moved_to(route, job.version, job.revision, job.cohort) is not None

    def standing(self, model: str, version: str) -> Standing:
        wanted, said = self._wanted.of(model, version), self._reports.of(model, version)
        refused = said is not None and said.state is NotServed.REFUSED
        reason = (said.reason or NO_REASON) if said is not None and refused else None
        if wanted is not None and wanted.state is ModelState.UNLOADED:
            return Standing(State.UNLOADED)
        workers = self.workers(model, version)
        if workers:
            return Standing(State.SERVING, reason)
        if refused:
            return Standing(State.REFUSED, reason)
        announced = self._catalog.snapshot.get(model, version) is not None
        if (said is not None and said.state is NotServed.LOADING) or (wanted is not None and not announced):
            return Standing(State.LOADING)
        return Standing(State.UNKNOWN if workers is None else State.NO_WORKER)

    def workers(self, model: str, version: str) -> int | None:
        """How many are loaded with it and take its jobs; None where that cannot be told at the moment."""
        announced = version in self._catalog.snapshot.models.get(model, {})
        return self._workers(model, version) if announced else 0

    def _coming(self, model: str, version: str | None) -> Unavailable | None:
        """What to tell of a version that a worker is loading, or that was there a moment ago; of the highest, where
        none was named."""
        versions = self.versions(model)
        if version is None or self._is_label(model, version):
            version = next(reversed(versions), "")
        standing = versions.get(version)
        if standing is None:
            return None
        name = f"model {model!r} version {version!r}"
        match standing.state:
            case State.LOADING:
                return Unavailable(f"{name} is being loaded: try again in a moment", retry_after_s=FIRST_MODEL_RETRY_S)
            case State.NO_WORKER | State.UNKNOWN:
                return Unavailable(f"no worker has {name} now: try again", retry_after_s=FIRST_MODEL_RETRY_S)
        return None

    def _is_label(self, model: str, version: str) -> bool:
        route = self._routes.of.get(model)
        return version in (STABLE, LATEST) or (route is not None and version in route.labels)

    def _why_not(self, model: str, version: str | None) -> str | None:
        """What is known of a version that the catalog does not hold; of the highest, where none was named."""
        if (refusal := self.refusal(model)) is not None:
            return f"model {model!r} is in the repository and could not be loaded: {refusal}"
        versions = self.versions(model)
        version = next(reversed(versions), None) if version is None else version
        if version is None:
            return None
        name = f"model {model!r} version {version!r}"
        state, reason = versions.get(version) or self.standing(model, version)
        match state:
            case State.REFUSED:
                return f"{name} is in the repository and could not be loaded: {reason}"
            case State.LOADING:
                return f"{name} is being loaded: try again in a moment"
            case State.UNLOADED:
                return f"{name} is unloaded; POST /v1/models/{model}/versions/{version}:load puts it back"
        return None
