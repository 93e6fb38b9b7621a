"""The tokens as people keep them: in a variable, one a line in a file, or in a file like .env."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harvester.errors import OptionError, UsageError
from harvester.secret import Secret
from harvester.small import EndlessError, small_text

# The vendor's names for it; the first that is set counts.
TOKEN_VARIABLES = ("JUSTONEAPI_TOKEN", "JUST_ONE_API_TOKEN")
NO_TOKEN = (
    "no token: sign up at justoneapi.com and copy yours, then\n"
    f"  give it by `--token-file FILE`, or by `export {TOKEN_VARIABLES[0]}=...`;\n"
    "  or practise without one: `--simulate`."
)
COPY_AGAIN = "copy it again from your account at justoneapi.com"
# A value of one or more "=" is the end of a token in base64.
_ASSIGNED = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)\s*=(?!=*$)(.*)", re.ASCII)
_EMPTY = re.compile(rf"(?:export\s+)?(?:{'|'.join(TOKEN_VARIABLES)})\s*=", re.ASCII)
_QUOTED = re.compile(r"(['\"])(.*?)\1\s*(?:#.*)?")
_COMMENT = re.compile(r"\s+#.*")
_SHORTEST = 12
_STANDS_FOR_ONE = re.compile(
    r"(.)\1*|[<\[{$].*|.*(?:your|insert|paste|change)[-_]?.*(?:token|key|me|here).*"
    r"|.*\.\.\..*|(?:token|example|placeholder|secret|x+)[-_\d]*",
    re.IGNORECASE,
)


def tokens_in(text: str) -> tuple[str, ...]:
    """The tokens that a text names, each once; raises UsageError, which shows none of it.

    Among variables only the token's count. Quotes around a value, and comments, are left out.
    """
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    assigned = [found for line in lines if (found := _ASSIGNED.fullmatch(line))]
    wanted = [found for found in assigned if found[1] in TOKEN_VARIABLES]
    wanted = wanted or [found for found in assigned if "TOKEN" in found[1].upper()]
    others = {found[0] for found in assigned}
    bare = [line for line in lines if line not in others and not _EMPTY.fullmatch(line)]
    tokens = [_unquoted(value) for value in [found[2] for found in wanted] + bare]
    if not all(token.isprintable() and " " not in token for token in tokens):
        raise UsageError(
            "the token holds spaces or unprintable characters: copy it again; of several, each "
            "stands on a line of its own."
        )
    return tuple(dict.fromkeys(filter(None, tokens)))


def _unquoted(value: str) -> str:
    value = value.strip()
    quoted = _QUOTED.fullmatch(value)
    return quoted[2] if quoted else _COMMENT.sub("", value)


def secret_text(path: str | os.PathLike[str], option: str, what: str) -> str:
    """The text of a file that holds secrets; raises UsageError, naming no file that is not there.

    `what` is a word for the secret.
    """
    file = Path(path)
    try:
        return small_text(file)
    except UnicodeDecodeError:
        raise OptionError(option, "cannot be read: it is not text.", str(path)) from None
    except (PermissionError, IsADirectoryError, EndlessError) as error:
        raise OptionError(option, f"cannot be read: {error.strerror}.", str(path)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name cannot be one"
        with suppress(OSError, ValueError):
            if file.absolute().parent.is_dir():
                reason += f" in {file.absolute().parent}"
    # People give the secret itself by mistake.
    raise OptionError(
        option,
        f"cannot be read: {reason}. It wants the name of a file that holds the {what}, never the "
        f"{what} itself.",
    )


def chosen_tokens(
    given: Secret[str | Sequence[str]] | None, file: Path | None
) -> tuple[Secret[str], ...]:
    """The tokens, from a file, as given, or of the environment; raises UsageError."""
    try:
        tokens = tuple(map(Secret, _texts(given, file)))
    except UsageError as error:
        # Without the frames below, which hold what was read, also of what it came from.
        error.__context__ = None
        raise error.with_traceback(None) from None
    if not tokens:
        raise UsageError(NO_TOKEN)
    return tokens


def _texts(given: Secret[str | Sequence[str]] | None, file: Path | None) -> tuple[str, ...]:
    if file is not None:
        tokens = tokens_in(secret_text(file, "token_file", "token"))
        if not tokens:
            raise OptionError("token_file", f"holds {NO_TOKEN}", str(file))
        return tokens
    texts = "" if given is None else given.reveal()
    lines = [texts] if isinstance(texts, str) else [*texts]
    if not all(isinstance(line, str) for line in lines):
        raise OptionError("token", "is neither a text nor a list of texts.")
    variables = filter(str.strip, (os.environ.get(name, "") for name in TOKEN_VARIABLES))
    return tokens_in("\n".join(lines)) or tokens_in(next(variables, ""))


def doubt_about(token: str) -> str | None:
    """What makes a text an unlikely token, in words that do not show it."""
    if _STANDS_FOR_ONE.fullmatch(token):
        return "the token looks like the one that stands in an example: put your own in its place."
    if len(token) < _SHORTEST:
        return f"the token is only {len(token)} characters long: was it copied whole?"
    return None
