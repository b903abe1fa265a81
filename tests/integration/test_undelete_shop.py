"""Undelete in the schema of a real shop: whatever was deleted or dropped, the content is to the bit what it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from public_schema import measured_code, shop
from transfer import content_of
from undeleting import Case

from litekeep.errors import VerificationError
from litekeep.tables import tables_of

HARM = """
PRAGMA foreign_keys=OFF; DROP TABLE Invoice; DROP TABLE Review; DROP TABLE Genre;
DELETE FROM InvoiceLine WHERE Line = 1;
DELETE FROM Track WHERE TrackId % 3 = 0; DELETE FROM Customer; DELETE FROM Artist WHERE ArtistId < 5;
DELETE FROM Album WHERE AlbumId < 5; DELETE FROM PlaylistTrack; DELETE FROM Setting; DELETE FROM Log WHERE rowid % 2;
"""


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le"])
def test_a_shop_comes_back_to_the_bit(in_memory: Path, encoding: str) -> None:
    case = Case(in_memory, "")
    case.path.unlink()
    shop(case.path, encoding=encoding)
    then = content_of(case.path)
    schema = sorted(case.rows("SELECT type, name, sql FROM sqlite_master"))
    case.backup()
    case.run(HARM)
    assert content_of(case.path) != then
    # Its invoices count themselves in the customers: that would count them twice.
    before = case.dump()
    case.run("CREATE TABLE Invoice(InvoiceId INTEGER PRIMARY KEY, CustomerId, InvoiceDate, Total, Void)")
    case.run("CREATE TRIGGER again AFTER INSERT ON Invoice BEGIN UPDATE Customer SET Invoices = Invoices + 1"
             " WHERE CustomerId = new.CustomerId; END")  # fmt: skip
    with pytest.raises(VerificationError, match="triggers change them"):
        case.undelete()
    case.run("DROP TABLE Invoice")
    assert case.dump() == before
    done = case.undelete(triggers="skip")
    assert not [table for table in done.tables if table.note or table.conflicts]
    assert content_of(case.path) == then
    assert sorted(case.rows("SELECT type, name, sql FROM sqlite_master")) == schema
    case.check()
    assert case.undelete(triggers="skip").put_back == 0


def test_a_database_of_another_program_comes_back_to_the_bit(in_memory: Path) -> None:
    case = Case(in_memory, "")
    case.path.unlink()
    measured_code(case.path)
    then = content_of(case.path)
    case.backup()
    with case.open() as db:
        names = [name for name, table in tables_of(db).items() if table.kind == "table"]
    case.run("PRAGMA foreign_keys=OFF;" + ";".join(f"DELETE FROM {name} WHERE rowid % 2" for name in names))
    case.run(f"PRAGMA foreign_keys=OFF; DROP TABLE {names[-1]}")
    case.undelete()
    assert content_of(case.path) == then
    case.check()
