"""What each event of the audit log tells."""

# NOTE: No `from __future__ import annotations` here: it would hide NotRequired from the classes below.

from typing import NotRequired, TypedDict


class AdministratorClaimed(TypedDict):
    """The first administrator was made with the one-time secret of this id."""

    offer: str
    person: str


class AdministratorOffered(TypedDict):
    """`inhouse init` printed a one-time secret with which the first administrator can be made; those before it are void."""

    offer: str
    expires: str


class AuditRead(TypedDict):
    """Someone read the log: `what` is list, show, verify or export; the filters that they gave, and the record that they
    looked at.

    `order` is newest-first or oldest-first, `limit` the most records that were asked for, `after` the last record of the
    page before, `document` an id or a path, `form` that of an export. `outcome` is what was asked for, and of a check what
    it found: verified or broken; then `records` is how many there were, and `head` the hash of the last.
    """

    what: str
    order: NotRequired[str]
    limit: NotRequired[int]
    tag: NotRequired[str | None]
    actor: NotRequired[str | None]
    since: NotRequired[str | None]
    until: NotRequired[str | None]
    document: NotRequired[str | None]
    outcome: NotRequired[str | None]
    after: NotRequired[str | None]
    form: NotRequired[str]
    record: NotRequired[str]
    records: NotRequired[int]
    head: NotRequired[str]


class AuditRecovered(TypedDict):
    """A crash had left an unfinished line: what was cut off it, and whether a whole record was kept."""

    file: str
    kept: bool
    bytes_cut: int
    sha256_cut: str


class ConversationDeleted(TypedDict):
    """The person deleted a conversation of theirs; its questions are still in the log."""

    conversation: str


class ConversationRead(TypedDict):
    """A conversation was shown again or exported to its person: the audit ids of the questions whose answers were shown,
    and how many were withheld because the person may no longer read what they rest on; ids and paths of the documents that
    those answers cite."""

    conversation: str
    questions: list[str]
    withheld: int
    documents: NotRequired[list[str]]
    paths: NotRequired[list[str]]
    form: NotRequired[str]


class CredentialRefused(TypedDict):
    """What a request carried was refused: `carrier` is token, proxy, provider, several, or first administrator. The same
    refusal is recorded once a minute; `times` is how often it happened since its last record. `peer` is the address that
    the last one came from."""

    carrier: str
    reason: str
    times: int
    peer: NotRequired[str | None]


class DataInitialised(TypedDict):
    """A data directory was made: the embedder that its index is bound to, and the hash of the policy set."""

    embedder: str
    policy: str


class FeedbackDone(TypedDict):
    """A steward marked a note as done, or as open again."""

    feedback: str
    done: bool


class FeedbackRead(TypedDict):
    """A steward was shown the list of notes: those in it, and the audit ids of the questions whose text was shown."""

    notes: list[str]
    questions: list[str]


class FeedbackGiven(TypedDict):
    """The person judged the answer to the question whose audit id is `question`, or told the owner of a knowledge base that
    something is missing; the reason stands in the steward's list."""

    feedback: str
    question: str
    verdict: str


class KeyCreated(TypedDict):
    """A key was made for a person; the rights are there where the key has fewer than its owner."""

    key: str
    person: str
    expires: str
    groups: NotRequired[list[str] | None]
    clearance: NotRequired[str | None]
    roles: NotRequired[list[str] | None]


class KeyRevoked(TypedDict):
    """A key is refused from now on."""

    key: str
    person: NotRequired[str]


class LinkCreated(TypedDict):
    """A one-time link was made with which a person can sign in."""

    link: str
    person: str
    expires: str


class ModelAdded(TypedDict):
    """A GGUF file was copied into the data directory, with this SHA-256 and so many bytes."""

    model: str
    sha256: str
    size: int


class ModelRemoved(TypedDict):
    """A GGUF file was removed; the SHA-256 is there where the file was whole."""

    model: str
    sha256: NotRequired[str | None]


class PersonAdded(TypedDict):
    """A person was added, with these rights."""

    person: str
    groups: list[str]
    clearance: str
    roles: list[str]


class PersonBound(TypedDict):
    """From now on the account `subject` of the identity provider `issuer` stands for the person, and no other one does."""

    person: str
    issuer: str
    subject: str


class PersonChanged(TypedDict):
    """The person has these rights from now on, as the identity provider tells; `was` has those that changed, as they were."""

    person: str
    name: str
    groups: list[str]
    clearance: str
    roles: list[str]
    was: list[str]


class PersonReleased(TypedDict):
    """No account of an identity provider stands for the person any more, until one signs in again."""

    person: str


class PersonDisabled(TypedDict):
    """Every credential of the person is refused from now on."""

    person: str


class QuestionAsked(TypedDict):
    """A question, and everything that its answer may be made from.

    `policy` is the hash of the policy set, `passages` and `contents` are ids and SHA-256 of what was retrieved, `digest`
    is the model's. The question is in `text`; or, where the settings say so, SHA-256 of `blinder` and text is in
    `text_sha256`. `chosen` is the runtime that the person chose; another one answers where that one may not be sent what was
    found.
    """

    policy: str
    passages: list[int]
    contents: list[str]
    model: str
    runtime: str
    digest: str | None
    chosen: NotRequired[str]
    text: NotRequired[str]
    text_sha256: NotRequired[str]
    blinder: NotRequired[str]
    kb: NotRequired[str | None]


class QuestionAnswered(TypedDict):
    """The answer to the question whose audit id is `question`: each citation is document, version, start and end; `paths`
    are those of the cited documents as they were then; `unsupported` counts the sentences of the model that the sources it
    cited did not support, where there were any."""

    question: str
    citations: list[list[str | int]]
    citations_dropped: int
    characters: int
    paths: NotRequired[list[str]]
    unsupported: NotRequired[int]


class QuestionCancelled(TypedDict):
    """The person left, or stopped the answer."""

    question: str


class QuestionFailed(TypedDict):
    """The answer broke off by an error of this name."""

    question: str
    error: str


class QuestionRefused(TypedDict):
    """The documents that this person may read do not answer; `reason` says how that was seen. `documents` and `paths` are
    those that were named as the nearest; of an answer that was cut off because it may no longer be given, those that it had
    cited by then."""

    question: str
    reason: str
    documents: NotRequired[list[str]]
    paths: NotRequired[list[str]]


class SearchRun(TypedDict):
    """A search and what it found, as in a question, with ids and paths of the documents that the passages are of."""

    policy: str
    passages: list[int]
    contents: list[str]
    documents: NotRequired[list[str]]
    paths: NotRequired[list[str]]
    text: NotRequired[str]
    text_sha256: NotRequired[str]
    blinder: NotRequired[str]
    kb: NotRequired[str | None]


class ServiceStarted(TypedDict):
    """The service began to answer, in this version and under this policy set."""

    version: str
    policy: str
    address: NotRequired[str]
    model: NotRequired[str]


class ServiceStopped(TypedDict):
    """The service ended in an orderly way; a start without it means that it was killed."""

    reason: NotRequired[str]


class SessionEnded(TypedDict):
    """The person signed out."""

    session: str


class SessionStarted(TypedDict):
    """The person signed in; `carrier` is link, key (of the id in `key`), provider, proxy, or first administrator."""

    session: str
    carrier: NotRequired[str]
    key: NotRequired[str | None]
    expires: str
