"""Databases of public schemas, filled: what real applications keep, with everything that SQLite's schemas can hold.

The music shop follows the tables, keys and references of the Chinook sample database, whose names are known from many
tutorials; what Chinook does not use (triggers, generated columns, STRICT, WITHOUT ROWID, full-text search, partial and
expression indexes) stands where a shop of today would have it. The other one is what coverage.py really writes.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
from pathlib import Path

from coverage import CoverageData

_STRICT = "STRICT" if sqlite3.sqlite_version_info >= (3, 37) else ""
_ANY = "ANY" if _STRICT else ""
SHOP = f"""
CREATE TABLE Artist(ArtistId INTEGER PRIMARY KEY AUTOINCREMENT, Name TEXT COLLATE NOCASE);
CREATE TABLE Album(
  AlbumId INTEGER PRIMARY KEY, Title TEXT NOT NULL, ArtistId INTEGER NOT NULL REFERENCES Artist ON DELETE CASCADE);
CREATE TABLE Genre(GenreId INTEGER PRIMARY KEY, Name TEXT UNIQUE) {_STRICT};
CREATE TABLE MediaType(
  MediaTypeId INTEGER NOT NULL, Name VARCHAR(120), CONSTRAINT PK_MediaType PRIMARY KEY (MediaTypeId));
CREATE TABLE Track(
  TrackId INTEGER PRIMARY KEY, Name NVARCHAR(200) NOT NULL, AlbumId INTEGER, MediaTypeId INTEGER NOT NULL,
  GenreId INTEGER, Composer TEXT, Milliseconds INTEGER NOT NULL CHECK (Milliseconds > 0), Bytes INTEGER,
  UnitPrice NUMERIC(10,2) NOT NULL, Changed TEXT,
  Minutes REAL GENERATED ALWAYS AS (Milliseconds / 60000.0) VIRTUAL,
  Label TEXT AS (Name || coalesce(' / ' || Composer, '')) STORED,
  FOREIGN KEY (AlbumId) REFERENCES Album(AlbumId) ON DELETE CASCADE ON UPDATE CASCADE,
  FOREIGN KEY (MediaTypeId) REFERENCES MediaType(MediaTypeId), FOREIGN KEY (GenreId) REFERENCES Genre(GenreId));
CREATE TABLE Employee(
  EmployeeId INTEGER PRIMARY KEY, LastName TEXT NOT NULL,
  ReportsTo INTEGER REFERENCES Employee(EmployeeId), Photo BLOB);
CREATE TABLE Customer(
  CustomerId INTEGER PRIMARY KEY, FirstName TEXT, Email TEXT NOT NULL, Invoices INTEGER NOT NULL DEFAULT 0,
  SupportRepId INTEGER REFERENCES Employee(EmployeeId) ON DELETE SET NULL);
CREATE TABLE Invoice(
  InvoiceId INTEGER PRIMARY KEY, CustomerId INTEGER NOT NULL REFERENCES Customer(CustomerId),
  InvoiceDate DATETIME NOT NULL,
  Total NUMERIC(10,2) NOT NULL, Void INTEGER NOT NULL DEFAULT 0);
CREATE TABLE InvoiceLine(
  InvoiceId INTEGER, Line INTEGER, TrackId INTEGER NOT NULL REFERENCES Track(TrackId), Quantity INTEGER NOT NULL,
  PRIMARY KEY (InvoiceId, Line), FOREIGN KEY (InvoiceId) REFERENCES Invoice(InvoiceId) DEFERRABLE INITIALLY DEFERRED)
  WITHOUT ROWID;
CREATE TABLE Playlist(PlaylistId INTEGER PRIMARY KEY, Name TEXT);
CREATE TABLE PlaylistTrack(
  PlaylistId INTEGER NOT NULL REFERENCES Playlist(PlaylistId), TrackId INTEGER NOT NULL REFERENCES Track(TrackId),
  CONSTRAINT PK_PlaylistTrack PRIMARY KEY (PlaylistId, TrackId));
CREATE TABLE Setting(Name TEXT PRIMARY KEY, Value {_ANY}) WITHOUT ROWID{_STRICT and f", {_STRICT}"};
CREATE TABLE Log(At TEXT, What TEXT, Data);
CREATE INDEX IFK_TrackAlbumId ON Track(AlbumId);
CREATE INDEX LongTracks ON Track(Milliseconds) WHERE Milliseconds > 300000;
CREATE INDEX TrackMinutes ON Track(Minutes);
CREATE UNIQUE INDEX CustomerEmail ON Customer(lower(Email));
CREATE UNIQUE INDEX OneOpenInvoice ON Invoice(CustomerId, InvoiceDate) WHERE Void = 0;
CREATE VIEW Revenue AS SELECT CustomerId, sum(Total) AS Total FROM Invoice WHERE Void = 0 GROUP BY CustomerId;
CREATE VIRTUAL TABLE TrackSearch USING fts5(Name, Composer, content='Track', content_rowid='TrackId');
CREATE VIRTUAL TABLE Review USING fts5(Title, Body, tokenize='porter unicode61');
CREATE TRIGGER track_in AFTER INSERT ON Track BEGIN
  INSERT INTO TrackSearch(rowid, Name, Composer) VALUES (new.TrackId, new.Name, new.Composer); END;
CREATE TRIGGER track_out AFTER DELETE ON Track BEGIN
  INSERT INTO TrackSearch(TrackSearch, rowid, Name, Composer)
  VALUES ('delete', old.TrackId, old.Name, old.Composer); END;
CREATE TRIGGER track_change AFTER UPDATE OF Name, Composer ON Track BEGIN
  INSERT INTO TrackSearch(TrackSearch, rowid, Name, Composer)
  VALUES ('delete', old.TrackId, old.Name, old.Composer);
  INSERT INTO TrackSearch(rowid, Name, Composer) VALUES (new.TrackId, new.Name, new.Composer); END;
CREATE TRIGGER invoice_in AFTER INSERT ON Invoice BEGIN
  UPDATE Customer SET Invoices = Invoices + 1 WHERE CustomerId = new.CustomerId;
  INSERT INTO Log VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), 'invoice', new.InvoiceId); END;
CREATE TRIGGER revenue_out INSTEAD OF DELETE ON Revenue BEGIN
  UPDATE Invoice SET Void = 1 WHERE CustomerId = old.CustomerId; END;
"""
_WORDS = ["river", "stone", "Straße", "night", "über", "blue", "machine", "song", "heart", "\u540d\u524d", "\U0001f3b5"]
_WORDS += ["O'Neil", '"quoted"', "line\nbreak", "100%"]


def shop_schema(path: Path, encoding: str = "UTF-8") -> Path:
    """The shop without a row."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA encoding = '{encoding}'")
        db.executescript(SHOP)
    return path


def shop(path: Path, size: int = 300, seed: int = 1, encoding: str = "UTF-8") -> Path:
    """The shop with ``size`` tracks and what belongs to them, in WAL mode. The same seed makes the same content."""
    shop_schema(path, encoding)
    draw = random.Random(seed)

    def words(count: int) -> str:
        return " ".join(draw.choices(_WORDS, k=count))

    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA foreign_keys=ON")
        few = max(2, size // 10)

        def fill(sql: str, rows: int, *values: object) -> None:
            db.executemany(sql, ([v() if callable(v) else v for v in values] for _row in range(rows)))

        db.execute("BEGIN")
        fill("INSERT INTO Artist(Name) VALUES (?)", few, lambda: words(2))
        fill("INSERT INTO Album(Title, ArtistId) VALUES (?, ?)", few, lambda: words(3), lambda: draw.randint(1, few))
        db.executemany("INSERT INTO Genre(Name) VALUES (?)", [("Rock",), ("Jazz",), (None,), (None,)])
        db.executemany("INSERT INTO MediaType VALUES (?, ?)", [(1, "file"), (2, "record")])
        fill(
            "INSERT INTO Track(Name, AlbumId, MediaTypeId, GenreId, Composer, Milliseconds, Bytes, UnitPrice)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            size,
            lambda: words(3),
            lambda: draw.choice([None, draw.randint(1, few)]),
            lambda: draw.randint(1, 2),
            lambda: draw.choice([None, 1, 2, 3, 4]),
            lambda: draw.choice([None, words(2)]),
            lambda: draw.randint(1, 10**6),
            lambda: draw.choice([None, 2**62, -1]),
            lambda: draw.choice([0.99, 1, 1e-300]),
        )
        db.executemany(
            "INSERT INTO Employee VALUES (?, ?, ?, ?)",
            [(n, words(1), n // 2 or None, draw.randbytes(n)) for n in range(1, few + 1)],
        )
        db.executemany(
            "INSERT INTO Customer(CustomerId, FirstName, Email, SupportRepId) VALUES (?, ?, ?, ?)",
            [(n, words(1), f"c{n}@Example.org", draw.choice([None, 1, 2])) for n in range(1, few + 1)],
        )
        for n in range(1, size + 1):
            moment = f"2026-11-{1 + n * 20 // size:02d} 12:{n // 60 % 60:02d}:{n % 60:02d}"
            db.execute(
                "INSERT INTO Invoice(CustomerId, InvoiceDate, Total) VALUES (?, ?, ?)",
                (draw.randint(1, few), moment, draw.randint(1, 999) / 100),
            )
            for line in range(draw.randint(1, 3)):
                db.execute("INSERT INTO InvoiceLine VALUES (?, ?, ?, ?)", (n, line, draw.randint(1, size), 1))
        fill("INSERT INTO Playlist(Name) VALUES (?)", few, lambda: words(2))
        fill(
            "INSERT OR IGNORE INTO PlaylistTrack VALUES (?, ?)",
            size,
            lambda: draw.randint(1, few),
            lambda: draw.randint(1, size),
        )
        settings = [("a", 1), ("b", 1.0), ("c", "1"), ("d", b"1"), ("e", None), ("f", float("inf"))]
        db.executemany("INSERT INTO Setting VALUES (?, ?)", settings)
        fill("INSERT INTO Review VALUES (?, ?)", few, lambda: words(2), lambda: words(8))
        db.execute("COMMIT")
        # Gaps in the numbers, and an AUTOINCREMENT that is ahead of them.
        db.execute("DELETE FROM Track WHERE TrackId % 17 = 0 AND TrackId NOT IN (SELECT TrackId FROM InvoiceLine)"
                   " AND TrackId NOT IN (SELECT TrackId FROM PlaylistTrack)")  # fmt: skip
        db.execute("DELETE FROM Artist WHERE ArtistId = (SELECT max(ArtistId) FROM Artist)"
                   " AND NOT EXISTS (SELECT 1 FROM Album JOIN Track USING (AlbumId))")  # fmt: skip
    return path


def measured_code(path: Path) -> Path:
    """What coverage.py writes: its own schema, with references, unique keys and packed line numbers as BLOBs."""
    data = CoverageData(basename=str(path))
    for context in ("", "test_a", "test_b"):
        data.set_context(context)
        data.add_lines({f"/code/{context}{n}.py": set(range(n, 300, 7)) for n in range(1, 20)})
    data.add_file_tracers({"/code/1.py": "a.plugin"})
    data.write()
    data.close()
    return path


def empty_copy(source: Path, target: Path) -> Path:
    """A database with the same schema, and without a row."""
    with contextlib.closing(sqlite3.connect(source)) as db, contextlib.closing(sqlite3.connect(target)) as copy:
        copy.execute(f"PRAGMA encoding = '{db.execute('PRAGMA encoding').fetchone()[0]}'")
        virtual = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'")]
        for name, sql in db.execute(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            " ORDER BY type = 'trigger', type = 'view', rowid"
        ).fetchall():
            if not any(name.startswith(f"{owner}_") for owner in virtual):
                copy.execute(sql)
        copy.commit()
    return target
