use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;

use super::super::tests::TestClock;
use super::*;

fn terms(clock: &TestClock, objects: &Objects) -> Terms {
    Terms {
        clock: clock.clock(),
        lasts: super::super::LEASE,
        keepers: Keepers::new(objects.clone()),
    }
}

fn bucket() -> Objects {
    Objects::new(Arc::new(InMemory::new()), Path::from("mirror"))
}

async fn take_lock(objects: &Objects, clock: &TestClock) -> Result<Option<Lease>, StoreError> {
    let terms = terms(clock, objects);
    let now = (terms.clock)();
    let found = look(objects, "lock").await?;
    let found = ("lock".to_owned(), found, now);
    let taken = take(objects, found, terms, async { Ok(()) }).await?;
    Ok(taken.map(|(lease, _)| lease))
}

async fn taken(objects: &Objects, clock: &TestClock) -> Option<Lease> {
    take_lock(objects, clock).await.expect("asked")
}

#[tokio::test]
async fn a_lease_is_released_when_it_is_dropped() {
    let (objects, clock) = (bucket(), TestClock::default());
    for _ in 0..3 {
        let lease = taken(&objects, &clock).await.expect("free");
        assert!(taken(&objects, &clock).await.is_none(), "one at a time");
        let is_held = async || {
            is_held(&objects, "lock", &clock.clock())
                .await
                .expect("asked")
        };
        assert!(is_held().await);
        drop(lease);
        assert!(!is_held().await);
    }
    let left = objects.list("lock").await.expect("listed");
    assert_eq!(left.len(), 1, "older generations go: {left:?}");
}

#[tokio::test]
async fn temporary_objects_are_deleted_when_a_lease_is_released() {
    let (objects, clock) = (bucket(), TestClock::default());
    objects.put("litter", "", Keep::Not).await.expect("written");
    let lease = taken(&objects, &clock).await.expect("free");
    lease.delete_at_end(["litter".to_owned()]);
    let is_there = async || objects.head("litter").await.expect("asked").is_some();
    assert!(is_there().await, "the lease is held");
    drop(lease);
    assert!(!is_there().await);
}

#[tokio::test]
async fn a_late_holder_detects_that_another_has_the_lock() {
    let (objects, clock) = (bucket(), TestClock::default());
    // The holder lives, but its keeper has no time to renew the lease, as after a suspension of the machine.
    let late = taken(&objects, &clock).await.expect("free");
    clock.pass(TimeDelta::from_std(super::super::LEASE).expect("a minute"));
    assert!(
        taken(&objects, &clock).await.is_none(),
        "clocks may be apart"
    );
    clock.outlive();
    let next = taken(&objects, &clock).await.expect("it ended");
    next.check(&objects).await.expect("its own");
    let refused = late.check(&objects).await;
    assert!(
        matches!(refused, Err(StoreError::Refused { .. })),
        "{refused:?}"
    );
    // Releasing a lease that is lost does not harm its new holder.
    drop(late);
    next.check(&objects).await.expect("its own");
    assert!(taken(&objects, &clock).await.is_none());
}

#[tokio::test]
async fn an_expired_lease_that_was_not_taken_is_renewed() {
    let (objects, clock) = (bucket(), TestClock::default());
    let lease = taken(&objects, &clock).await.expect("free");
    clock.outlive();
    lease.check(&objects).await.expect("nobody took it");
    assert!(taken(&objects, &clock).await.is_none(), "it was renewed");
}

/// The answer arrives when little of the lease is left, so the lease is renewed and the server asked again.
#[tokio::test]
async fn a_late_answer_is_not_trusted() {
    let (objects, clock) = (bucket(), TestClock::default());
    let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let now = {
        let (clock, calls) = (clock.clone(), Arc::clone(&calls));
        move || {
            // Between the question of the check and its answer.
            if calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1 {
                clock.pass(TimeDelta::seconds(50));
            }
            clock.clock()()
        }
    };
    let terms = Terms {
        clock: Arc::new(now),
        ..terms(&clock, &objects)
    };
    let found = ("lock".to_owned(), None, (terms.clock)());
    let taken = take(&objects, found, terms, async { Ok(()) }).await;
    let (lease, _) = taken.expect("asked").expect("free");
    calls.store(0, std::sync::atomic::Ordering::SeqCst);
    lease.check(&objects).await.expect("nobody took it");
    assert!(lease.held.until() >= clock.clock()() + TimeDelta::seconds(30));
}

#[tokio::test]
async fn an_unreadable_lease_does_not_free_the_lock() {
    let (objects, clock) = (bucket(), TestClock::default());
    let name = keys::generation("lock", 7);
    objects.put(&name, "?", Keep::Not).await.expect("written");
    let taken = take_lock(&objects, &clock).await;
    assert!(
        matches!(taken, Err(StoreError::Damaged { .. })),
        "{taken:?}"
    );
}
