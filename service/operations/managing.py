"""Who manages what belongs to the installation as a whole."""

from __future__ import annotations

from policies.access.actions import Action
from policies.access.verdict import Deny
from policies.errors import AccessDenied
from policies.identity import Principal
from service.wiring import Installation

_MANAGED = {Action.MODELS_MANAGE: "models", Action.PEOPLE_MANAGE: "people and keys"}


def manager(installation: Installation, as_person: str | None, action: Action) -> Principal:
    """Who acts, for `models.manage` or `people.manage`; raises AccessDenied where policy does not let them."""
    principal = installation.principal(as_person)
    if isinstance(installation.policies.decide(principal, action, None), Deny):
        raise AccessDenied(f"{principal.id} may not manage {_MANAGED[action]}", hint="The default policies let administrators.")
    return principal
