//! The errors of tasks on other threads that do not end normally.

use std::io;

use tokio::task::JoinError;

/// The error for a task that panicked or did not run: its caller cleans up and fails as after any other error.
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
    async fn a_panic_of_a_task_is_an_error_of_its_caller() {
        let panics: [fn(); 2] = [|| panic!("no more"), || panic!("no {}", "more")];
        for panics in panics {
            let error = tokio::task::spawn_blocking(panics).await;
            let error = unfinished(error.expect_err("it panics"));
            assert_eq!(error.to_string(), "a bug stopped it: no more");
        }
    }
}
