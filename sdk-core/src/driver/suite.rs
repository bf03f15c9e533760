//! What every store must do, run on each of them; the tests of `sdk-wasm` take it from here too.

use super::platform::Storage;
use crate::{
    machine::{BatchId, NewItem, Owner, Snapshot, StoreError, StoreOp, StoredItem, StoredLane},
    model::ids::{ItemId, ProducerId},
    protocol::{Code, Cursor, Json, Mark},
    time::UnixMillis,
};
use std::{future::Future, time::Duration};

/// A place that a store can be opened at several times, as processes do.
pub(crate) trait Shelf {
    type Storage: Storage;
    const DURABLE: bool;

    fn open(&self) -> Self::Storage;
    /// Makes the next commit fail, by the medium's own means where it has any.
    fn fail_next(&self, storage: &mut Self::Storage) -> impl Future<Output = ()>;
}

macro_rules! storage_suite {
    ($shelf:expr) => {
        $crate::driver::suite::storage_suite!(@ $shelf;
            everything_written_is_read_after_a_reopen
            items_come_back_in_the_order_of_their_submits
            a_removed_item_is_gone_and_others_stay
            owners_do_not_see_each_other
            what_was_written_before_the_first_welcome_becomes_the_owners
            the_older_holder_of_the_lock_gives_no_numbers
            an_item_is_never_put_over_another
            a_failed_batch_leaves_nothing
        );
    };
    (@ $shelf:expr; $($name:ident)+) => {$(
        #[cfg(not(target_arch = "wasm32"))]
        #[test]
        fn $name() {
            futures_executor($crate::driver::suite::$name(&$shelf));
        }

        #[cfg(target_arch = "wasm32")]
        #[wasm_bindgen_test::wasm_bindgen_test]
        async fn $name() {
            $crate::driver::suite::$name(&$shelf).await;
        }
    )+
        #[cfg(not(target_arch = "wasm32"))]
        fn futures_executor(future: impl Future<Output = ()>) {
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future);
        }
    };
}

pub(crate) use storage_suite;

fn owner(user: &str) -> Owner {
    Owner { server: "wss://x".into(), tenant: "t".into(), user: user.into() }
}

fn item(order: u64) -> StoredItem {
    StoredItem {
        order,
        item: NewItem {
            id: ItemId(u128::from(order) << 64 | 7),
            lane: 3,
            room: "alerts/tenant:1".parse().unwrap(),
            event: "x".into(),
            data: Json::parse(r#"{"a":"ü\n"}"#).unwrap(),
            key: Some("k".into()),
            persist: true,
            ttl: Some(Duration::from_millis(1500)),
            command: true,
        },
        n: None,
        expires: UnixMillis(1 << 45),
        deaths: 0,
        skip: None,
    }
}

fn put(order: u64) -> StoreOp {
    StoreOp::Put(Box::new(item(order)))
}

async fn commit(storage: &mut impl Storage, ops: Vec<StoreOp>) -> Result<(), StoreError> {
    let mut results = storage.commit(vec![(BatchId(1), ops)]).await;
    assert_eq!(results.len(), 1);
    let (batch, result) = results.remove(0);
    assert_eq!(batch, BatchId(1));
    result
}

fn orders(snapshot: &Snapshot) -> Vec<u64> {
    snapshot.items.iter().map(|item| item.order).collect()
}

pub(crate) async fn everything_written_is_read_after_a_reopen<S: Shelf>(shelf: &S) {
    let mut storage = shelf.open();
    let empty = storage.load(None).await.unwrap();
    assert_eq!((empty.owner, empty.producer, empty.durable), (None, None, S::DURABLE));
    let cursor = Cursor { seq: 9, mark: Mark(u64::MAX) };
    let room: crate::protocol::Address = "video/camera:7".parse().unwrap();
    let lane = StoredLane { given: 2, done: 1 };
    let ops = vec![
        StoreOp::Producer(ProducerId(u128::MAX)),
        StoreOp::Bind(owner("u")),
        put(1),
        StoreOp::Number(item(1).item.id, Some(2)),
        StoreOp::Skip(item(1).item.id, Code::EXPIRED),
        StoreOp::Deaths(item(1).item.id, 4),
        StoreOp::Lane(3, lane),
        StoreOp::Cursor("name".into(), room.clone(), cursor),
    ];
    commit(&mut storage, ops).await.unwrap();
    drop(storage);
    let loaded = shelf.open().load(None).await.unwrap();
    let wanted = StoredItem { n: Some(2), deaths: 4, skip: Some(Code::EXPIRED), ..item(1) };
    assert_eq!(loaded.items, [wanted]);
    assert_eq!(loaded.owner, Some(owner("u")));
    assert_eq!(loaded.producer, Some(ProducerId(u128::MAX)));
    assert_eq!(loaded.lanes.get(&3), Some(&lane));
    assert_eq!(loaded.cursors.get(&("name".to_owned(), room)), Some(&cursor));
    assert!(loaded.lock > empty.lock);
}

pub(crate) async fn items_come_back_in_the_order_of_their_submits<S: Shelf>(shelf: &S) {
    let mut storage = shelf.open();
    storage.load(None).await.unwrap();
    let batches = [3, 1, 2, 200, 10].map(|order| (BatchId(order), vec![put(order)]));
    let results = storage.commit(batches.into()).await;
    let answered: Vec<_> =
        results.iter().map(|(batch, result)| (batch.0, result.is_ok())).collect();
    assert_eq!(answered, [3, 1, 2, 200, 10].map(|order| (order, true)));
    assert_eq!(orders(&shelf.open().load(None).await.unwrap()), [1, 2, 3, 10, 200]);
}

pub(crate) async fn a_removed_item_is_gone_and_others_stay<S: Shelf>(shelf: &S) {
    let mut storage = shelf.open();
    storage.load(None).await.unwrap();
    commit(&mut storage, vec![put(1), put(2), put(3)]).await.unwrap();
    commit(&mut storage, vec![StoreOp::Remove(item(2).item.id)]).await.unwrap();
    // What is not there any more is not an error: it may have been settled twice.
    commit(&mut storage, vec![StoreOp::Remove(item(2).item.id)]).await.unwrap();
    assert_eq!(orders(&storage.load(None).await.unwrap()), [1, 3]);
}

pub(crate) async fn owners_do_not_see_each_other<S: Shelf>(shelf: &S) {
    let mut storage = shelf.open();
    storage.load(None).await.unwrap();
    let ops = vec![StoreOp::Bind(owner("a")), StoreOp::Producer(ProducerId(1)), put(1)];
    commit(&mut storage, ops).await.unwrap();
    let other = storage.load(Some(owner("b"))).await.unwrap();
    assert_eq!((other.owner, other.producer, other.items), (Some(owner("b")), None, vec![]));
    // The same order and id under another owner is another item.
    commit(&mut storage, vec![StoreOp::Producer(ProducerId(2)), put(1), put(2)]).await.unwrap();
    commit(&mut storage, vec![StoreOp::Remove(item(1).item.id)]).await.unwrap();
    assert_eq!(storage.load(None).await.unwrap().owner, Some(owner("b")));
    let first = storage.load(Some(owner("a"))).await.unwrap();
    assert_eq!((orders(&first), first.producer), (vec![1], Some(ProducerId(1))));
    assert_eq!(orders(&storage.load(Some(owner("b"))).await.unwrap()), [2]);
}

pub(crate) async fn what_was_written_before_the_first_welcome_becomes_the_owners<S: Shelf>(
    shelf: &S,
) {
    let mut storage = shelf.open();
    storage.load(None).await.unwrap();
    commit(&mut storage, vec![StoreOp::Producer(ProducerId(5)), put(1)]).await.unwrap();
    commit(&mut storage, vec![StoreOp::Bind(owner("a")), put(2)]).await.unwrap();
    drop(storage);
    let loaded = shelf.open().load(Some(owner("a"))).await.unwrap();
    assert_eq!((orders(&loaded), loaded.producer), (vec![1, 2], Some(ProducerId(5))));
}

pub(crate) async fn the_older_holder_of_the_lock_gives_no_numbers<S: Shelf>(shelf: &S) {
    let mut first = shelf.open();
    first.load(None).await.unwrap();
    commit(&mut first, vec![put(1)]).await.unwrap();
    let mut second = shelf.open();
    second.load(None).await.unwrap();
    let id = item(1).item.id;
    let number = vec![put(2), StoreOp::Number(id, Some(1))];
    assert_eq!(commit(&mut first, number).await, Err(StoreError::NotOwner));
    // Nor does it end an item: the holder may have sent it.
    let end = vec![StoreOp::Skip(id, Code::EXPIRED)];
    assert_eq!(commit(&mut first, end).await, Err(StoreError::NotOwner));
    let bind = vec![StoreOp::Bind(owner("a"))];
    assert_eq!(commit(&mut first, bind).await, Err(StoreError::NotOwner));
    // It may still add what the holder will number.
    commit(&mut first, vec![put(3)]).await.unwrap();
    commit(&mut second, vec![StoreOp::Number(id, Some(1))]).await.unwrap();
    let loaded = second.load(None).await.unwrap();
    let numbers: Vec<_> = loaded.items.iter().map(|item| (item.order, item.n)).collect();
    assert_eq!(numbers, [(1, Some(1)), (3, None)]);
}

pub(crate) async fn an_item_is_never_put_over_another<S: Shelf>(shelf: &S) {
    let mut storage = shelf.open();
    storage.load(None).await.unwrap();
    commit(&mut storage, vec![put(1)]).await.unwrap();
    let mut same_order = item(1);
    same_order.item.id = ItemId(99);
    let mut same_id = item(2);
    same_id.item.id = item(1).item.id;
    for other in [same_order, same_id] {
        let result = commit(&mut storage, vec![StoreOp::Put(Box::new(other))]).await;
        assert!(matches!(result, Err(StoreError::Io(_))));
    }
    let mut twin = item(3);
    twin.item.id = ItemId(98);
    let result = commit(&mut storage, vec![put(3), StoreOp::Put(Box::new(twin))]).await;
    assert!(matches!(result, Err(StoreError::Io(_))), "nor over another of its batch");
    assert_eq!(storage.load(None).await.unwrap().items, [item(1)]);
}

pub(crate) async fn a_failed_batch_leaves_nothing<S: Shelf>(shelf: &S) {
    let mut storage = shelf.open();
    storage.load(None).await.unwrap();
    commit(&mut storage, vec![put(1)]).await.unwrap();
    shelf.fail_next(&mut storage).await;
    let large = Json::parse(&format!("{:?}", "x".repeat(200_000))).unwrap();
    let mut heavy = item(2);
    heavy.item.data = large;
    let ops = vec![StoreOp::Remove(item(1).item.id), StoreOp::Put(Box::new(heavy))];
    assert!(matches!(commit(&mut storage, ops).await, Err(StoreError::Io(_))));
    let mut again = shelf.open();
    assert_eq!(orders(&again.load(None).await.unwrap()), [1]);
    commit(&mut again, vec![put(3)]).await.unwrap();
    assert_eq!(orders(&again.load(None).await.unwrap()), [1, 3]);
}
