"""All routes of webhooks."""

from fastapi import FastAPI

from gateway.services import Services
from gateway.webhooks.delivery_routes import add_delivery_routes
from gateway.webhooks.endpoint_routes import add_endpoint_routes
from gateway.webhooks.pull_routes import add_pull_routes


def add_webhook_routes(app: FastAPI, services: Services) -> None:
    add_endpoint_routes(app, services)
    add_delivery_routes(app, services)
    add_pull_routes(app, services)
