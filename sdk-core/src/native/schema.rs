//! The tables of the outbox, and the version that tells old files from new ones.

use crate::machine::StoreError;
use rusqlite::Connection;

/// The version this code writes.
const VERSION: i64 = 1;

/// `owners` holds one row without an owner until the first `welcome` (P-S1a).
const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('lock', 0), ('last', 1);
CREATE TABLE owners (
  id INTEGER PRIMARY KEY, server TEXT, tenant TEXT, user TEXT, producer BLOB,
  UNIQUE (server, tenant, user)
);
INSERT INTO owners (id) VALUES (1);
CREATE TABLE lanes (
  owner INTEGER NOT NULL, lane INTEGER NOT NULL, given INTEGER NOT NULL, done INTEGER NOT NULL,
  PRIMARY KEY (owner, lane)
) WITHOUT ROWID;
CREATE TABLE items (
  owner INTEGER NOT NULL, ord INTEGER NOT NULL, id BLOB NOT NULL, lane INTEGER NOT NULL,
  room TEXT NOT NULL, event TEXT NOT NULL, data TEXT NOT NULL, item_key TEXT,
  persist INTEGER NOT NULL, ttl INTEGER, command INTEGER NOT NULL, n INTEGER,
  expires INTEGER NOT NULL, deaths INTEGER NOT NULL, skip TEXT,
  PRIMARY KEY (owner, ord)
);
CREATE UNIQUE INDEX items_by_id ON items (owner, id);
CREATE TABLE cursors (
  owner INTEGER NOT NULL, name TEXT NOT NULL, room TEXT NOT NULL,
  seq INTEGER NOT NULL, mark INTEGER NOT NULL,
  PRIMARY KEY (owner, name, room)
) WITHOUT ROWID;
";

/// Adds an item. Never over another: that one would be lost without a word.
pub(super) const PUT: &str = "
INSERT INTO items
  (owner, ord, id, lane, room, event, data, item_key, persist, ttl, command, n, expires, deaths, skip)
VALUES
  (:owner, :ord, :id, :lane, :room, :event, :data, :item_key, :persist, :ttl, :command, :n,
   :expires, :deaths, :skip)";

/// Sets a lane's numbers.
pub(super) const LANE: &str =
    "INSERT OR REPLACE INTO lanes (owner, lane, given, done) VALUES (?1, ?2, ?3, ?4)";

/// Sets a position.
pub(super) const CURSOR: &str =
    "INSERT OR REPLACE INTO cursors (owner, name, room, seq, mark) VALUES (?1, ?2, ?3, ?4, ?5)";

/// Sets the connection up, and makes the tables in a new file.
pub(super) fn prepare(connection: &Connection) -> Result<(), StoreError> {
    let version = try_prepare(connection).map_err(|error| StoreError::Io(error.to_string()))?;
    if version == VERSION {
        return Ok(());
    }
    Err(StoreError::Io(format!("the file is of version {version}, this code knows {VERSION}")))
}

fn try_prepare(connection: &Connection) -> rusqlite::Result<i64> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version != 0 {
        return Ok(version);
    }
    let sql = format!("BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;");
    connection.execute_batch(&sql)?;
    Ok(VERSION)
}
