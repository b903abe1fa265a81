# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Litekeep's engine: verified backups of SQLite databases, and restores that cannot make things worse."""

from __future__ import annotations

__version__ = "0.1.0"
