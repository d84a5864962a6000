"""Settings become objects: everything that one data directory needs, each made when it is first asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from policies.audit.log import AuditLog
from policies.cores import granted_cores
from policies.errors import DataDirectoryError
from policies.identity import Principal
from service.settings_groups import DEFAULT_RUNTIME

if TYPE_CHECKING:
    from ingest.parsing.pictures import PagePictures
    from ingest.runs import RunStore
    from policies.access.engine import PolicyEngine
    from policies.access.scope import AccessScope
    from policies.audit.events import EventTag
    from policies.credentials import KeyStore
    from policies.first_administrator import FirstAdministrator
    from policies.people import PeopleStore
    from policies.sessions import SessionStore
    from service.answer.engine import AnswerEngine
    from service.auth.carriers import Carriers
    from service.auth.provider_sign_in import ProviderSignIn
    from service.conversations.store import ConversationStore
    from service.runtimes.interface import Runtime
    from service.settings import Settings
    from service.settings_groups import RuntimeSettings
    from vectorstore.embedders.interface import Embedder
    from vectorstore.search import Search
    from vectorstore.store import Store

T = TypeVar("T")


class Installation:
    """One data directory, opened by the process that owns it. Closing it closes what was opened.

    `serving` says that this process answers people while it ingests: embedding for ingest then runs in a process of its
    own at lower priority, and coroutines run on the service's loop.
    """

    def __init__(self, directory: Path, settings: Settings, *, serving: bool = False) -> None:
        self.directory = directory
        self.settings = settings
        self.serving = serving
        self.run_coroutine: Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any] = _run_alone
        self.clock: Callable[[], float] = time.time
        server = settings.server
        self.address = f"http://{f'[{server.host}]' if ':' in server.host else server.host}:{server.port}"
        self.ingest_lock = threading.Lock()
        self._making = threading.RLock()

    @cached_property
    def audit(self) -> AuditLog:
        """The audit log of this directory."""
        return AuditLog(self.directory / "audit", file_bytes=self.settings.audit.file_mb * 2**20)

    @cached_property
    def people(self) -> PeopleStore:
        """The people who may ask, and what they hold."""
        from policies.people import PeopleStore

        return PeopleStore(self.directory / "people.db")

    @cached_property
    def keys(self) -> KeyStore:
        """API keys."""
        from policies.credentials import KeyStore

        return KeyStore(self.people, self.settings.access.classifications)

    @cached_property
    def sessions(self) -> SessionStore:
        """Who is signed in in a browser."""
        from policies.sessions import SessionStore

        return SessionStore(self.people, self.keys)

    def _record(self, tag: EventTag, actor: str, payload: Mapping[str, Any]) -> None:
        """Writes to the log, which is opened only now: a broken one must not keep anybody from having it checked."""
        self.audit.append(tag, actor, payload)

    @property
    def public_url(self) -> str:
        """Where people reach the service."""
        return self.settings.server.public_url or self.address

    @cached_property
    def carriers(self) -> Carriers:
        """What makes a principal of whatever a request carries. Raises SettingsError for a provider's address that is none,
        and for a file that cannot be read."""
        from service.auth.carriers import Carriers
        from service.auth.proxy import ProxyRules
        from service.auth.refusals import Refusals

        settings, provider = self.settings, self.provider
        token = None
        if provider is not None and settings.oidc.audience is not None:
            token = provider.by_access_token
        proxy = None
        if settings.proxy.secret_file is not None:
            proxy = ProxyRules(settings.proxy, settings.server.forwarded_allow_ips)
        refused = Refusals(self._record).note
        return Carriers(self.people, self.keys, self.sessions, token=token, proxy=proxy, refused=refused)

    @cached_property
    def provider(self) -> ProviderSignIn | None:
        """The identity provider; None where the settings name none."""
        if self.settings.oidc.issuer is None:
            return None
        from service.auth.provider_sign_in import make_provider_sign_in

        levels = self.settings.access.classifications
        return make_provider_sign_in(self.settings.oidc, self.people, levels, self._record)

    @cached_property
    def first_administrator(self) -> FirstAdministrator:
        """The one-time secret of `inhouse init`."""
        from policies.first_administrator import FirstAdministrator

        return FirstAdministrator(self.people)

    @cached_property
    def conversations(self) -> ConversationStore:
        """What people asked and were answered, and what they said of it."""
        from service.conversations.store import ConversationStore

        return ConversationStore(self.directory / "conversations.db")

    @cached_property
    def policies(self) -> PolicyEngine:
        """The policy set in force; what it reports as errors becomes events."""
        from policies.access.engine import PolicyEngine
        from policies.audit.events import EventTag

        def report(message: str) -> None:
            self.audit.append(EventTag.POLICY_ERROR, "system", {"error": message})

        access = self.settings.access
        return PolicyEngine(access.policies, access.classifications, on_error=report)

    @cached_property
    def embedder(self) -> Embedder:
        """The embedder that questions, and outside the service documents too, go through."""
        return make_embedder(self.directory, self.settings)

    @cached_property
    def ingest_embedder(self) -> Embedder:
        """The embedder that documents go through."""
        if not self.serving:
            return self.embedder
        from ingest.embedding_process import ProcessEmbedder

        return ProcessEmbedder(embedder_words(self.directory, self.settings))

    @cached_property
    def store(self) -> Store:
        """The store, opened with this embedder's fingerprint and recovered from whatever was cut off."""
        from vectorstore.store import Store

        return Store.open(self.directory, self.embedder.fingerprint)

    @cached_property
    def search(self) -> Search:
        """Retrieval over the store."""
        from vectorstore.search import Search

        with self._making:
            return Search(self.store, self.embedder)

    @cached_property
    def pictures(self) -> PagePictures:
        """Draws pages of PDF files, in processes that can reach nothing."""
        from ingest.parsing.pictures import PagePictures

        with self._making:
            temporary = self.directory / "tmp" / "pictures"
            temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
            return PagePictures(temporary=temporary)

    @cached_property
    def runs(self) -> RunStore:
        """Reports of ingest runs, and the quarantine."""
        from ingest.runs import RunStore

        return RunStore(self.directory / "runs.db")

    @cached_property
    def runtimes(self) -> Mapping[str, Runtime]:
        """What turns passages into answers, by its name in the settings; of a service, ready when this returns. Raises
        SettingsError, ModelRefused, or NotFoundError for a GGUF that is not there."""
        with self._making:
            return {name: self._make_runtime(chosen) for name, chosen in self.settings.runtimes().items()}

    @property
    def runtime(self) -> Runtime:
        """The one that answers where no rule names another."""
        return self.runtimes[DEFAULT_RUNTIME]

    def _make_runtime(self, chosen: RuntimeSettings) -> Runtime:
        from service.runtimes import factory

        if chosen.kind == "extractive":
            return factory.make_extractive(self.embedder)
        if chosen.kind != "llamacpp":
            return factory.make_served(chosen)
        made = factory.make_llamacpp(chosen, self.directory, granted_cores())
        if self.serving:
            made.load()
        return made

    def answerable(self, principal: Principal) -> AccessScope:
        """What may be retrieved for the principal and shown to a model, now; raises as `current` does."""
        from policies.access.actions import Action

        classes, now = self.store.access_classes(), self.current(principal)
        usable = self.policies.scope(now, Action.MODEL_USE, classes)
        return self.policies.scope(now, Action.RETRIEVE, classes).narrowed_to(usable.classes)

    @cached_property
    def engine(self) -> AnswerEngine:
        """The answer engine."""
        from service.answer.engine import AnswerEngine, AnswerOptions
        from service.choosing import runtime_name

        def choose(kb: str | None, classifications: Sequence[str], wanted: str | None) -> tuple[Runtime, bool]:
            name = runtime_name(self.settings, kb, classifications, wanted)
            return self.runtimes[name], wanted in (None, name)

        options = self.settings.answer
        with self._making:
            return AnswerEngine(
                permit=self.answerable,
                search=self.search,
                fetch=self.store.fetch,
                runtime=choose,
                record=self.audit.append,
                moment=self.moment,
                options=AnswerOptions(
                    options.passages,
                    options.sentences,
                    options.threshold,
                    self.settings.audit.questions == "text",
                    options.unsupported == "mark",
                ),
            )

    def principal(self, person: str | None) -> Principal:
        """The person named by whoever owns the directory, else the local owner. Raises NotFoundError."""
        from service.auth.carriers import COMMAND_LINE, Carried

        return self.carriers.recognise(Carried(owner=True, as_person=person), COMMAND_LINE).principal

    def current(self, principal: Principal) -> Principal:
        """The principal with what is left of their rights: none that the person has no longer, and none that the credential did
        not have. Raises AuthenticationRequired for a person who is disabled and where a credential of theirs has ended,
        NotFoundError for a person who is not there."""
        if principal.credentials:
            self.carriers.look_again(principal, self.clock())
        person, levels = self.people.principal(principal.id), self.settings.access.classifications
        clearance = person.clearance
        if principal.clearance in levels and clearance in levels:
            clearance = min(principal.clearance, clearance, key=levels.index)
        groups, roles = principal.groups & person.groups, principal.roles & person.roles
        return replace(principal, groups=groups, clearance=clearance, roles=roles)

    def moment(self, principal: Principal) -> tuple[int, int, bool]:
        """Another value after each change of a label, of a document, of a person and what they hold, or of a key or session,
        and once a credential of the principal has ended by itself."""
        return self.store.moment, self.people.changes.number(), principal.is_past(self.clock())

    def close(self) -> None:
        """Closes what was opened, and nothing else. Not to be called from within an event loop."""
        for runtime in self.__dict__.pop("runtimes", {}).values():
            if hasattr(runtime, "close"):
                _run_alone(runtime.close)
        for name in ("pictures", "store", "ingest_embedder", "runs", "conversations", "people", "audit"):
            opened = self.__dict__.pop(name, None)
            close = getattr(opened, "close", None)
            if close is not None:
                close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def embedder_words(directory: Path, settings: Settings) -> Mapping[str, Any]:
    """What `load_embedder` needs, as plain words that can cross to another process."""
    embedding = settings.embedding
    model = embedding.model or directory / "models" / embedding.kind
    return {"kind": embedding.kind, "model": str(model), "threads": embedding.threads or granted_cores()}


def make_embedder(directory: Path, settings: Settings) -> Embedder:
    """The embedder that settings name; raises SettingsError or DataDirectoryError with the command that mends it."""
    from vectorstore.embedders.factory import load_embedder

    words = embedder_words(directory, settings)
    if words["kind"] == "onnx" and not Path(words["model"]).is_dir():
        raise DataDirectoryError(
            f"the embedding model is not in {directory}", hint=f"Build it: inhouse init --data {directory}"
        )
    return load_embedder(words["kind"], model=Path(words["model"]), threads=words["threads"])


def _run_alone(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    import asyncio

    return asyncio.run(start())
