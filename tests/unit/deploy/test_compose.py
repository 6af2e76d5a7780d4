"""What can be held true of the containers without running one."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.settings import GatewaySettings
from penstock.migrate_settings import MigrateSettings
from runtime.settings import Settings
from workers.feeder.settings import FeederSettings
from workers.inference.settings import WorkerSettings
from workers.notifier.settings import NotifierSettings
from workers.rollout.settings import RolloutSettings
from workers.router.settings import RouterSettings
from workers.sink.settings import SinkSettings

ROOT = Path(__file__).parents[3]
COMPOSE_FILE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
ROLES = ("gateway", "router", "sink", "notifier", "feeder", "rollout", "worker-cpu", "worker-gpu")
PINNED = re.compile(r"[a-z0-9/-]+:v?\d+(\.\d+)+(-[a-z0-9.]+)?")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file with its anchors and merges resolved."""
    content: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
    return content


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def test_the_compose_file_keeps_the_compose_specification() -> None:
    checked = run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE_FILE))

    assert checked.returncode == 0, checked.stdout


def test_hadolint_has_no_objection_to_the_dockerfile() -> None:
    checked = run(tool("hadolint"), "--no-color", str(DOCKERFILE))

    assert checked.returncode == 0, checked.stdout


def test_every_part_is_there(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == {"kafka", "postgres", "valkey", "migrate", *ROLES, "prometheus", "grafana"}
    assert services["worker-cpu"]["profiles"] == ["cpu"]
    assert services["worker-gpu"]["profiles"] == ["gpu"]


def test_images_that_are_not_built_here_are_pinned_to_a_release(services: dict[str, dict[str, Any]]) -> None:
    foreign = {name: service["image"] for name, service in services.items() if "build" not in service}

    assert {name: image for name, image in foreign.items() if not PINNED.fullmatch(image)} == {}


def test_every_build_names_a_target_of_the_dockerfile(services: dict[str, dict[str, Any]]) -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE.read_text(), re.MULTILINE))
    built = {service["build"]["target"] for service in services.values() if "build" in service}

    assert built == set(ROLES)
    assert built <= targets


def test_everything_that_stays_is_restarted_and_watched(services: dict[str, dict[str, Any]]) -> None:
    health_in_image = set(ROLES)
    for name, service in services.items():
        if name == "migrate":
            continue
        assert service["restart"] == "unless-stopped", name
        assert name in health_in_image or "healthcheck" in service, name


def test_our_roles_cannot_write_and_have_no_privileges(services: dict[str, dict[str, Any]]) -> None:
    for name in (*ROLES, "migrate"):
        assert services[name]["read_only"] is True, name
        assert services[name]["cap_drop"] == ["ALL"], name


def test_nothing_is_open_beyond_this_machine(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


# How the containers reach each other and the device, and what is fixed by what runs beside them.
SET_BY_COMPOSE = {
    *("kafka_bootstrap_servers", "postgres_dsn", "redis_url", "kafka_security_protocol", "kafka_ssl_cafile"),
    *("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password", "kafka_replication_factor"),
    *("health_host", "health_port", "gateway_host", "gateway_port", "worker_device", "model_repository"),
}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gateway", GatewaySettings),
        ("router", RouterSettings),
        ("sink", SinkSettings),
        ("notifier", NotifierSettings),
        ("feeder", FeederSettings),
        ("rollout", RolloutSettings),
        ("worker-cpu", WorkerSettings),
        ("worker-gpu", WorkerSettings),
        ("migrate", MigrateSettings),
    ],
)
def test_every_setting_of_a_role_reaches_it(
    services: dict[str, dict[str, Any]], name: str, settings: type[Settings]
) -> None:
    given = services[name]["environment"]
    for field in settings.model_fields.keys() - SET_BY_COMPOSE:
        variable = f"PENSTOCK_{field.upper()}"
        assert given.get(variable, "").startswith(f"${{{variable}:-"), variable


def test_a_password_may_have_any_characters(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for variable, value in (service.get("environment") or {}).items():
            assert "PASSWORD" not in str(value) or variable.endswith("PASSWORD"), "it would have to be escaped"
    assert services["sink"]["environment"]["PGPASSWORD"] == services["postgres"]["environment"]["POSTGRES_PASSWORD"]


def test_what_must_stay_stands_on_named_volumes(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name in ("kafka", "postgres", "prometheus", "grafana"):
        assert any(volume.startswith(f"{name}:") for volume in services[name]["volumes"]), name
    for name in ("gateway", "feeder"):
        assert "blobs:/blobs" in services[name]["volumes"]
    assert set(compose["volumes"]) == {"blobs", "kafka", "postgres", "prometheus", "grafana"}


def test_each_role_image_is_unprivileged_and_says_whether_it_is_ready() -> None:
    text = DOCKERFILE.read_text()
    role_stage = text[text.index(" AS role\n") :]

    assert re.search(r"^USER 10001:10001$", role_stage, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", role_stage, re.MULTILINE)
    for role in ROLES:
        assert re.search(rf"^FROM role AS {role}$", text, re.MULTILINE), role
    assert len(re.findall(r"^USER ", text, re.MULTILINE)) == 1, "nothing takes the privileges back"


def test_only_the_gpu_image_holds_torch() -> None:
    installs = re.findall(r"^FROM build AS (\S+)\nRUN install-dependencies (.+)$", DOCKERFILE.read_text(), re.MULTILINE)

    assert {stage.removeprefix("build-") for stage, _ in installs} == set(ROLES)
    assert [stage for stage, extras in installs if "torch" in extras.split()] == ["build-worker-gpu"]


def test_no_image_holds_two_builds_of_onnx_runtime() -> None:
    installs = re.findall(r"^RUN install-dependencies (.+)$", DOCKERFILE.read_text(), re.MULTILINE)

    assert [extras for extras in installs if {"onnx", "onnx-gpu"} <= set(extras.split())] == []


@pytest.mark.parametrize("file", ["deploy/prometheus/prometheus.yml", "docker-compose.yml"])
def test_no_file_names_a_registry(file: str) -> None:
    text = (ROOT / file).read_text()

    assert not re.search(r"\b(ghcr|quay|docker|gcr|mcr)\.(io|com)\b", text)


def test_the_wheels_packages_and_nothing_else_reach_the_build() -> None:
    ignore = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignore[1] == "*"
    let_in = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    packages = {"schemas", "runtime", "stores", "producers", "gateway", "workers", "penstock"}

    assert packages <= let_in
    assert {path for path in let_in if not (ROOT / path).exists()} == set()
    assert let_in.isdisjoint({"tests", "examples", "benchmarks", ".git"})


def test_prometheus_scrapes_the_ports_on_which_the_roles_answer(services: dict[str, dict[str, Any]]) -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    scraped = {
        (name, discovery["port"])
        for job in config["scrape_configs"]
        for discovery in job.get("dns_sd_configs", ())
        for name in discovery["names"]
    }

    assert scraped == {("gateway", 8080), *((role, 9464) for role in ROLES if role != "gateway")}
    assert {name for name, _ in scraped} <= set(services)


def test_grafana_finds_the_dashboard_where_it_is_mounted(services: dict[str, dict[str, Any]]) -> None:
    provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/penstock.yml").read_text())
    path = provider["providers"][0]["options"]["path"]

    assert f"./deploy/grafana/dashboards:{path}:ro" in services["grafana"]["volumes"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert json.loads((ROOT / "deploy/grafana/dashboards" / Path(home).name).read_text())["title"] == "Penstock"
