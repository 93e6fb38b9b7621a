"""The house: lower rooms never import higher ones, and two libraries have one door each."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import harvester
from harvester.ledger.sqlite.ledger import SqliteLedger

HOUSE = Path(harvester.__file__).parent
LOWEST = frozenset(
    {"model", "errors", "sanitize", "formatting", "json_text", "parsing", "secret", "halt", "money"}
)
RULES = LOWEST | {"rules"}
ENGINE = RULES | {
    "source",
    "api",
    "pace",
    "ledger",
    "output",
    "simulator",
    "engine",
    "disk",
    "daemon",
    "threads",
    "descriptors",
    "sides",
    "config",
    "option",
    "tokens",
    "small",
    "paths",
    "results",
}
# What each room may import of the house, itself included.
MAY = {
    **dict.fromkeys(LOWEST, LOWEST),
    "daemon": frozenset({"daemon"}),
    "disk": frozenset({"disk"}),
    "descriptors": frozenset({"descriptors"}),
    "sides": frozenset({"sides"}),
    "leaving": frozenset({"leaving"}),
    "small": frozenset({"small", "threads"}),
    "tokens": LOWEST | {"tokens", "small"},
    "option": LOWEST | {"option", "paths", "sides"},
    "paths": LOWEST | {"paths", "sides", "disk"},
    "results": LOWEST | {"results", "disk"},
    "rules": RULES,
    "source": RULES | {"source"},
    "api": RULES | {"api", "descriptors", "threads"},
    "pace": RULES | {"pace"},
    "threads": LOWEST | {"daemon", "threads"},
    "ledger": RULES | {"ledger", "threads", "sides", "disk"},
    "output": RULES | {"output", "ledger", "disk", "results", "threads", "sides", "paths"},
    "export": RULES | {"export", "output", "disk", "results", "paths", "sides"},
    "simulator": LOWEST | {"simulator"},
    "config": RULES
    | {"config", "option", "source", "api", "ledger", "tokens", "paths", "sides", "results"},
    "engine": ENGINE,
    "status": ENGINE | {"status"},
    "observe": ENGINE | {"status", "observe"},
    "console": ENGINE | {"status", "observe", "console"},
    "doctor": ENGINE | {"doctor"},
    "report": ENGINE | {"status", "export", "report"},
    "cli": ENGINE
    | {"doctor", "status", "observe", "console", "report", "export", "cli", "leaving", "__init__"},
    "face": ENGINE | {"face"},
    "__init__": ENGINE | {"face"},
    "__main__": frozenset({"cli", "leaving"}),
}
# Where nobody takes more than five things to begin with.
ORDERLY = frozenset({"rules", "pace", "ledger", "engine", "api", "output", "export"})
# The output's lines are what the ledger finds in them; how a ledger keeps anything is not its own.
LEDGER_FOR_OUTPUT = {"harvester.ledger.protocol", "harvester.ledger.reader"}


def name_of(path: Path) -> str:
    parts = path.relative_to(HOUSE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(HOUSE.rglob("*.py"))}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_bytes())


@cache
def nodes_of(module: str) -> Sequence[ast.AST]:
    return list(ast.walk(tree_of(module)))


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


@cache
def imports_of(module: str) -> frozenset[str]:
    """The names of the modules that a module imports anywhere in it."""
    found: set[str] = set()
    for node in nodes_of(module):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else str(node.module))
    return frozenset(found)


def in_rooms(*rooms: str) -> list[str]:
    """The modules of some rooms."""
    return [module for module in MODULES if room_of(module) in rooms]


def of_house(module: str) -> set[str]:
    return {name for name in imports_of(module) if name.split(".")[0] == "harvester"}


def importers_of(library: str) -> dict[str, set[str]]:
    """Who imports a library, and which of its modules."""
    found = {
        module: {name for name in imports_of(module) if name.split(".")[0] == library}
        for module in MODULES
    }
    return {module: names for module, names in found.items() if names}


def test_no_room_imports_a_higher_one() -> None:
    for module in MODULES:
        assert {room_of(name) for name in of_house(module)} <= MAY[room_of(module)], module


def test_output_knows_of_the_ledger_only_its_words() -> None:
    for module in in_rooms("output"):
        of_ledger = {name for name in of_house(module) if room_of(name) == "ledger"}
        assert of_ledger <= LEDGER_FOR_OUTPUT, module


def test_the_lowest_rooms_do_no_input_or_output() -> None:
    forbidden = {"os", "time", "random", "asyncio", "pathlib", "socket", "io", "sys"}
    for module in in_rooms(*RULES):
        assert not {name.split(".")[0] for name in imports_of(module)} & forbidden, module


def test_aiohttp_has_one_door_for_calling_and_one_for_serving() -> None:
    for module, names in importers_of("aiohttp").items():
        assert room_of(module) in {"api", "simulator"}
        if room_of(module) == "simulator":
            assert names == {"aiohttp"}
            assert aiohttp_names(module) == {"web"}
    assert {room_of(module) for module in importers_of("yarl")} <= {"api", "simulator"}


def aiohttp_names(module: str) -> set[str]:
    """What a module takes from aiohttp by name."""
    return {
        alias.name
        for node in nodes_of(module)
        if isinstance(node, ast.ImportFrom) and node.module == "aiohttp"
        for alias in node.names
    }


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("aiolimiter", {"pace"}),
        ("sqlite3", {"ledger", "export"}),
        ("xlsxwriter", {"export"}),
        ("pyarrow", {"export"}),
        ("click", {"cli"}),
        ("rich", {"console", "cli"}),
        ("plotly", {"report"}),
        ("jinja2", {"report"}),
        ("prometheus_client", {"observe"}),
        ("durationpy", {"parsing"}),
    ],
)
def test_a_library_stays_in_its_rooms(library: str, rooms: set[str]) -> None:
    assert {room_of(module) for module in importers_of(library)} <= rooms


def test_psycopg_is_for_the_fleet_alone() -> None:
    """Whoever needs no fleet need not install it."""
    for module in importers_of("psycopg"):
        assert module.startswith("harvester.ledger.postgres.")


@pytest.mark.parametrize(("backend", "other"), [("sqlite", "postgres"), ("postgres", "sqlite")])
def test_neither_ledger_takes_anything_from_the_other(backend: str, other: str) -> None:
    """What they share stands above both."""
    for module in MODULES:
        if module.startswith(f"harvester.ledger.{backend}"):
            assert not [n for n in of_house(module) if n.startswith(f"harvester.ledger.{other}")]


def test_every_module_says_what_it_is() -> None:
    assert not [module for module in MODULES if not ast.get_docstring(tree_of(module))]


def test_no_imports_run_in_a_circle() -> None:
    graph = {module: of_house(module) - {module} for module in MODULES}
    assert set(TopologicalSorter(graph).static_order()) == set(MODULES)


def test_no_module_changes_state_of_its_own() -> None:
    for module in MODULES:
        assert not [node for node in nodes_of(module) if isinstance(node, ast.Global)], module


def test_what_every_python_from_3_11_on_reads_alike_is_all_that_patterns_say() -> None:
    """Before 3.11.5 a possessive or atomic group may not match what it ought to."""
    group = re.compile(r"\)[*+?]\+|\(\?>")
    for module in MODULES:
        said = [node.value for node in nodes_of(module) if isinstance(node, ast.Constant)]
        assert not [text for text in said if isinstance(text, str) and group.search(text)], module


def test_the_files_beside_output_are_named_in_one_place() -> None:
    """Also written as they are, so that no path is let through that names one of them."""
    named = {
        (module, node.right.value)
        for module in MODULES
        for node in nodes_of(module)
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Add)
        and ast.unparse(node.left).endswith(".name")
        and isinstance(node.right, ast.Constant)
    }
    # SQLite's own, of whatever ledger it is.
    assert named == {("harvester.ledger.sqlite.reading", "-wal")}


# Words of this house's own, for which there are standard ones.
PRIVATE = frozenset(
    {
        "Pointer",
        "Reserve",
        "Brain",
        "Rhythm",
        "Tempo",
        "Grant",
        "borne",
        "remember_borne",
        "Host",
        "Lane",
        "Lanes",
        "Caller",
        "Watch",
        "Audience",
        "Opened",
        "Mended",
        "Companion",
        "Sharing",
        "Waiting",
        "flying",
        "landed",
        "Absence",
        "Asked",
        "Carry",
        "CARRIED",
        "Extent",
        "Folded",
        "Harvest",
        "Newest",
        "Pace",
        "PATIENCE",
        "Patience",
        "Question",
        "Story",
        "Teller",
        "carried",
        "one_moment",
        "parse_carry",
        "tries",
        "vouched",
    }
)
ONCE = ("is_json", "lines_of", "replacing", "Start", "SeenNotes")


def defined_in(module: str) -> set[str]:
    """The functions, classes and methods of a module, and what it gives a name at its top."""
    tree = tree_of(module)
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = {node.name for node in nodes_of(module) if isinstance(node, defined)}
    assigned = (node.targets for node in tree.body if isinstance(node, ast.Assign))
    return names | {t.id for targets in assigned for t in targets if isinstance(t, ast.Name)}


def named_in(module: str) -> set[str]:
    """All that a module names: also parameters, fields and variables."""
    fields = ("id", "attr", "arg", "name", "asname")
    named = (getattr(node, field, None) for node in nodes_of(module) for field in fields)
    return {str(name).strip("_") for name in named}


def test_things_have_standard_names() -> None:
    for module in MODULES:
        assert not named_in(module) & PRIVATE, module


def test_the_tables_of_a_ledger_have_standard_names(tmp_path: Path) -> None:
    with closing(SqliteLedger(tmp_path / "ledger", lambda: 0.0)) as ledger:
        made = [sql for (sql,) in ledger.db.execute("SELECT sql FROM sqlite_schema") if sql]
    words = set(re.findall(r"[a-zA-Z]+", " ".join(made)))
    assert not words & {*PRIVATE, "carried", "tries", "token"}


def test_no_two_classes_have_one_name() -> None:
    trees = map(tree_of, MODULES)
    names = [node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    public = [name for name in names if not name.startswith("_")]
    assert sorted(public) == sorted(set(public))


@pytest.mark.parametrize("name", ONCE)
def test_what_many_need_is_said_once(name: str) -> None:
    assert len([module for module in MODULES if name in defined_in(module)]) == 1


def test_a_constructor_takes_five_things_at_most() -> None:
    for module in in_rooms(*ORDERLY):
        for node in nodes_of(module):
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                assert len(taken) - 1 <= 5, f"{module}:{node.lineno}"


def test_a_function_fits_on_a_screen() -> None:
    for module in MODULES:
        for node in nodes_of(module):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 45, f"{module}:{node.lineno}"


def test_in_the_engine_nobody_writes_into_the_fields_of_another() -> None:
    """Whose the counts of what is spent are, is the run's state."""
    for module in in_rooms("engine"):
        written = {
            ast.unparse(target.value)
            for node in nodes_of(module)
            if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign)
            for target in targets_of(node)
            if isinstance(target, ast.Attribute)
        }
        own = {"self", "error"} | ({"self.spent", "spent"} if module.endswith(".state") else set())
        assert written <= own, module


def targets_of(node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> list[ast.expr]:
    """What an assignment writes to, each by itself."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [
        each
        for target in targets
        for each in (target.elts if isinstance(target, ast.Tuple) else [target])
    ]
