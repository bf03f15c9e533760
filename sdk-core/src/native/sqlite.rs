//! The outbox in SQLite: durable when a call returns, one process at a time (P-S1).
//!
//! One thread owns the connection. Batches that wait together are one transaction with a savepoint
//! each: one sync serves them all, and one that fails takes no other with it. WAL with
//! `synchronous = FULL`: what was committed survives a power cut.
//!
//! Lay the file outside of device backups. A restored copy uses numbers that were used since; the
//! server notices and answers `forked`, or the items end as `uncertain`.

use super::schema;
use crate::table::Table;
use crate::{
    driver::{Batch, Storage},
    machine::{BatchId, NewItem, Owner, Snapshot, StoreError, StoreOp, StoredItem, StoredLane},
    model::ids::{ItemId, ProducerId},
    protocol::{Code, Cursor, Json, Mark},
    time::UnixMillis,
};
use futures_channel::oneshot;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};
use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

type Results = Vec<(BatchId, Result<(), StoreError>)>;

enum Ask {
    Load(Option<Owner>, oneshot::Sender<Result<Snapshot, StoreError>>),
    Commit(Vec<Batch>, oneshot::Sender<Results>),
    #[cfg(test)]
    Fill(oneshot::Sender<()>),
}

/// A durable [`Storage`] in one SQLite file. Dropping it waits for what is being written; then the
/// file is free for the next.
#[derive(Debug)]
pub struct SqliteStorage {
    /// None only while it is dropped: that ends the thread.
    asks: Option<mpsc::Sender<Ask>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl SqliteStorage {
    fn ask(&self, ask: Ask) -> Result<(), StoreError> {
        self.asks.as_ref().and_then(|asks| asks.send(ask).ok()).ok_or_else(|| ended(()))
    }
}

impl Drop for SqliteStorage {
    fn drop(&mut self) {
        self.asks = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked holds nothing any more.
            let _ = thread.join();
        }
    }
}

impl SqliteStorage {
    /// Opens or makes the file, readable by its owner only, and locks it against other processes
    /// (with a file beside it that ends in `.lock`).
    ///
    /// # Errors
    /// [`StoreError::NotOwner`] while another process holds it; [`StoreError::Io`] where it cannot
    /// be opened, is no store, or is one of a newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".lock");
        let lock = private_file(&PathBuf::from(beside))?;
        match lock.try_lock() {
            Ok(()) => Self::open_shared(path, Some(lock)),
            Err(TryLockError::WouldBlock) => Err(StoreError::NotOwner),
            Err(TryLockError::Error(error)) => Err(StoreError::Io(error.to_string())),
        }
    }

    /// Opens without the lock between processes; the generation in the file still counts.
    fn open_shared(path: &Path, lock: Option<File>) -> Result<Self, StoreError> {
        drop(private_file(path)?);
        let connection = Connection::open(path).map_err(io)?;
        schema::prepare(&connection)?;
        let (asks, asked) = mpsc::channel();
        let mut store = Store { connection, holder: Holder::default(), _lock: lock };
        let work = move || {
            while let Ok(ask) = asked.recv() {
                // Who no longer waits for an answer needs none.
                match ask {
                    Ask::Load(owner, reply) => drop(reply.send(store.load(owner))),
                    Ask::Commit(batches, reply) => drop(reply.send(store.commit(batches))),
                    #[cfg(test)]
                    Ask::Fill(reply) => {
                        let pages = store
                            .connection
                            .query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0));
                        let limit = pages.unwrap();
                        let _ = store.connection.pragma_update(None, "max_page_count", limit);
                        let _ = reply.send(());
                    }
                }
            }
        };
        let thread = thread::Builder::new()
            .name("wardline-store".into())
            .spawn(work)
            .map_err(|error| StoreError::Io(error.to_string()))?;
        Ok(Self { asks: Some(asks), thread: Some(thread) })
    }
}

fn ended<T>(_: T) -> StoreError {
    StoreError::Io("the store's thread has ended".into())
}

impl Storage for SqliteStorage {
    async fn load(&mut self, owner: Option<Owner>) -> Result<Snapshot, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Load(owner, reply))?;
        answer.await.map_err(ended)?
    }

    async fn commit(&mut self, batches: Vec<Batch>) -> Results {
        let ids: Vec<_> = batches.iter().map(|(batch, _)| *batch).collect();
        let (reply, answer) = oneshot::channel();
        let answer = match self.ask(Ask::Commit(batches, reply)) {
            Ok(()) => answer.await.ok(),
            Err(_) => None,
        };
        answer.unwrap_or_else(|| ids.into_iter().map(|id| (id, Err(ended(())))).collect())
    }
}

fn io(error: rusqlite::Error) -> StoreError {
    StoreError::Io(error.to_string())
}

fn private_file(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| StoreError::Io(format!("{}: {error}", path.display())))
}

/// Under which owner and generation of the lock this connection writes.
#[derive(Clone, Copy, Default)]
struct Holder {
    owner: i64,
    lock: i64,
}

struct Store {
    connection: Connection,
    holder: Holder,
    _lock: Option<File>,
}

impl Store {
    fn load(&mut self, owner: Option<Owner>) -> Result<Snapshot, StoreError> {
        let transaction = self.connection.transaction().map_err(io)?;
        let loaded = load(&transaction, owner).map_err(io)?;
        transaction.commit().map_err(io)?;
        self.holder = loaded.0;
        Ok(loaded.1)
    }

    fn commit(&mut self, batches: Vec<Batch>) -> Results {
        let ids: Vec<_> = batches.iter().map(|(batch, _)| *batch).collect();
        self.try_commit(batches).unwrap_or_else(|error| {
            let error = io(error);
            ids.into_iter().map(|id| (id, Err(error.clone()))).collect()
        })
    }

    fn try_commit(&mut self, batches: Vec<Batch>) -> rusqlite::Result<Results> {
        let mut holder = self.holder;
        // Immediate: the generation that is checked is the one that is committed under.
        let mut transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let lock: i64 =
            transaction
                .query_row("SELECT value FROM meta WHERE key = 'lock'", [], |row| row.get(0))?;
        let mut results = Vec::with_capacity(batches.len());
        for (batch, ops) in batches {
            let numbers = |op: &StoreOp| {
                // Who lost the lock neither binds the store, nor numbers an item, nor ends one.
                let binds = matches!(op, StoreOp::Bind(_) | StoreOp::Producer(_));
                binds || matches!(op, StoreOp::Number(..) | StoreOp::Lane(..) | StoreOp::Skip(..))
            };
            let result = if lock != holder.lock && ops.iter().any(numbers) {
                Err(StoreError::NotOwner)
            } else {
                let savepoint = transaction.savepoint()?;
                let mut bound = holder;
                let applied = ops.into_iter().try_for_each(|op| apply(&savepoint, &mut bound, op));
                match applied {
                    Ok(()) => {
                        savepoint.commit()?;
                        holder = bound;
                        Ok(())
                    }
                    // Dropping the savepoint takes the batch back.
                    Err(error) => Err(io(error)),
                }
            };
            results.push((batch, result));
        }
        transaction.commit()?;
        self.holder = holder;
        Ok(results)
    }
}

/// Takes the lock and reads everything of an owner.
fn load(db: &Connection, owner: Option<Owner>) -> rusqlite::Result<(Holder, Snapshot)> {
    let id: i64 = match &owner {
        None => db.query_row("SELECT value FROM meta WHERE key = 'last'", [], |row| row.get(0))?,
        Some(owner) => owner_id(db, owner)?,
    };
    db.execute("UPDATE meta SET value = value + 1 WHERE key = 'lock'", [])?;
    db.execute("UPDATE meta SET value = ?1 WHERE key = 'last'", [id])?;
    let lock: i64 =
        db.query_row("SELECT value FROM meta WHERE key = 'lock'", [], |row| row.get(0))?;
    let (owner, producer) = db.query_row(
        "SELECT server, tenant, user, producer FROM owners WHERE id = ?1",
        [id],
        |row| {
            let server: Option<String> = row.get(0)?;
            let (tenant, user): (Option<String>, Option<String>) = (row.get(1)?, row.get(2)?);
            let owner = match (server, tenant, user) {
                (Some(server), Some(tenant), Some(user)) => {
                    Some(Owner { server, tenant: tenant.into(), user: user.into() })
                }
                _ => None,
            };
            let producer: Option<[u8; 16]> = row.get(3)?;
            Ok((owner, producer.map(|bytes| ProducerId(u128::from_be_bytes(bytes)))))
        },
    )?;
    let mut lanes = Table::new();
    let mut rows = db.prepare("SELECT lane, given, done FROM lanes WHERE owner = ?1")?;
    for row in rows.query_map([id], |row| {
        let numbers = StoredLane { given: whole(row, 1)?, done: whole(row, 2)? };
        Ok((row.get::<_, u8>(0)?, numbers))
    })? {
        let (lane, numbers) = row?;
        lanes.insert(lane, numbers);
    }
    let mut rows = db.prepare("SELECT * FROM items WHERE owner = ?1 ORDER BY ord")?;
    let items = rows.query_map([id], item)?.collect::<rusqlite::Result<_>>()?;
    let mut cursors = Table::new();
    let mut rows = db.prepare("SELECT name, room, seq, mark FROM cursors WHERE owner = ?1")?;
    for row in rows.query_map([id], |row| {
        let room: String = row.get(1)?;
        let mark = Mark(row.get::<_, i64>(3)?.cast_unsigned());
        Ok((row.get::<_, String>(0)?, room, Cursor { seq: whole(row, 2)?, mark }))
    })? {
        let (name, room, cursor) = row?;
        if let Ok(room) = room.parse() {
            cursors.insert((name, room), cursor);
        }
    }
    let snapshot = Snapshot {
        owner,
        producer,
        lanes,
        items,
        cursors,
        durable: true,
        lock: lock.cast_unsigned(),
    };
    Ok((Holder { owner: id, lock }, snapshot))
}

fn whole(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(at)?.cast_unsigned())
}

fn signed(value: u64) -> i64 {
    value.cast_signed()
}

fn owner_id(db: &Connection, owner: &Owner) -> rusqlite::Result<i64> {
    let Owner { server, tenant, user } = owner;
    let (tenant, user) = (tenant.as_str(), user.as_str());
    let known = db
        .query_row(
            "SELECT id FROM owners WHERE server = ?1 AND tenant = ?2 AND user = ?3",
            params![server, tenant, user],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    db.execute(
        "INSERT INTO owners (server, tenant, user) VALUES (?1, ?2, ?3)",
        params![server, tenant, user],
    )?;
    Ok(db.last_insert_rowid())
}

fn item(row: &Row<'_>) -> rusqlite::Result<StoredItem> {
    // What was written was checked; a damaged row is no item that could be sent.
    let broken = |column: &str| {
        rusqlite::Error::InvalidColumnType(0, column.to_owned(), rusqlite::types::Type::Text)
    };
    let room: String = row.get("room")?;
    let data: String = row.get("data")?;
    let ttl: Option<i64> = row.get("ttl")?;
    let n: Option<i64> = row.get("n")?;
    let expires: i64 = row.get("expires")?;
    let order: i64 = row.get("ord")?;
    Ok(StoredItem {
        order: order.cast_unsigned(),
        item: NewItem {
            id: ItemId(u128::from_be_bytes(row.get("id")?)),
            lane: row.get("lane")?,
            room: room.parse().map_err(|_| broken("room"))?,
            event: row.get("event")?,
            data: Json::parse(&data).map_err(|_| broken("data"))?,
            key: row.get("item_key")?,
            persist: row.get("persist")?,
            ttl: ttl.map(|ms| Duration::from_millis(ms.cast_unsigned())),
            command: row.get("command")?,
        },
        n: n.map(i64::cast_unsigned),
        expires: UnixMillis(expires.cast_unsigned()),
        deaths: row.get("deaths")?,
        skip: row.get::<_, Option<String>>("skip")?.map(Code::from),
    })
}

fn apply(db: &Connection, holder: &mut Holder, op: StoreOp) -> rusqlite::Result<()> {
    let owner = holder.owner;
    match op {
        StoreOp::Bind(to) => {
            holder.owner = bind(db, owner, &to)?;
            db.prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'last'")?
                .execute([holder.owner])?;
        }
        StoreOp::Producer(producer) => {
            db.prepare_cached("UPDATE owners SET producer = ?2 WHERE id = ?1")?
                .execute(params![owner, producer.0.to_be_bytes()])?;
        }
        StoreOp::Put(stored) => {
            let StoredItem { order, item, n, expires, deaths, skip } = *stored;
            let ttl = item.ttl.map(|span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
            db.prepare_cached(schema::PUT)?.execute(named_params! {
                ":owner": owner, ":ord": signed(order), ":id": item.id.0.to_be_bytes(),
                ":lane": item.lane, ":room": item.room.as_str(), ":event": item.event,
                ":data": item.data.get(), ":item_key": item.key, ":persist": item.persist,
                ":ttl": ttl, ":command": item.command, ":n": n.map(signed),
                ":expires": signed(expires.0), ":deaths": deaths,
                ":skip": skip.as_ref().map(Code::as_str),
            })?;
        }
        StoreOp::Number(id, n) => {
            db.prepare_cached("UPDATE items SET n = ?3 WHERE owner = ?1 AND id = ?2")?
                .execute(params![owner, id.0.to_be_bytes(), n.map(signed)])?;
        }
        StoreOp::Skip(id, code) => {
            db.prepare_cached("UPDATE items SET skip = ?3 WHERE owner = ?1 AND id = ?2")?
                .execute(params![owner, id.0.to_be_bytes(), code.as_str()])?;
        }
        StoreOp::Deaths(id, deaths) => {
            db.prepare_cached("UPDATE items SET deaths = ?3 WHERE owner = ?1 AND id = ?2")?
                .execute(params![owner, id.0.to_be_bytes(), deaths])?;
        }
        StoreOp::Remove(id) => {
            db.prepare_cached("DELETE FROM items WHERE owner = ?1 AND id = ?2")?
                .execute(params![owner, id.0.to_be_bytes()])?;
        }
        StoreOp::Lane(lane, numbers) => {
            db.prepare_cached(schema::LANE)?.execute(params![
                owner,
                lane,
                signed(numbers.given),
                signed(numbers.done)
            ])?;
        }
        StoreOp::Cursor(name, room, cursor) => {
            db.prepare_cached(schema::CURSOR)?.execute(params![
                owner,
                name,
                room.as_str(),
                signed(cursor.seq),
                signed(cursor.mark.0)
            ])?;
        }
    }
    Ok(())
}

/// What has no owner yet becomes the owner's; else the owner's own is gone on with.
fn bind(db: &Connection, at: i64, to: &Owner) -> rusqlite::Result<i64> {
    let Owner { server, tenant, user } = to;
    let (tenant, user) = (tenant.as_str(), user.as_str());
    let taken = db.execute(
        "UPDATE owners SET server = ?2, tenant = ?3, user = ?4
         WHERE id = ?1 AND server IS NULL AND NOT EXISTS
           (SELECT 1 FROM owners WHERE server = ?2 AND tenant = ?3 AND user = ?4)",
        params![at, server, tenant, user],
    )?;
    if taken == 1 { Ok(at) } else { owner_id(db, to) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        client::{Client, Options},
        driver::suite::{Shelf, storage_suite},
        native::TokioPlatform,
    };

    struct OnDisk {
        folder: tempfile::TempDir,
    }

    impl OnDisk {
        fn path(&self) -> PathBuf {
            self.folder.path().join("outbox.db")
        }
    }

    impl Shelf for OnDisk {
        type Storage = SqliteStorage;
        const DURABLE: bool = true;

        fn open(&self) -> SqliteStorage {
            SqliteStorage::open_shared(&self.path(), None).unwrap()
        }

        async fn fail_next(&self, storage: &mut SqliteStorage) {
            let (reply, done) = oneshot::channel();
            storage.ask(Ask::Fill(reply)).unwrap();
            done.await.unwrap();
        }
    }

    storage_suite!(OnDisk { folder: tempfile::tempdir().unwrap() });

    #[test]
    fn p_s1_one_process_holds_the_file_and_no_one_else_reads_it() {
        let shelf = OnDisk { folder: tempfile::tempdir().unwrap() };
        let held = SqliteStorage::open(&shelf.path()).unwrap();
        assert!(matches!(SqliteStorage::open(&shelf.path()), Err(StoreError::NotOwner)));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(shelf.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        drop(held);
        SqliteStorage::open(&shelf.path()).unwrap();
    }

    /// A client that is offline, its handle and its driver.
    fn offline(path: &Path) -> (Client, tokio::task::JoinHandle<()>) {
        let platform = TokioPlatform::new(None, &[]).unwrap();
        let storage = SqliteStorage::open(path).unwrap();
        let (client, driver) = Options::new("ws://127.0.0.1:1")
            .start(platform, storage, crate::native::platform::random, false)
            .unwrap();
        (client, tokio::spawn(driver))
    }

    #[tokio::test]
    async fn c4_ten_thousand_queued_offline_are_there_in_order_after_a_restart() {
        let shelf = OnDisk { folder: tempfile::tempdir().unwrap() };
        let (client, driver) = offline(&shelf.path());
        let all = (0..10_000).map(|i| client.send("notes", "note", &i).into_future());
        let queued = futures_util::future::join_all(all).await;
        assert!(queued.iter().all(Result::is_ok));
        drop((queued, client));
        driver.await.unwrap();
        let loaded = SqliteStorage::open(&shelf.path()).unwrap().load(None).await.unwrap();
        let data: Vec<u32> =
            loaded.items.iter().map(|stored| stored.item.data.to().unwrap()).collect();
        assert_eq!(data, (0..10_000).collect::<Vec<_>>());
        assert!(loaded.items.iter().all(|stored| stored.n.is_none()), "no wire, no number");
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused_and_so_is_what_is_no_store() {
        let shelf = OnDisk { folder: tempfile::tempdir().unwrap() };
        drop(SqliteStorage::open_shared(&shelf.path(), None).unwrap());
        let connection = Connection::open(shelf.path()).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        assert!(matches!(SqliteStorage::open_shared(&shelf.path(), None), Err(StoreError::Io(_))));
        std::fs::write(shelf.folder.path().join("x"), "hello").unwrap();
        let other = SqliteStorage::open_shared(&shelf.folder.path().join("x"), None);
        assert!(matches!(other, Err(StoreError::Io(_))));
    }
}
