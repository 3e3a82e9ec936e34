//! A store outside the crate: a mirror in a plain map from keys to bytes. It moves bytes, and leaves decisions to `store::rules`.

use stx_publish::conformance;
use stx_publish::faulty::Fault;
use stx_publish::{StoreError, sweep};

mod read;
mod root;
mod rows;
mod staged;
mod store;
mod writer;

use store::KeyValue;

type Result<T> = std::result::Result<T, StoreError>;

#[tokio::test]
async fn a_key_value_store_conforms() {
    conformance::run(&KeyValue::default()).await;
    conformance::sealed(&KeyValue::sealed()).await;
}

#[tokio::test]
async fn a_key_value_store_survives_a_fault_at_every_call() {
    assert!(sweep::every_call(KeyValue::sealed).await > 20);
    let fresh = async || {
        let store = KeyValue::default();
        sweep::retention::prepared(&store).await;
        store
    };
    assert!(sweep::retention::every_call(&Fault::ALL, fresh).await > 30);
}
