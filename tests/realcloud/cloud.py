"""The real cloud: seeded with users, with a request log, and restartable."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Self

from tests.cloud import REGION, USERS, CloudUnderTest, LoggedRequest, User
from tests.realcloud import configuration
from tests.realcloud.installation import HERE, Installation
from tests.realcloud.process import Server, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from tests.request_log import Service


# Measured as the fastest for Glance on two cores; Keystone has less to do.
KEYSTONE_WORKERS, KEYSTONE_THREADS = 1, 8
GLANCE_WORKERS, GLANCE_THREADS = 2, 8


class RealCloud(CloudUnderTest):
    """A Keystone and a Glance, as a context manager, with all their files under `state`, an empty directory."""

    def __init__(
        self, installation: Installation, state: Path, *, environ: Mapping[str, str], image_member_quota: int = 128
    ) -> None:
        keystone_port, glance_port = free_port(), free_port()
        super().__init__(
            auth_url=f"http://127.0.0.1:{keystone_port}/v3",
            endpoint=f"http://127.0.0.1:{glance_port}",
            image_member_quota=image_member_quota,
        )
        self.installation = installation
        self.state = state
        self._environ = environ
        self._keystone = self._server("keystone", keystone_port, KEYSTONE_WORKERS, KEYSTONE_THREADS)
        self._glance = self._server("glance", glance_port, GLANCE_WORKERS, GLANCE_THREADS)

    def __enter__(self) -> Self:
        shutil.copytree(self.installation.template, self.state, dirs_exist_ok=True)
        for directory in ("images", "staging", "tasks"):
            (self.state / directory).mkdir()
        (self.state / "keystone.conf").write_text(configuration.keystone_conf(self.state), "utf-8")
        self._configure_glance()
        try:
            self._keystone.start()
            self._glance.start()
            self._keystone.wait_ready("/v3")
            self._seed()
            self._glance.wait_ready("/healthcheck")
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()

    def stop_glance(self) -> None:
        """Shut Glance down cleanly; connections are refused from then on."""
        self._glance.stop()

    def start_glance(self, *, image_member_quota: int | None = None) -> None:
        """Start Glance on its port and database, with another quota if given, and wait until it is ready."""
        if image_member_quota is not None:
            self.image_member_quota = image_member_quota
        self._configure_glance()
        self._glance.start()
        self._glance.wait_ready("/healthcheck")

    def restart_glance(self, *, image_member_quota: int | None = None) -> None:
        """Stop Glance and start it again."""
        self.stop_glance()
        self.start_glance(image_member_quota=image_member_quota)

    def forget_images(self) -> None:
        """Restart Glance with an empty database."""
        self._glance.kill()
        for part in self.state.glob("glance.db*"):
            part.unlink()
        shutil.copy(self.installation.template / "glance.db", self.state)
        self.start_glance()

    def glance_log(self) -> Path:
        """Return Glance's own log file."""
        return self.state / "glance.log"

    def _all_logged(self, service: Service) -> list[LoggedRequest]:
        file = self.state / {"image": "glance.requests", "identity": "keystone.requests"}[service]
        lines = file.read_text("latin-1").splitlines() if file.exists() else []
        return [LoggedRequest(method, target, int(status)) for method, target, status in map(str.split, lines)]

    def _server(self, name: str, port: int, workers: int, threads: int) -> Server:
        serve = HERE / "serve.py"
        # -P: the services must not import our modules beside serve.py.
        command = [self.installation.python, "-P", serve, name, str(port), str(workers), str(threads), self.state]
        environ = {
            **self._environ,
            "HOME": str(self.state),
            "TMPDIR": str(self.state),
            "PYTHONWARNINGS": "ignore",
            f"OS_{name.upper()}_CONFIG_DIR": str(self.state),
        }
        return Server([str(word) for word in command], environ=environ, port=port, output=self.state / f"{name}.out")

    def _configure_glance(self) -> None:
        text = configuration.glance_conf(
            self.state,
            paste=self.installation.paste,
            auth_url=self.auth_url,
            endpoint=self.endpoint,
            image_member_quota=self.image_member_quota,
        )
        (self.state / "glance-api.conf").write_text(text, "utf-8")

    def _seed(self) -> None:
        """Fill the catalog and create the users with their projects and roles; the admin exists already."""
        for service, kind, url in (("keystone", "identity", self.auth_url), ("glance", "image", self.endpoint)):
            service_id = self._make("service", name=service, type=kind)
            for interface in ("public", "internal", "admin"):
                self._make("endpoint", service_id=service_id, interface=interface, url=url, region_id=REGION)
        users = [user for user in USERS.values() if user.name != "admin"]
        glance = User(configuration.SERVICE_USER, configuration.SERVICE_PASSWORD, "service", "service")
        projects = {name: self.create_project(name) for name in sorted({user.project for user in [*users, glance]})}
        for user in [*users, glance]:
            self.create_user(user, {projects[user.project]: user.role})
        del self.users[glance.name]

    def _kill(self) -> None:
        self._glance.kill()
        self._keystone.kill()
