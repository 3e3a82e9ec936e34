//! Writes differences as JUnit's XML for CI systems, with a test case for each package.

use quick_junit::{NonSuccessKind, Report as JUnit, TestCase, TestCaseStatus, TestSuite};

use crate::report::{Comparison, Outcome, Report, Reports};

/// The reports as JUnit's XML: a suite for each place (for each channel and place, if there are several channels), and a case
/// for each package. Packages with identical files have no case.
///
/// Characters that XML cannot represent are left out.
///
/// # Errors
/// The errors of the XML writer.
pub fn junit(reports: &Reports) -> Result<String, quick_junit::SerializeError> {
    let mut document = JUnit::new("stx-builds compare");
    let is_single = reports.single().is_some();
    for report in &reports.reports {
        let channel = report.to.as_ref().map(|to| &to.channel);
        let channel = channel.filter(|_| !is_single).map(ToString::to_string);
        add_suites(&mut document, report, channel.as_deref());
    }
    document.to_string()
}

fn add_suites(document: &mut JUnit, report: &Report, channel: Option<&str>) {
    let mut places: Vec<&str> = report
        .packages
        .iter()
        .map(|package| package.key.place.as_str())
        .collect();
    places.sort_unstable();
    places.dedup();
    for place in places {
        let name = if place.is_empty() { "packages" } else { place };
        let mut suite = TestSuite::new(match channel {
            Some(channel) => format!("{channel}/{name}"),
            None => name.to_owned(),
        });
        let packages = report.packages.iter();
        suite.add_test_cases(
            packages
                .filter(|package| package.key.place == place)
                .map(case),
        );
        document.add_test_suite(suite);
    }
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
        Outcome::Failed { reason, .. } => failed(NonSuccessKind::Error, reason.clone()),
    };
    let mut case = TestCase::new(format!("{}.{}", package.key.name, package.key.arch), status);
    case.set_classname(package.key.place.replace('/', "."));
    case
}
