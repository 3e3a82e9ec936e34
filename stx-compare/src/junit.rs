//! Differences as JUnit's XML, a test case a package, for CI systems.

use quick_junit::{NonSuccessKind, Report as JUnit, TestCase, TestCaseStatus, TestSuite};

use crate::report::{Comparison, Outcome, Report};

/// The report as JUnit's XML: a suite a place, a case a package. Packages whose files are the same are no cases.
///
/// Characters that XML has no place for are left out.
///
/// # Errors
/// The errors of the XML writer.
pub fn junit(report: &Report) -> Result<String, quick_junit::SerializeError> {
    let mut document = JUnit::new("stx-builds compare");
    let mut places: Vec<&str> = report
        .packages
        .iter()
        .map(|package| package.key.place.as_str())
        .collect();
    places.sort_unstable();
    places.dedup();
    for place in places {
        let mut suite = TestSuite::new(if place.is_empty() { "packages" } else { place });
        let packages = report.packages.iter();
        suite.add_test_cases(
            packages
                .filter(|package| package.key.place == place)
                .map(case),
        );
        document.add_test_suite(suite);
    }
    document.to_string()
}

fn case(package: &Comparison) -> TestCase {
    let failed = |kind, message: String| {
        let mut status = TestCaseStatus::non_success(kind);
        status.set_message(message);
        status.set_description(package.to_string());
        status
    };
    let status = match &package.outcome {
        Outcome::Same { .. } => TestCaseStatus::success(),
        Outcome::Different { changes, noise, .. } => failed(
            NonSuccessKind::Failure,
            match changes.len() {
                0 => format!("{} differences that are noise", noise.len()),
                1 => "1 difference".to_owned(),
                count => format!("{count} differences"),
            },
        ),
        Outcome::Added => failed(NonSuccessKind::Failure, "added".to_owned()),
        Outcome::Removed => failed(NonSuccessKind::Failure, "removed".to_owned()),
        Outcome::Failed { reason } => failed(NonSuccessKind::Error, reason.clone()),
    };
    let mut case = TestCase::new(format!("{}.{}", package.key.name, package.key.arch), status);
    case.set_classname(package.key.place.replace('/', "."));
    case
}
