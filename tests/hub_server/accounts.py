"""Who there is, and what their tokens may do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hub_server.errors import HubError


@dataclass(frozen=True)
class Account:
    """A user.

    Attributes:
        name: The user's own namespace, too.
        orgs: Role (`"write"` or `"read"`) by organization.
        accepts: Whether the user has accepted the terms of every gated repo.
    """

    name: str
    orgs: dict[str, str] = field(default_factory=dict)
    accepts: bool = False


@dataclass(frozen=True)
class Tokens:
    """The tokens the server knows; `expired` is known and refused, anything else is unknown."""

    owner: str = "hf_owner_write"
    owner_read: str = "hf_owner_read"
    colleague: str = "hf_colleague"
    reader: str = "hf_reader_granted"
    stranger: str = "hf_stranger"
    expired: str = "hf_expired"
    unknown: str = "hf_nobody_has_this"


TOKENS = Tokens()
_OWNER = Account("owner", {"lab": "write"})
_COLLEAGUE = Account("colleague", {"lab": "read"})
_READER = Account("reader", accepts=True)
_STRANGER = Account("stranger")
ACCOUNTS = {a.name: a for a in (_OWNER, _COLLEAGUE, _READER, _STRANGER)}
_BY_TOKEN = {
    TOKENS.owner: (_OWNER, "write"),
    TOKENS.owner_read: (_OWNER, "read"),
    TOKENS.colleague: (_COLLEAGUE, "write"),
    TOKENS.reader: (_READER, "write"),
    TOKENS.stranger: (_STRANGER, "write"),
}


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request; `account` is None where there was no token."""

    account: Account | None = None
    role: str = "none"

    @property
    def name(self) -> str:
        return "" if self.account is None else self.account.name

    def role_in(self, namespace: str) -> str:
        """Say what the account may do in a namespace: `"write"`, `"read"` or `"none"`."""
        if self.account is None:
            return "none"
        own = "write" if namespace == self.account.name else "none"
        return self.account.orgs.get(namespace, own)

    def may_write(self, namespace: str) -> bool:
        return self.role == "write" and self.role_in(namespace) == "write"


def identify(headers: Any) -> Caller:
    """Tell who calls.

    Raises:
        HubError: The token is expired or unknown.
    """
    token = (headers.get("Authorization") or "").removeprefix("Bearer ")
    if not token:
        return Caller()
    if token == TOKENS.expired:
        raise HubError(401, 'User Access Token "laptop" is expired')
    if token not in _BY_TOKEN:
        raise HubError(401, "Invalid credentials in Authorization header")
    return Caller(*_BY_TOKEN[token])


def whoami(caller: Caller) -> dict[str, Any]:
    """Answer /api/whoami-v2."""
    if caller.account is None:
        raise HubError(401, "Invalid username or password.")
    account = caller.account
    return {
        "type": "user",
        "id": account.name.encode().hex(),
        "name": account.name,
        "fullname": account.name.title(),
        "email": f"{account.name}@example.org",
        "emailVerified": True,
        "canPay": False,
        "isPro": False,
        "orgs": [
            {"type": "org", "name": name, "fullname": name, "roleInOrg": role}
            for name, role in account.orgs.items()
        ],
        "auth": {
            "type": "access_token",
            "accessToken": {"displayName": "test", "role": caller.role},
        },
    }
