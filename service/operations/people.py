"""People: who may ask, with which groups, clearance and roles."""

from __future__ import annotations

import datetime
import threading

from pydantic import BaseModel, ConfigDict, Field

from policies.access.actions import Action
from policies.audit.events import EventTag
from policies.errors import UsageError
from policies.identity import Role
from policies.people import Person
from policies.provider_accounts import ProviderAccounts
from service.operations.managing import manager
from service.operations.registry import Emit, Operation, Result
from service.wiring import Installation


class AddPerson(BaseModel):
    """A new person."""

    model_config = ConfigDict(extra="forbid")
    id: str
    name: str
    groups: tuple[str, ...] = ()
    clearance: str
    roles: tuple[Role, ...] = (Role.USER,)
    as_person: str | None = None


class OnePerson(BaseModel):
    """A person by id."""

    model_config = ConfigDict(extra="forbid")
    id: str
    as_person: str | None = None


class LinkPerson(BaseModel):
    """A one-time link for a person, which lets in for so many minutes."""

    model_config = ConfigDict(extra="forbid")
    id: str
    minutes: int = Field(60, ge=1, le=7 * 24 * 60)
    as_person: str | None = None


class AllPeople(BaseModel):
    """No choice to make."""

    model_config = ConfigDict(extra="forbid")
    as_person: str | None = None


def add(installation: Installation, request: AddPerson, emit: Emit, stop: threading.Event) -> Result:
    """Adds a person; the record is written first, so that nobody is there whom the log does not know."""
    actor = manager(installation, request.as_person, Action.PEOPLE_MANAGE)
    levels = installation.settings.access.classifications
    if request.clearance not in levels:
        raise UsageError(f"there is no clearance {request.clearance!r}", hint=f"One of: {', '.join(levels)}.")
    installation.people.check_new(request.id, request.name, request.groups)
    installation.audit.append(
        EventTag.PERSON_ADDED,
        actor.id,
        {
            "person": request.id,
            "groups": sorted(request.groups),
            "clearance": request.clearance,
            "roles": sorted(request.roles),
        },
    )
    person = installation.people.add(request.id, request.name, request.groups, request.clearance, request.roles)
    return {"person": described(person)}


def list_people(installation: Installation, request: AllPeople, emit: Emit, stop: threading.Event) -> Result:
    """Every person, disabled ones too."""
    manager(installation, request.as_person, Action.PEOPLE_MANAGE)
    return {"people": [described(person) for person in installation.people.list()]}


def show(installation: Installation, request: OnePerson, emit: Emit, stop: threading.Event) -> Result:
    """One person with their keys."""
    from service.operations.keys import described as described_key

    manager(installation, request.as_person, Action.PEOPLE_MANAGE)
    person = installation.people.show(request.id)
    keys = [described_key(key) for key in installation.keys.list() if key.person == request.id]
    return {"person": described(person), "keys": keys}


def disable(installation: Installation, request: OnePerson, emit: Emit, stop: threading.Event) -> Result:
    """Disables a person: every credential of theirs is refused from the next request on."""
    actor = manager(installation, request.as_person, Action.PEOPLE_MANAGE)
    installation.people.show(request.id)
    installation.audit.append(EventTag.PERSON_DISABLED, actor.id, {"person": request.id})
    installation.people.disable(request.id)
    return {"person": described(installation.people.show(request.id))}


def release(installation: Installation, request: OnePerson, emit: Emit, stop: threading.Event) -> Result:
    """Unties a person from their account at the identity provider, so that another account may be bound to them."""
    actor = manager(installation, request.as_person, Action.PEOPLE_MANAGE)
    installation.people.show(request.id)
    installation.audit.append(EventTag.PERSON_RELEASED, actor.id, {"person": request.id})
    ProviderAccounts(installation.people).release(request.id)
    return {"released": request.id}


def link(installation: Installation, request: LinkPerson, emit: Emit, stop: threading.Event) -> Result:
    """Makes a link that signs a person in once; its code is in the result and nowhere else. What follows the # of an
    address is sent to no server and kept in no log."""
    actor = manager(installation, request.as_person, Action.PEOPLE_MANAGE)
    made, code = installation.sessions.create_link(request.id, datetime.timedelta(minutes=request.minutes))
    installation.audit.append(
        EventTag.LINK_CREATED, actor.id, {"link": made.id, "person": made.person, "expires": made.expires}
    )
    return {"person": made.person, "expires": made.expires, "url": f"{installation.public_url}/sign-in#{code}"}


def described(person: Person) -> Result:
    """A person as JSON."""
    return {
        "id": person.id,
        "name": person.name,
        "groups": sorted(person.groups),
        "clearance": person.clearance,
        "roles": sorted(person.roles),
        "disabled": person.disabled,
    }


OPERATIONS = {
    "people.add": Operation(AddPerson, add),
    "people.disable": Operation(OnePerson, disable),
    "people.link": Operation(LinkPerson, link, shared=True),
    "people.list": Operation(AllPeople, list_people),
    "people.release": Operation(OnePerson, release),
    "people.show": Operation(OnePerson, show),
}
