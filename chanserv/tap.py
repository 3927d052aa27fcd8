"""
The command line: C{twistd chanserv} and C{twist chanserv}.

What each option takes and is for stands in L{chanserv.options.table}.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any, Final, NoReturn

from twisted.application.service import IService
from twisted.python import usage

from chanserv import __version__
from chanserv.errors import ConfigurationError
from chanserv.ops.json_log import log_as_json
from chanserv.ops.systemd import Notices
from chanserv.options.daphne import (
    FORMER_NAMES,
    SHORT,
    WAYS_OUT,
    argument_refusal,
    is_talkative,
    our_options,
    refusal,
)
from chanserv.options.help import help_lines
from chanserv.options.kinds import FLAG
from chanserv.options.table import CHOICES, Choice
from chanserv.running.config import DEFAULT_ENDPOINT, Config
from chanserv.running.foreground import heed_further_signals
from chanserv.running.workers import folder_to_work_in, heed_hangups
from chanserv.server.limits import Limits
from chanserv.server.proxies import DEFAULT_TRUSTED, TrustedProxies
from chanserv.service import make_service


class Options(usage.Options):
    """
    The options of C{twistd chanserv}.

    After L{parseOptions} it holds each option's text under its name, a list of
    texts for what may be given more than once, flags 0 or 1.
    """

    optFlags = [[one.name, None, one.doc] for one in CHOICES.values() if one.kind is FLAG]
    optParameters = [
        [one.name, None, None, one.doc]
        for one in CHOICES.values()
        if one.kind is not FLAG and not one.repeated
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        for name in _REPEATED:
            self[name] = []
        self._former: dict[str, list[str]] = {}

    def opt_version(self) -> NoReturn:
        """Display the version and exit."""
        sys.stdout.write(f"chanserv {__version__}\n")
        sys.exit(0)

    def parseArgs(self, *arguments: str) -> None:
        """Refuse what is no option."""
        if arguments:
            raise usage.UsageError(argument_refusal(arguments[0]))

    def parseOptions(self, options: Any = None) -> None:
        """
        Parse, and check every value.

        @raise SystemExit: something is wrong, and this is part of C{twistd} or
            C{twist}, which would bury one line of error in two pages of help.
        @raise UsageError: something is wrong, and it is not.
        """
        try:
            super().parseOptions(  # type: ignore[no-untyped-call]
                None if options is None else [_with_dashes(one) for one in options]
            )
            self._take_former()
            self.config = self._config()
        except (usage.UsageError, ConfigurationError) as error:
            if self.parent is None:
                raise usage.UsageError(str(error)) from error
            raise SystemExit(
                f"chanserv: {error} ('twistd chanserv --help' explains all options)"
            ) from None

    def getUsage(self, width: int | None = None) -> str:
        """What C{--help} shows: options in groups, with defaults and examples."""
        width = width or min(int(os.environ.get("COLUMNS", "80")), 100)
        return "\n".join(help_lines(max(width, 60)))

    def _take_former(self) -> None:
        """Take the options under Daphne's names as ours."""
        for name, text in our_options(self._former):
            if CHOICES[name].repeated:
                self[name].append(text)
            elif self[name] is None:
                self[name] = text
            else:
                raise ConfigurationError(
                    f"--{name}={text} is given twice, once under the name that Daphne has for it"
                )

    def _config(self) -> Config:
        """What all options together say."""
        values = {name: self._value(choice) for name, choice in CHOICES.items()}
        listen: tuple[str, ...] = values["listen"]
        if self["no-listen"] and listen:
            raise ConfigurationError("--no-listen and --listen contradict each other")
        if not listen and not self["no-listen"]:
            listen = (DEFAULT_ENDPOINT,)
        # Only twistd, which may become a daemon, has this option.
        runner: Any = self.parent or {}
        if values["access-log"] == "-" and not runner.get("nodaemon", True):
            raise ConfigurationError(
                "--access-log=- would be lost, since a daemon has no standard output: give a "
                "file, or keep twistd in the foreground with -n, before chanserv"
            )
        return Config(
            settings=values["settings"],
            layer=values["layer"],
            listen=listen,
            threads=values["threads"],
            ordered=not self["unordered"],
            compression=bool(self["websocket-compression"]),
            root_path=_root_path(values["root-path"]),
            access_log=values["access-log"],
            limits=self._limits(values),
            stop_timeout=values["stop-timeout"],
            workers=values["workers"],
            release=values["release"],
            metrics=values["metrics"],
            log_format=values["log-format"],
            finish_timeout=values["finish-timeout"],
            start_timeout=values["start-timeout"],
            stuck_after=values["stuck-after"],
            replace_stuck=bool(self["replace-stuck"]),
            reload=bool(self["reload"]),
            only_channels=values["only-channels"],
            exclude_channels=values["exclude-channels"],
            narrate=is_talkative(self._former),
            request_ids=not self["no-request-ids"],
            server_name=self._server_name(),
            **self._proxies(values),
        )

    def _server_name(self) -> str | None:
        """What the C{Server} header says; L{None} for the default."""
        name: str | None = self["server-name"]
        if self["no-server-name"]:
            if name is not None:
                raise ConfigurationError("--no-server-name and --server-name contradict each other")
            return ""
        if name is not None and not re.fullmatch(r"[\x20-\x7e]+", name):
            raise ConfigurationError(f"--server-name={name} must be of printable ASCII")
        return name

    def _proxies(self, values: dict[str, Any]) -> dict[str, Any]:
        """The fields of the config that are about proxies."""
        if not self["proxy-headers"]:
            for name in ("trusted-proxies", "proxy-headers-host", "proxy-headers-port"):
                if self[name]:
                    raise ConfigurationError(
                        f"--{name} has no meaning without --proxy-headers: give that too, or "
                        f"leave it out"
                    )
        networks = tuple(name for names in values["trusted-proxies"] for name in names)
        TrustedProxies(networks)  # which refuses what is none
        return {
            "proxy_headers": bool(self["proxy-headers"]),
            "trusted_proxies": networks or DEFAULT_TRUSTED,
            "proxy_headers_host": values["proxy-headers-host"],
            "proxy_headers_port": values["proxy-headers-port"],
        }

    def _limits(self, values: dict[str, Any]) -> Limits:
        options = {one.limit: name for name, one in CHOICES.items() if one.limit}
        try:
            return Limits(**{limit: values[name] for limit, name in options.items()})
        except ConfigurationError as error:
            # It speaks of fields, and an operator knows options.
            text = re.sub(
                r"(?:the limit )?\b([a-z]+_[a-z_]+|connections|deliveries)\b",
                lambda found: "--" + options[found[1]] if found[1] in options else found[0],
                str(error),
            )
            raise ConfigurationError(text) from error

    def _value(self, choice: Choice) -> Any:
        given = self[choice.name]
        if choice.kind is FLAG:
            return given
        if choice.repeated:
            for text in given:
                if given.count(text) > 1:
                    raise ConfigurationError(f"--{choice.name}={text} is given twice")
            return tuple(_read(choice, text) for text in given)
        return choice.default if given is None else _read(choice, given)


def _read(choice: Choice, text: str) -> Any:
    if not text and choice.name != "root-path":
        raise ConfigurationError(f"--{choice.name} needs a value after its =")
    try:
        return choice.kind.read(text)
    except ValueError as error:
        raise ConfigurationError(f"--{choice.name}={text} {error}") from None


_REPEATED: Final = [one.name for one in CHOICES.values() if one.repeated]


def _add_repeated(name: str, doc: str) -> None:
    """Have the parser gather all values of an option."""

    def add(self: Options, text: str) -> None:
        self[name].append(text)

    add.__doc__ = doc
    setattr(Options, f"opt_{name.replace('-', '_')}", add)


for _name in _REPEATED:
    _add_repeated(_name, CHOICES[_name].doc)


def _add_former(name: str, short: str, doc: str) -> None:
    """Have the parser gather the values of an option under Daphne's name."""

    def add(self: Options, text: str) -> None:
        if name in WAYS_OUT:
            raise refusal(name)
        self._former.setdefault(name, []).append(text)

    add.__doc__ = doc
    for one in filter(None, (name, short)):
        setattr(Options, f"opt_{one.replace('-', '_')}", add)


def _add_short(letter: str, name: str) -> None:
    """Have the parser know a letter for an option of ours."""

    def take(self: Options, text: str) -> None:
        self[name] = text

    take.__doc__ = CHOICES[name].doc
    setattr(Options, f"opt_{letter}", take)


for _former in FORMER_NAMES:
    _add_former(_former.name, _former.short, _former.ours)
for _name, _words in WAYS_OUT.items():
    _add_former(_name, "", _words)
for _letter, _name in SHORT.items():
    _add_short(_letter, _name)


def _with_dashes(argument: str) -> str:
    """An option as C{--its-name=value}, though it be written as C{--its_name=value}."""
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else argument


def _root_path(path: str) -> str:
    if path and not path.startswith("/"):
        raise ConfigurationError(f"--root-path={path} must begin with a slash, as /shop does")
    return path.rstrip("/")


def makeService(options: Options) -> IService:
    """
    Make the service that C{twistd} runs.

    @raise SystemExit: something is wrong; with one line that says what.
    """
    from twisted.internet import reactor

    try:
        _find_code(options)
        service = make_service(options.config, reactor)
        service.notices = Notices.from_environment(os.environ)
        if options.config.log_format == "json" and options.parent is not None:
            service.log_observer = log_as_json(options.parent)
    except ConfigurationError as error:
        raise SystemExit(f"chanserv: {error}") from error
    plain_reactor: Any = reactor
    heed_hangups(service.supervisor, plain_reactor.callFromThread)
    plain_reactor.addSystemEventTrigger("before", "shutdown", heed_further_signals)
    return service


def _find_code(options: Options) -> None:
    """
    Make the site's modules importable: C{twistd} does not run from the
    project's directory as C{manage.py} does.

    @raise ConfigurationError: there is no such directory.
    """
    if options["chdir"]:
        folder = os.path.normpath(os.path.join(folder_to_work_in(), options["chdir"]))
        try:
            os.chdir(folder)
        except OSError as error:
            raise ConfigurationError(f"--chdir={options['chdir']}: {error.strerror}") from error
        # By this name, which may be a link, new workers are to find it.
        os.environ["PWD"] = folder
    if options["pythonpath"] and not os.path.isdir(options["pythonpath"]):
        raise ConfigurationError(f"--pythonpath={options['pythonpath']} is no directory")
    folder = folder_to_work_in()
    for path in (folder, os.path.normpath(os.path.join(folder, options["pythonpath"] or ""))):
        if path not in sys.path:
            sys.path.insert(0, path)
