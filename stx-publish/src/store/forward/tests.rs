use super::*;
use crate::conformance::wrapper;

#[tokio::test]
async fn pointers_to_a_store_forward_every_call() {
    wrapper(Arc::new).await;
    wrapper(Box::new).await;
    wrapper(|inner| Box::new(Arc::new(inner)) as Box<dyn MirrorStore>).await;
}
