"""All routes of webhooks."""

from fastapi import FastAPI

from gateway.services import Services
from gateway.webhooks.default_secret_routes import add_default_secret_routes
from gateway.webhooks.delivery_routes import add_delivery_routes
from gateway.webhooks.endpoint_routes import add_endpoint_routes
from gateway.webhooks.pull_routes import add_pull_routes
from gateway.webhooks.signed_result_routes import add_signed_result_routes


def add_webhook_routes(app: FastAPI, services: Services) -> None:
    add_endpoint_routes(app, services)
    add_delivery_routes(app, services)
    add_pull_routes(app, services)
    add_default_secret_routes(app, services)
    add_signed_result_routes(app, services)
