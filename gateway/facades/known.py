"""All facades, in the order in which they are asked."""

from collections.abc import Sequence

from gateway.facades.facade import Facade
from gateway.facades.oip import OpenInference
from gateway.facades.openai_embeddings import Embeddings
from gateway.facades.replicate import Replicate
from gateway.facades.tfserving import TensorFlowServing
from gateway.facades.tutorial import Tutorial
from gateway.services import Services


def facades_of(services: Services) -> Sequence[Facade]:
    return (
        OpenInference(services),
        TensorFlowServing(services),
        Embeddings(services),
        Tutorial(services),
        Replicate(services),
    )
