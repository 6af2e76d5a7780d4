"""Writing down which versions operators want loaded. Workers read it and act."""

from producers.catalog import Catalog, take_back
from producers.model_states import ModelStates, publish_state
from producers.protocols import Publisher
from runtime.clock import Clock
from schemas.errors import ModelNotFound
from schemas.model_states import ModelState, WantedState
from schemas.names import is_model_name, is_version
from schemas.topics import Topics


class ModelControl:
    def __init__(
        self, publisher: Publisher, topics: Topics, catalog: Catalog, states: ModelStates, clock: Clock
    ) -> None:
        self._publisher = publisher
        self._topics = topics
        self._catalog = catalog
        self._states = states
        self._clock = clock

    async def want(self, model: str, version: str, state: ModelState) -> WantedState:
        """Have the version loaded or unloaded. Returns what was written.

        Raises `ModelNotFound` for what cannot be, and what `Publisher.publish` raises. Asking again does no harm.
        """
        self._check(model, version, state)
        wanted = WantedState(state, self._clock())
        await publish_state(self._publisher, self._topics, model, version, wanted)
        if state is ModelState.UNLOADED:
            # Here as well as by the workers: of a version that none serves any more, nobody else would do it.
            await take_back(self._publisher, self._topics, model, version)
        return wanted

    def _check(self, model: str, version: str, state: ModelState) -> None:
        if not is_model_name(model):
            raise ModelNotFound("no model can have this name", param="model")
        if not is_version(version):
            raise ModelNotFound("no version can have this name", param="version")
        # A version that no worker has announced may be loadable all the same; there is nothing of it to unload.
        if state is ModelState.UNLOADED and self._states.of(model, version) is None:
            self._catalog.snapshot.choose(model, version)
