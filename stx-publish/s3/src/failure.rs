//! A failed request: its error message, and a next step where the server's answer suggests one.

use std::error::Error as StdError;

use object_store::Error;

use super::parts::element;

/// The beginning of an error of the client that quotes the status and body of an answer.
const STATUS: &str = "Server returned non-2xx status code: ";

/// The error of the client for a redirect without an address: the bucket is in another region.
const REDIRECT: &str = "Received redirect without LOCATION";

/// A request that an object store refused or did not answer.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub struct RequestFailure {
    said: String,
    code: Option<String>,
    endpoint: String,
    cause: Error,
}

impl RequestFailure {
    /// `cause` without repetitions: errors of the client repeat their causes, and answers of servers are XML.
    pub(super) fn new(endpoint: &str, cause: Error) -> Self {
        let mut deepest: &dyn StdError = &cause;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        let text = deepest.to_string();
        // An answer to `HEAD` has no body, and the answer of a proxy does not come from the store.
        let status = text
            .strip_prefix(STATUS)
            .and_then(|it| it.split(": ").next());
        let elsewhere = text.starts_with(REDIRECT).then_some("PermanentRedirect");
        let code = element(&text, "Code").or(status).or(elsewhere);
        let said = match (code, element(&text, "Message")) {
            (Some(code), Some(message)) => format!("the server says {code}: {message}"),
            (Some(code), None) => format!("the server says {code}"),
            (None, _) => format!("{endpoint}: {text}"),
        };
        let code = code.map(ToOwned::to_owned);
        Self {
            said,
            code,
            endpoint: endpoint.to_owned(),
            cause,
        }
    }

    /// The server that was asked.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The error of the client, with the errors of connections below it.
    pub fn cause(&self) -> &(dyn StdError + 'static) {
        &self.cause
    }

    /// True if the server does not implement the request.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(
            self.code.as_deref(),
            Some("NotImplemented" | "501 Not Implemented")
        )
    }

    /// True if the bucket does not exist.
    pub(super) fn is_missing_bucket(&self) -> bool {
        self.code.as_deref() == Some("NoSuchBucket")
    }

    /// The next step, if the server's answer suggests one.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self.code.as_deref()? {
            "AccessDenied" | "AllAccessDisabled" | "403 Forbidden" => {
                "these credentials do not permit this: extend their policy (docs/buckets.md), or use other credentials"
            }
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidToken"
            | "ExpiredToken"
            | "InvalidSecurity"
            | "NotSignedUp"
            | "401 Unauthorized" => {
                "the server rejects these credentials: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, \
                 and that they have not expired"
            }
            "RequestTimeTooSkewed" | "RequestExpired" => {
                "the clocks of this machine and of the server are too far apart: correct the one that is wrong"
            }
            "PermanentRedirect" | "AuthorizationHeaderMalformed" => {
                "is the bucket in another region? `region` in [object-store], or AWS_REGION, names it"
            }
            "QuotaExceeded" => {
                "the quota is used up: delete what expired with `prune`, or have the quota raised"
            }
            "SlowDown"
            | "ServiceUnavailable"
            | "InternalError"
            | "TooManyRequests"
            | "503 Service Unavailable"
            | "429 Too Many Requests"
            | "500 Internal Server Error" => {
                "the server is overloaded or out of order: run the same command again later"
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str) -> RequestFailure {
        let cause = Error::Generic {
            store: "S3",
            source: text.into(),
        };
        RequestFailure::new("http://127.0.0.1:9", cause)
    }

    #[test]
    fn an_error_answer_is_described_with_a_next_step() {
        for (code, next) in [
            ("AccessDenied", "extend their policy"),
            ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
            ("ExpiredToken", "AWS_SESSION_TOKEN"),
            ("RequestTimeTooSkewed", "clocks"),
            ("PermanentRedirect", "AWS_REGION"),
            ("QuotaExceeded", "quota"),
            ("SlowDown", "later"),
        ] {
            let text = format!(
                "{STATUS}403 Forbidden: <Error><Code>{code}</Code><Message>No.</Message></Error>"
            );
            let failure = failure(&text);
            assert_eq!(failure.to_string(), format!("the server says {code}: No."));
            let hint = failure.hint().expect(code);
            assert!(hint.contains(next), "{code}: {hint}");
        }
        // `HEAD` has no body; a proxy answers with a page of its own.
        for body in ["", "<html><body>Blocked</body></html>"] {
            let failure = failure(&format!("{STATUS}403 Forbidden: {body}"));
            assert_eq!(failure.to_string(), "the server says 403 Forbidden");
            assert!(failure.hint().is_some(), "{body}");
        }
    }

    #[test]
    fn the_error_of_a_silent_server_names_the_server() {
        let failure = failure("Connection refused");
        let said = "http://127.0.0.1:9: Connection refused";
        assert_eq!((failure.to_string().as_str(), failure.hint()), (said, None));
    }
}
