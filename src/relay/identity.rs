//! As which replica the proxy shows up at a source.
//!
//! A source ends an older stream of the same server uuid (MySQL 5.6 and later) or of the same server id (MySQL 5.5,
//! MariaDB). So every stream that is open at a time has an id of its own out of the configured block, and a uuid that is
//! the same when the same replica comes back, also through another proxy with the same configuration: its old stream,
//! if the source has not noticed yet, ends then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use uuid::Uuid;

use crate::source::Identity;

use super::following::Followings;

/// How long a replica waits for an id when all are in use. Replicas that have caught up give theirs back, so that a thousand
/// that come at once all get in. Less than the time after which replicas take their source for dead (60 s), since they
/// hear nothing meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Namespace of the uuids; any fixed value will do.
const NAMESPACE: Uuid = Uuid::from_u128(0x7e1c_5a0e_6f3d_4b0c_9a57_3d2f_81c6_04b9);

/// The block of server ids of one proxy.
#[derive(Debug)]
pub struct Identities {
    block: Range<u32>,
    /// As many as there are ids; who waits gets one in the order of coming.
    free: Arc<Semaphore>,
    in_use: Mutex<InUse>,
    followings: Arc<Followings>,
    /// It was logged that somebody else uses ids of the block.
    told: AtomicBool,
}

#[derive(Debug, Default)]
struct InUse {
    server_ids: BTreeSet<u32>,
    /// The ids under which another stream came to a source, each with the number of that among all: somebody else has them too.
    contested: BTreeMap<u32, u64>,
    contests: u64,
    /// How many streams each replica has, by their ordinal: several channels of one server are several streams.
    ordinals: HashMap<String, BTreeSet<u32>>,
}

impl Identities {
    /// `count` ids from `first` on.
    pub fn new(first: u32, count: u32) -> Arc<Self> {
        let block = first..first.saturating_add(count);
        let free = Arc::new(Semaphore::new(block.len()));
        Arc::new(Self {
            block,
            free,
            in_use: Mutex::default(),
            followings: Arc::default(),
            told: AtomicBool::default(),
        })
    }

    /// Who follows whom by GTID through the routes that share the block.
    pub(super) fn followings(&self) -> &Arc<Followings> {
        &self.followings
    }

    /// Whether the next stream has to wait for an id.
    pub(super) fn is_exhausted(&self) -> bool {
        self.free.available_permits() == 0
    }

    /// The ids in the order in which a stream takes them. It depends on the stream, so that replicas of two proxies with the same
    /// configuration seldom want the same id, and one that changes from the first to the second gets its own again.
    fn preferred(&self, uuid: Uuid) -> impl Iterator<Item = u32> {
        let (block, count) = (self.block.clone(), self.block.len() as u128);
        let first = block.start + uuid.as_u128().checked_rem(count).unwrap_or(0) as u32;
        (first..block.end).chain(block.start..first)
    }

    /// An identity for one stream of the replica that `replica` names; `None` when all ids are in use for too long.
    pub async fn take(self: &Arc<Self>, replica: String) -> Option<Lease> {
        let permit = timeout(LONGEST_WAIT, Arc::clone(&self.free).acquire_owned()).await.ok()?.ok()?;
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let ordinals = in_use.ordinals.get(&replica);
        let is_free = |ordinal: &u32| ordinals.is_none_or(|ordinals| !ordinals.contains(ordinal));
        let ordinal = (0..).find(is_free).unwrap_or(u32::MAX);
        let name = format!("{} {replica} {ordinal}", self.block.start);
        let uuid = Uuid::new_v5(&NAMESPACE, name.as_bytes());
        let free = || self.preferred(uuid).filter(|id| !in_use.server_ids.contains(id));
        // Where all that are free are contested, the one that has been so for longest.
        let server_id = free()
            .find(|id| !in_use.contested.contains_key(id))
            .or_else(|| free().min_by_key(|id| in_use.contested.get(id)))?;
        in_use.server_ids.insert(server_id);
        in_use.ordinals.entry(replica.clone()).or_default().insert(ordinal);
        Some(Lease { identities: Arc::clone(self), server_id, uuid, replica, ordinal, _permit: permit })
    }
}

/// An identity in use. Dropping it gives the id back.
#[derive(Debug)]
pub struct Lease {
    identities: Arc<Identities>,
    server_id: u32,
    uuid: Uuid,
    replica: String,
    ordinal: u32,
    /// Given back after the id is, because it is dropped after it.
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// What the source is told.
    pub fn identity(&self) -> Identity {
        Identity { server_id: self.server_id, uuid: self.uuid, host: "replproxy".to_owned(), port: 0 }
    }

    /// Another stream came to the source under this id: streams that are opened from now on take others, as long as there are any.
    pub(super) fn contested(&self) {
        let mut in_use = self.identities.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.contests += 1;
        let number = in_use.contests;
        in_use.contested.insert(self.server_id, number);
    }

    /// Whether nobody has been told yet that somebody else uses ids of the block. Once only.
    pub(super) fn is_news(&self) -> bool {
        !self.identities.told.swap(true, Ordering::Relaxed)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut in_use = self.identities.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.server_ids.remove(&self.server_id);
        if let Some(ordinals) = in_use.ordinals.get_mut(&self.replica) {
            ordinals.remove(&self.ordinal);
            if ordinals.is_empty() {
                in_use.ordinals.remove(&self.replica);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn streams_that_are_open_at_once_differ_and_a_replica_that_comes_back_is_the_same() {
        let identities = Identities::new(100, 3);
        let first = identities.take("shop a".to_owned()).await.expect("free").identity();
        let again = identities.take("shop a".to_owned()).await.expect("free");
        assert_eq!(first.uuid, again.identity().uuid);
        let channel = identities.take("shop a".to_owned()).await.expect("free");
        let other = identities.take("shop b".to_owned()).await.expect("free");
        assert!(identities.take("shop c".to_owned()).await.is_none());
        let ids = [&again, &channel, &other].map(|lease| lease.identity());
        assert!(ids[0].uuid != ids[1].uuid && ids[1].uuid != ids[2].uuid && ids[0].uuid != ids[2].uuid);
        assert!(ids[0].server_id != ids[1].server_id && ids[1].server_id != ids[2].server_id);
        let elsewhere = Identities::new(100, 3).take("shop a".to_owned()).await.expect("free").identity();
        assert_eq!(elsewhere, first);
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_of_two_proxies_with_the_same_block_seldom_get_the_same_id() {
        let (one, other) = (Identities::new(100, 64), Identities::new(100, 64));
        let mut same = 0;
        for number in 0..64 {
            let at_one = one.take(format!("shop {number}")).await.expect("free").identity();
            let at_other = other.take(format!("shop {}", number + 1)).await.expect("free").identity();
            same += usize::from(at_one.server_id == at_other.server_id);
        }
        assert!(same < 8, "{same} of 64");
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_that_somebody_else_has_too_is_the_last_that_is_taken_again() {
        let identities = Identities::new(100, 3);
        let mut ids = Vec::new();
        for number in 0..4 {
            let lease = identities.take("shop a".to_owned()).await.expect("free");
            ids.push(lease.identity().server_id);
            lease.contested();
            assert_eq!(lease.is_news(), number == 0);
        }
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
        assert_eq!(ids[3], ids[0], "contested for longest");
        let _other = identities.take("shop b".to_owned()).await.expect("free");
        let last = identities.take("shop a".to_owned()).await.expect("free").identity().server_id;
        assert_eq!(last, ids[2], "that one is in use");
    }

    #[tokio::test(start_paused = true)]
    async fn two_proxies_with_the_same_block_come_to_rest_under_different_ids() {
        let both = [Identities::new(100, 64), Identities::new(100, 64)];
        let (mut streams, mut waiting) = (HashMap::new(), Vec::new());
        for number in 0..24 {
            waiting.push((number % 2, format!("shop {number}")));
        }
        let mut contests = 0;
        while let Some((proxy, replica)) = waiting.pop() {
            let lease = both[proxy].take(replica.clone()).await.expect("free");
            // The source ends the older stream, which is asked for again.
            let id = lease.identity().server_id;
            if let Some((other, replica, before)) = streams.insert(id, (proxy, replica, lease)) {
                let before: Lease = before;
                before.contested();
                drop(before);
                contests += 1;
                waiting.push((other, replica));
            }
            assert!(contests < 128, "they go on and on");
        }
        assert_eq!(streams.len(), 24);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_when_all_ids_are_in_use_gets_the_next_that_is_given_back() {
        let identities = Identities::new(100, 1);
        let first = identities.take("shop a".to_owned()).await.expect("free");
        let (second, ()) = tokio::join!(identities.take("shop b".to_owned()), async {
            tokio::time::sleep(LONGEST_WAIT / 2).await;
            drop(first);
        });
        assert_eq!(second.expect("given back").identity().server_id, 100);
    }
}
