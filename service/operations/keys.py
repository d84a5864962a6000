"""API keys: made for a person, shown once, stored hashed."""

from __future__ import annotations

import datetime
import threading

from pydantic import BaseModel, ConfigDict, Field

from policies.access.actions import Action
from policies.audit.events import EventTag
from policies.credentials import KeyRecord
from policies.identity import Role
from service.operations.managing import manager
from service.operations.registry import Emit, Operation, Result
from service.wiring import Installation


class CreateKey(BaseModel):
    """A key for a person; `days` from now it expires. What is given of groups, clearance and roles limits the key to that."""

    model_config = ConfigDict(extra="forbid")
    as_person: str | None = None
    person: str
    days: int = Field(90, ge=1, le=3660)
    groups: tuple[str, ...] | None = None
    clearance: str | None = None
    roles: tuple[Role, ...] | None = None


class OneKey(BaseModel):
    """A key by its id, which is not its secret."""

    model_config = ConfigDict(extra="forbid")
    as_person: str | None = None
    id: str


class AllKeys(BaseModel):
    """Keys of one person, or of all."""

    model_config = ConfigDict(extra="forbid")
    as_person: str | None = None
    person: str | None = None


def create(installation: Installation, request: CreateKey, emit: Emit, stop: threading.Event) -> Result:
    """Makes a key; its secret is in the result, once, and nowhere else."""
    actor = manager(installation, request.as_person, Action.PEOPLE_MANAGE)
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=request.days)
    record, secret = installation.keys.create(
        request.person, expires, groups=request.groups, clearance=request.clearance, roles=request.roles
    )
    made = described(record)
    told = {name: made[name] for name in ("person", "expires", "groups", "clearance", "roles")}
    try:
        installation.audit.append(EventTag.KEY_CREATED, actor.id, {"key": record.id, **told})
    except BaseException:
        # A key that the log does not know must not work.
        installation.keys.revoke(record.id)
        raise
    return {"key": made, "secret": secret}


def list_keys(installation: Installation, request: AllKeys, emit: Emit, stop: threading.Event) -> Result:
    """Keys without their secrets."""
    manager(installation, request.as_person, Action.PEOPLE_MANAGE)
    if request.person is not None:
        installation.people.show(request.person)
    keys = installation.keys.list()
    return {"keys": [described(key) for key in keys if request.person in (None, key.person)]}


def revoke(installation: Installation, request: OneKey, emit: Emit, stop: threading.Event) -> Result:
    """Revokes a key: it is refused from the next request on. Raises NotFoundError before anything is recorded."""
    actor = manager(installation, request.as_person, Action.PEOPLE_MANAGE)
    key = installation.keys.show(request.id)
    installation.audit.append(EventTag.KEY_REVOKED, actor.id, {"key": key.id, "person": key.person})
    installation.keys.revoke(request.id)
    return {"revoked": request.id}


def described(key: KeyRecord) -> Result:
    """A key as JSON, without its secret; a right that is null is whatever its owner's is."""
    return {
        "id": key.id,
        "person": key.person,
        "created": key.created,
        "expires": key.expires,
        "revoked": key.revoked,
        "groups": None if key.groups is None else sorted(key.groups),
        "clearance": key.clearance,
        "roles": None if key.roles is None else sorted(key.roles),
    }


OPERATIONS = {
    "keys.create": Operation(CreateKey, create),
    "keys.list": Operation(AllKeys, list_keys),
    "keys.revoke": Operation(OneKey, revoke),
}
