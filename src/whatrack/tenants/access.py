"""Who asks, for which organization, and what their role allows."""

from dataclasses import dataclass
from uuid import UUID

from whatrack.errors import Forbidden

RANK = {"viewer": 0, "agent": 1, "admin": 2, "owner": 3}


@dataclass(frozen=True)
class Access:
    """A person or program inside one organization. actor: how the audit names them ('api_key:<id>')."""

    organization_id: UUID
    role: str
    actor: str

    def require(self, role: str) -> None:
        """Raise Forbidden unless the role is at least this one (viewer < agent < admin < owner)."""
        if RANK[self.role] < RANK[role]:
            raise Forbidden(f"This needs the role {role}; the key has {self.role}.")

    @property
    def sees_phones(self) -> bool:
        """Viewers see no phone number in full."""
        return self.role != "viewer"


@dataclass(frozen=True)
class Operator:
    """Whoever runs the installation: sees raw deliveries, belongs to no organization."""

    actor: str
