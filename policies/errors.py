"""The root of every error that a person can meet, and the errors of this package.

Each class owns its exit code, its HTTP status and the next step; only the command line and the HTTP edge translate.

InhouseError                        1   500
├── UsageError                      2   400   wrong words on the command line, bad request fields
├── SettingsError                   3   500   unknown, missing or contradicting settings
├── NotFoundError                   4   404   absent, or not for this principal: the two look the same
├── PartialFailure                  5   207   the run ended, but some files were quarantined
├── ConfirmationRequired            6   409   too much would be removed without a person saying so
├── DataDirectoryError              7   500   not initialised, read-only, full, wrong version
│   └── DataDirectoryBusy           8   503   another process owns it
├── AccessDenied                    9   403   signed in, and not allowed
│   └── AuthenticationRequired      9   401   not signed in, or with a key that is wrong, expired or revoked
├── AuditUnavailable               10   503   the record cannot be written, so nothing is answered
├── AuditBroken                    11   500   the log does not verify
├── PolicyError                    12   500   policies or schema do not load
├── IndexMismatch                  13   409   the index was written by another embedder or version
├── ModelUnavailable               14   503   the model server is away, busy, or refuses
│   └── ModelRefused               14   403   a model that would send text out, or is not permitted
├── IdentityUnavailable            15   503   the identity provider is away, or answers what it should not
├── SourcesChanged                 16   409   what an answer rests on was removed, relabelled or lost while it was given
├── LegalHold                      17   409   a document is under legal hold, and nothing takes its text away
├── ExpectationFailed              18   409   policies decide otherwise than an organisation expects
└── Interrupted                   130   499   Ctrl-C; what was committed stays
"""

from __future__ import annotations


class InhouseError(Exception):
    """Root of the tree: `message` says what happened, `hint` the next step; neither holds document text."""

    exit_code: int = 1
    http_status: int = 500
    kind: str = "internal"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(InhouseError):
    """The request itself is wrong: an argument, a field, a combination."""

    exit_code = 2
    http_status = 400
    kind = "usage"


class SettingsError(InhouseError):
    """A setting is unknown, missing, of the wrong type, or contradicts another."""

    exit_code = 3
    http_status = 500
    kind = "settings"


class NotFoundError(InhouseError):
    """There is no such thing, or none that this principal may know of."""

    exit_code = 4
    http_status = 404
    kind = "not-found"


class PartialFailure(InhouseError):
    """The work ended and is kept, but part of the input was refused; the report says which and why."""

    exit_code = 5
    http_status = 207
    kind = "partial"


class ConfirmationRequired(InhouseError):
    """The step would remove more than its limit and nobody has confirmed it."""

    exit_code = 6
    http_status = 409
    kind = "confirmation-required"


class DataDirectoryError(InhouseError):
    """The data directory is missing, not initialised, read-only, full, or of an unknown version."""

    exit_code = 7
    http_status = 500
    kind = "data-directory"


class DataDirectoryBusy(DataDirectoryError):
    """Another process owns the data directory."""

    exit_code = 8
    http_status = 503
    kind = "data-directory-busy"


class AccessDenied(InhouseError):
    """The principal is known and policy does not allow the action."""

    exit_code = 9
    http_status = 403
    kind = "access-denied"


class AuthenticationRequired(AccessDenied):
    """No credential, or one that is unknown, expired, revoked, or of a disabled person: the four look the same."""

    http_status = 401
    kind = "authentication-required"


class AuditUnavailable(InhouseError):
    """The audit record cannot be made durable; the act that it tells of must not happen."""

    exit_code = 10
    http_status = 503
    kind = "audit-unavailable"


class AuditBroken(InhouseError):
    """The audit log does not verify: a record was changed, cut or inserted."""

    exit_code = 11
    http_status = 500
    kind = "audit-broken"


class PolicyError(InhouseError):
    """The policy set or its schema is empty, invalid, or carries a validation warning."""

    exit_code = 12
    http_status = 500
    kind = "policy"


class ExpectationFailed(InhouseError):
    """The policies decide otherwise than a table of expectations says."""

    exit_code = 18
    http_status = 409
    kind = "expectation-failed"


class IndexMismatch(InhouseError):
    """The index carries another embedder's fingerprint, or a form that this version does not know."""

    exit_code = 13
    http_status = 409
    kind = "index-mismatch"


class ModelUnavailable(InhouseError):
    """The model runtime cannot answer now: away, loading too long, queue full, or broken in mid-answer."""

    exit_code = 14
    http_status = 503
    kind = "model-unavailable"


class ModelRefused(ModelUnavailable):
    """The model would send text out of the network, is not the pinned one, or is not permitted."""

    http_status = 403
    kind = "model-refused"


class IdentityUnavailable(InhouseError):
    """The identity provider cannot be asked now, or what it answers cannot be used."""

    exit_code = 15
    http_status = 503
    kind = "identity-unavailable"


class SourcesChanged(InhouseError):
    """What an answer rests on was removed or relabelled, or the person lost the right to it, while it was given: it ends."""

    exit_code = 16
    http_status = 409
    kind = "sources-changed"


class LegalHold(InhouseError):
    """A document is under legal hold: it is neither removed nor replaced until the hold is lifted."""

    exit_code = 17
    http_status = 409
    kind = "legal-hold"


class Interrupted(InhouseError):
    """A person stopped the work; everything committed until then is kept and the next run goes on."""

    exit_code = 130
    http_status = 499
    kind = "interrupted"
