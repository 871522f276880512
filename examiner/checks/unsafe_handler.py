"""Signal handlers call only what is async-signal-safe: no printf, no malloc, no exit.

Such a call goes wrong only when the signal interrupts the same function, so running the program shows it rarely. This
is read in the source; that the signal is caught, the kernel says.
"""

import ast
import re
import signal

from examiner._build import COMMENT
from examiner._check import Check
from examiner._exam import Exam, Skipped, Warned

UNSAFE = (
    "printf|fprintf|vprintf|vfprintf|sprintf|snprintf|puts|fputs|putchar|fflush|fopen|fclose|perror|malloc|calloc|realloc|"
    "free|exit|syslog|strerror|strdup|ctime|localtime|gmtime|asctime|strftime|system|popen|pthread_mutex_lock"
)
"""Of those that servers use, the ones that are not in the list of signal-safety(7)."""
SET = re.compile(r"\b(?:signal|sigset)\s*\(\s*\w+\s*,\s*&?(\w+)|\bsa_(?:handler|sigaction)\s*=\s*&?(\w+)")
PASSED_ON = re.compile(r"\b\w+\s*\(\s*SIG\w+\s*,\s*&?(\w+)\s*\)")
"""A handler handed to a function of the program's own, as in UNP's Signal(SIGCHLD, sig_chld)."""
FUNCTION = re.compile(r"\b(\w+)\s*\([^;{)]{0,400}\)\s*\{")
VOID = re.compile(r"\bvoid\s+(\w+)\s*\(")
CALL = re.compile(rf"\b({UNSAFE})\s*\(")
PRINTING = {"print", "logging", "logger", "log"}


def run(exam: Exam) -> str:
    """Find the handlers in the source, and what they call."""
    subject = exam.start()
    found, handlers = [], 0
    for name, text in exam.sources().items():
        read = _in_python if name.endswith(".py") else _in_c
        names, calls = read(text)
        handlers += len(names)
        found += [f"{name}:{number}: {line}" for number, line in calls]
    if not handlers:
        raise Skipped("no signal handler is found in the source")
    caught = [each.name for each in signal.Signals if subject.catches(each)]
    exam.note(f"process {subject.pid} catches {', '.join(sorted(caught)) or 'nothing'} (SigCgt of /proc/PID/status)")
    exam.provoked(caught, "the server catches a signal")
    for line in found:
        exam.note(line)
    if found:
        raise Warned(f"a signal handler calls what is not async-signal-safe, in {len(found)} lines")
    return f"{handlers} handlers call nothing that is not async-signal-safe"


def _in_c(text: str) -> tuple[set[str], list[tuple[int, str]]]:
    """The handlers that a C source sets, and the lines of them with an unsafe call."""
    plain = COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    names = {match[1] or match[2] for match in SET.finditer(plain)} | set(PASSED_ON.findall(plain))
    names &= set(VOID.findall(plain))
    lines, found = plain.splitlines(), []
    begun: dict[str, re.Match[str]] = {}
    for match in FUNCTION.finditer(plain):
        begun.setdefault(match[1], match)
    for name in names:
        if name in begun:
            match = begun[name]
            first = plain.count("\n", 0, match.start())
            last = plain.count("\n", 0, _end(plain, match.end()))
            found += [(at + 1, lines[at].strip()) for at in range(first, last + 1) if CALL.search(lines[at])]
    return names, sorted(set(found))


def _end(text: str, begin: int) -> int:
    """Where the block that was opened before ``begin`` is closed."""
    depth = 1
    for at in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return at
    return len(text) - 1


def _in_python(text: str) -> tuple[set[str], list[tuple[int, str]]]:
    """The same of a Python source. A handler runs between two byte codes there: what is unsafe is to write buffered,
    which raises RuntimeError when it interrupts itself (io, Reentrancy).
    """
    try:
        tree = ast.parse(text)
        return _handlers(tree, text.splitlines())
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # also of what is nested too deep
        return set(), []


def _handlers(tree: ast.Module, lines: list[str]) -> tuple[set[str], list[tuple[int, str]]]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {
        ast.unparse(call.args[1])
        for call in calls
        if ast.unparse(call.func) in ("signal.signal", "signal") and len(call.args) == 2
    }
    names = {name for name in names if "SIG_" not in name}
    found = [
        (call.lineno, lines[call.lineno - 1].strip())
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name in names
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and _prints(ast.unparse(call.func))
    ]
    return names, sorted(set(found))


def _prints(function: str) -> bool:
    return function.split(".")[0] in PRINTING or function in ("sys.stdout.write", "sys.stderr.write")


CHECK = Check(
    requirement="A signal handler calls only functions that are async-signal-safe.",
    reference="signal-safety(7); TLPI 21.1.2; UNP 5.8 (printf in a handler); Python: io, Reentrancy",
    expected="none of the calls that signal-safety(7) leaves out, in the functions that handle signals",
    cause="The handler uses stdio or malloc, whose locks and lists the interrupted code may be changing.",
    mend="Set a volatile sig_atomic_t flag, or write(2) a byte to a pipe, and do the rest in the loop. In Python "
    "os.write instead of print.",
    group="advisory",
    where=r"\b(signal|sigaction)\s*\(",
    run=run,
)
