"""The floors of the program: imports go straight down, never sideways, never up."""

from __future__ import annotations

import ast
from pathlib import Path

import bulkshare

PACKAGE = Path(bulkshare.__file__).parent

FLOORS: list[set[str]] = [
    {"model", "errors", "text", "_version"},
    {"image_api", "plan", "report"},
    {"ports"},
    {"cloud", "pacing", "ledger", "progress", "sandbox"},
    {"engine"},
    {"fleet"},
    {"operations"},
    {"cli", "api"},
    {"__main__"},
]
# The foundation may use itself: an error carries problems, which are values of the model.
SIDEWAYS = {("errors", "model")}
PURE_ROOMS = {"model", "errors", "text", "image_api", "plan", "report"}
PURE_MODULES = {
    "engine.dispatch",
    "engine.listing",
    "engine.preflight",
    "engine.retry",
    "fleet.leases",
    "pacing.breaker",
    "pacing.window",
}
PURE_MUST_NOT_IMPORT = {"asyncio", "anyio", "aiohttp", "socket", "sqlalchemy", "sqlite3", "random", "time"}


def _module_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.add(node.module)
            if node.module == "bulkshare":
                found.update(f"bulkshare.{alias.name}" for alias in node.names)
    return found


def _floor(module: str) -> int:
    return next(number for number, modules in enumerate(FLOORS) if module in modules)


def _sources() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


def test_every_module_stands_on_a_floor() -> None:
    """A new module has to say which floor it belongs to."""
    unknown = {_module_of(path) for path in _sources()} - set().union(*FLOORS)
    assert not unknown, f"add to FLOORS: {unknown}"


def test_imports_go_straight_down() -> None:
    """No module imports one of its own floor or of a higher one."""
    wrong = []
    for path in _sources():
        module = _module_of(path)
        for name in _imports(path):
            parts = name.split(".")
            if parts[0] != "bulkshare" or len(parts) < 2 or parts[1] in {module, "__version__"}:
                continue
            if _floor(parts[1]) >= _floor(module) and (module, parts[1]) not in SIDEWAYS:
                wrong.append(f"{module} imports {parts[1]}")
    assert not wrong


def test_pure_modules_do_no_io() -> None:
    """They import no event loop, socket, database, clock or randomness."""
    for path in _sources():
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if name in PURE_MODULES or _module_of(path) in PURE_ROOMS:
            used = {imported.split(".")[0] for imported in _imports(path)} & PURE_MUST_NOT_IMPORT
            assert not used, f"{name} imports {used}"


def test_only_the_engine_and_the_clouds_side_by_side_are_tasks() -> None:
    """Tasks are created in few places, so that cancellation has an owner: a run, a fleet, several clouds, a log-in."""
    starters = {
        _module_of(path)
        for path in _sources()
        if any(word in path.read_text("utf-8") for word in ("create_task_group(", "create_task(", "TaskGroup("))
    }
    assert starters <= {"engine", "fleet", "operations", "cloud"}
