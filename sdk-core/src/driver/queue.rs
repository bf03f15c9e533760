//! The queue between the driver and one handle, and a value that handles watch.

use crate::fifo::Fifo;
use futures_util::task::AtomicWaker;
use std::{
    future::poll_fn,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code runs under these locks that could leave them half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the driver has for one handle. One reader.
#[derive(Debug)]
pub struct Queue<T> {
    inner: Mutex<Inner<T>>,
    reader: AtomicWaker,
}

#[derive(Debug)]
struct Inner<T> {
    items: Fifo<T>,
    closed: bool,
    dropped: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let inner = Inner { items: Fifo::new(), closed: false, dropped: 0 };
        Self { inner: Mutex::new(inner), reader: AtomicWaker::new() }
    }
}

impl<T> Queue<T> {
    /// Adds an item.
    pub fn push(&self, item: T) {
        self.change(|items| items.push_back(item));
    }

    /// Adds an item; past `bound`, the oldest goes and is counted.
    pub fn push_bounded(&self, item: T, bound: usize) {
        let mut inner = lock(&self.inner);
        inner.items.push_back(item);
        if inner.items.len() > bound {
            inner.items.pop_front();
            inner.dropped += 1;
        }
        drop(inner);
        self.reader.wake();
    }

    /// Changes the items under the lock.
    pub fn change(&self, change: impl FnOnce(&mut Fifo<T>)) {
        change(&mut lock(&self.inner).items);
        self.reader.wake();
    }

    /// Ends the queue: what is in it is still read.
    pub fn close(&self) {
        lock(&self.inner).closed = true;
        self.reader.wake();
    }

    /// How many items were dropped since this was last asked.
    pub fn take_dropped(&self) -> u64 {
        std::mem::take(&mut lock(&self.inner).dropped)
    }

    /// The number of items waiting.
    pub fn len(&self) -> usize {
        lock(&self.inner).items.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next item if there is one.
    pub fn try_next(&self) -> Option<T> {
        lock(&self.inner).items.pop_front()
    }

    /// Takes the next item, or waits for it; none after the end.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(item) = self.try_next() {
            return Poll::Ready(Some(item));
        }
        self.reader.register(cx.waker());
        let mut inner = lock(&self.inner);
        match inner.items.pop_front() {
            Some(item) => Poll::Ready(Some(item)),
            None if inner.closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// Waits for the next item; none after the end. Cancel-safe.
    pub async fn next(&self) -> Option<T> {
        poll_fn(|cx| self.poll_next(cx)).await
    }
}

/// A value many handles look at and wait for.
#[derive(Debug)]
pub struct Watch<T> {
    inner: Mutex<Watched<T>>,
}

#[derive(Debug)]
struct Watched<T> {
    value: T,
    closed: bool,
    waiting: Vec<Waker>,
}

impl<T: Clone> Watch<T> {
    /// Begins with a value.
    pub const fn new(value: T) -> Self {
        Self { inner: Mutex::new(Watched { value, closed: false, waiting: Vec::new() }) }
    }

    /// The value now.
    pub fn value(&self) -> T {
        lock(&self.inner).value.clone()
    }

    /// Changes the value and wakes all who wait.
    pub fn set(&self, change: impl FnOnce(&mut T)) {
        let mut inner = lock(&self.inner);
        change(&mut inner.value);
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Ends it: those who wait are answered none.
    pub fn close(&self) {
        lock(&self.inner).closed = true;
        self.set(|_| ());
    }

    /// Waits until `pick` finds something in the value; none after the end. Cancel-safe.
    pub async fn wait_for<R>(&self, mut pick: impl FnMut(&T) -> Option<R>) -> Option<R> {
        poll_fn(|cx| {
            let mut inner = lock(&self.inner);
            if let Some(found) = pick(&inner.value) {
                return Poll::Ready(Some(found));
            }
            if inner.closed {
                return Poll::Ready(None);
            }
            if !inner.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                inner.waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}
