# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which versions of SQLite have a fault that concerns backups ("Write-Ahead Logging", section 11)."""

from __future__ import annotations

Version = tuple[int, int, int]

_FIRST: Version = (3, 7, 0)
FIXED: Version = (3, 51, 3)


def can_lose_a_reset(version: Version) -> bool:
    """Whether a WAL reset can get lost when a checkpoint runs beside a writer, which damages the database."""
    return _FIRST <= version < FIXED
