//! Tasks on other threads, and what comes of one that does not end as it should.

use std::io;

use tokio::task::JoinError;

/// A task that panicked or was not run, as an error: whoever waits for it cleans up and fails, like after any other.
pub(crate) fn unfinished(error: JoinError) -> io::Error {
    match error.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            let text = text.unwrap_or("for a reason that is not text");
            io::Error::other(format!("a bug stopped it: {text}"))
        }
        Err(error) => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_of_whoever_waits() {
        let panics: [fn(); 2] = [|| panic!("no more"), || panic!("no {}", "more")];
        for panics in panics {
            let error = tokio::task::spawn_blocking(panics).await;
            let error = unfinished(error.expect_err("it panics"));
            assert_eq!(error.to_string(), "a bug stopped it: no more");
        }
    }
}
