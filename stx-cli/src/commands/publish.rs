//! `publish`: a finished tree becomes a build of the mirror.

use chrono::{DateTime, Utc};
use stx_layout::{BuildId, BuildRecord, Catalog};
use stx_publish::{
    Incoming, MirrorStore, PlanError, PrepareError, PublishError, PublishReport, PublishRequest,
    StoreError, plan, prepare, scan,
};

use super::{Context, exit_of, open_or_create};
use crate::args::Publish;
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) async fn run(context: &Context, args: &Publish) -> Result<(), Failure> {
    let incoming = scan(&args.dir).map_err(|error| {
        Failure::new(Exit::Mirror, error)
            .hint("nothing was published; mend the tree and run the same command again")
    })?;
    let mut record = BuildRecord::new(BuildId::new(args.channel.clone(), args.date), args.result);
    record.trigger = Some("publish".to_owned());
    let request = request(context.now, record, incoming, args.force_alias);
    if args.dry_run {
        let plan = match context.open() {
            Ok(store) => prepare(&store, request).await.map_err(unprepared)?,
            Err(failure) if failure.exit == Exit::NotFound => {
                plan(&Catalog::default(), request).map_err(unplanned)?
            }
            Err(failure) => return Err(failure),
        };
        return output::print(context.format(), &plan, || plan.to_string());
    }
    let store = open_or_create(&context.mirror()?)?;
    let report = publish(&store, request).await?;
    output::print(context.format(), &report, || report.to_string())
}

/// A request for `latest_build`.
pub(crate) fn request(
    now: DateTime<Utc>,
    record: BuildRecord,
    incoming: Incoming,
    force_alias: bool,
) -> PublishRequest {
    let mut request = PublishRequest::new(record, incoming, now);
    request.force_alias = force_alias;
    request
}

/// Plans and publishes; once more if another publisher came between.
pub(crate) async fn publish(
    store: &dyn MirrorStore,
    request: PublishRequest,
) -> Result<PublishReport, Failure> {
    let mut plan = prepare(store, request.clone()).await.map_err(unprepared)?;
    loop {
        match stx_publish::publish(store, &plan).await {
            Err(PublishError::Outdated { .. }) => {
                let again = prepare(store, request.clone()).await.map_err(unprepared)?;
                if again == plan {
                    return Err(Failure::new(
                        Exit::Mirror,
                        format!(
                            "{}: the mirror cannot be brought to agree with the plan",
                            plan.id
                        ),
                    ));
                }
                plan = again;
            }
            result => return result.map_err(unpublished),
        }
    }
}

fn unprepared(error: PrepareError) -> Failure {
    match error {
        PrepareError::Store { ref source, .. } => Failure::new(exit_of(source), error),
        PrepareError::Scan { .. } => Failure::new(Exit::Mirror, error),
        PrepareError::Plan(error) => unplanned(error),
    }
}

fn unplanned(error: PlanError) -> Failure {
    let hint = match &error {
        PlanError::Refused { .. } => {
            "nothing was published; mend the tree and run the same command again"
        }
        PlanError::Different { .. } => "builds never change; publish under another date",
        PlanError::Incomparable { .. } => {
            "`stx-builds verify` says what is wrong with the published build"
        }
        PlanError::Ahead { .. } => "is the date, or this machine's clock, wrong?",
    };
    Failure::new(Exit::Mirror, error).hint(hint)
}

fn unpublished(error: PublishError) -> Failure {
    match &error {
        PublishError::Busy { .. } => {
            Failure::new(Exit::Busy, error).hint("run the same command again when it is done")
        }
        PublishError::Metadata {
            source: StoreError::MissingTool { .. },
            ..
        } => Failure::new(Exit::Usage, error)
            .hint("nothing was published; install it and run the same command again"),
        PublishError::Outdated { .. }
        | PublishError::Metadata { .. }
        | PublishError::NotPublished { .. } => Failure::new(Exit::Mirror, error)
            .hint("nothing of the build is visible; the same command again goes on"),
        PublishError::NotAliased { .. } => {
            Failure::new(Exit::Mirror, error).hint("the same command again moves the alias")
        }
    }
}
