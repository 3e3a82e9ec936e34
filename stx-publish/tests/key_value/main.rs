//! A store outside the crate: a mirror in a table, by `rusqlite`, with kernel locks on files beside it.

use stx_publish::conformance::{self, test_seal};
use stx_publish::faulty::Fault;
use stx_publish::store::rows::RowStore;
use stx_publish::{MirrorRead as _, Scope, sweep};

mod sqlite;

use sqlite::Sqlite;

type Mirror = RowStore<Sqlite>;

fn plain() -> Mirror {
    RowStore::over(Sqlite::new()).with_rpm_names()
}

fn sealed() -> Mirror {
    plain().with_seal(test_seal())
}

#[tokio::test]
async fn a_key_value_store_conforms() {
    conformance::run(&plain()).await;
    conformance::sealed(&sealed()).await;
    conformance::run(&plain().with_holds()).await;
}

#[tokio::test]
async fn a_key_value_store_survives_a_fault_at_every_call() {
    assert!(sweep::every_call(sealed).await > 20);
    let fresh = async || {
        let store = plain();
        sweep::retention::prepared(&store).await;
        store
    };
    assert!(sweep::retention::every_call(&Fault::ALL, fresh).await > 30);
}

#[tokio::test]
async fn a_mirror_is_the_same_when_it_is_opened_again() {
    let store = plain();
    sweep::retention::prepared(&store).await;
    let again = RowStore::over(store.rows().again());
    let [one, other] = [&store, &again].map(|store| store.catalog(&Scope::All));
    let (one, other) = (one.await.expect("read"), other.await.expect("read"));
    assert!(!one.channels.is_empty());
    assert_eq!(one, other);
}

#[tokio::test]
async fn a_database_that_fails_is_named() {
    let store = plain();
    store.rows().break_it();
    let error = store.catalog(&Scope::All).await.expect_err("no table");
    let text = stx_publish::error::chain(&error);
    assert!(
        text.starts_with("list the rows alias: no such table"),
        "{text}"
    );
}
