//! `demo`: the sample distribution, built twice.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use camino::Utf8Path;

use super::Context;
use super::build::{Built, Work};
use crate::args::{self, Demo};
use crate::config::{Config, absolute};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) async fn run(context: &Context, args: &Demo) -> Result<(), Failure> {
    let dir = absolute(&args.dir)?;
    let sample = absolute(&args.sample)?;
    let recipe = sample.join("recipe.toml");
    if !recipe.is_file() {
        return Err(Failure::new(Exit::NotFound, format!("{recipe}: not found"))
            .hint("run it where recipes/sample is, or say with --sample where that is"));
    }
    let (upstream, mirror) = (dir.join("upstream"), dir.join("mirror"));
    let again = upstream.exists();
    if !again
        && dir
            .read_dir_utf8()
            .is_ok_and(|mut entries| entries.next().is_some())
    {
        return Err(
            Failure::usage(format!("{dir} is not empty, and no earlier demo"))
                .hint("name a directory that is not there yet"),
        );
    }
    fs_err::create_dir_all(&dir).map_err(Failure::usage)?;
    if !again {
        upstream_script(&sample, &["create", upstream.as_str()])?;
    }
    let context = Context {
        config: Config::default(),
        global: args::Global {
            mirror: Some(mirror.clone()),
            config: None,
            ..context.global.clone()
        },
        now: context.now,
    };
    let build = args::Build {
        branch: "master".to_owned(),
        recipe: Some(recipe),
        date: None,
        force: true,
        dry_run: false,
        reason: "demo".to_owned(),
        set: vec![(
            "MANIFEST_URL".to_owned(),
            upstream.join("manifest").into_string(),
        )],
        force_alias: false,
    };
    let work = Work::new(&context, &build)?;
    succeeded(work.build().await?, &mirror)?;
    context.say("changing one package");
    upstream_script(&sample, &["change", upstream.as_str()])?;
    succeeded(work.build().await?, &mirror)?;
    output::write(&shown(&mirror)?)
}

/// Runs the script that makes and changes the sample's gits; what it says goes to standard error.
fn upstream_script(sample: &Utf8Path, args: &[&str]) -> Result<(), Failure> {
    let script = sample.join("upstream");
    let output = Command::new(&script)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(Exit::Bug, format!("{script}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::usage(format!(
        "{script} {}: {}",
        args.join(" "),
        said.trim()
    )))
}

fn succeeded(built: Built, mirror: &Utf8Path) -> Result<(), Failure> {
    match built {
        Built::Published {
            first_failing_phase: None,
            ref missing_deliverables,
            ..
        } if missing_deliverables.is_empty() => Ok(()),
        Built::Published {
            published,
            first_failing_phase,
            missing_deliverables,
            ..
        } => {
            let reason = first_failing_phase.unwrap_or_else(|| missing_deliverables.join(", "));
            Err(Failure::new(
                Exit::BuildFailed,
                format!("{} was published as failed: {reason}", published.id),
            )
            .hint(format!(
                "its logs are in {}/{}/outputs/logs",
                mirror, published.id
            )))
        }
        Built::Unchanged { build } => Err(Failure::new(
            Exit::Bug,
            format!("{build}: a forced build was skipped"),
        )),
    }
}

/// What came out, two levels deep, and how to look further.
fn shown(mirror: &Utf8Path) -> Result<String, Failure> {
    let io = |error: std::io::Error| Failure::new(Exit::Bug, error);
    let channel = mirror.join("master/centos");
    let mut text = format!("\nmirror {mirror}\n\nmaster/centos\n");
    for name in names(&channel).map_err(io)? {
        let path = channel.join(&name);
        if let Ok(target) = path.read_link_utf8() {
            let _ = writeln!(text, "  {name} -> {target}");
            continue;
        }
        let _ = writeln!(text, "  {name}/");
        for section in names(&path).map_err(io)? {
            let below = path.join(&section);
            if below.is_dir() {
                let _ = writeln!(
                    text,
                    "    {section}/  {}",
                    names(&below).map_err(io)?.join(" ")
                );
            } else {
                let _ = writeln!(text, "    {section}");
            }
        }
    }
    let _ = write!(
        text,
        "\nlook further:\n  \
         stx-builds list --mirror {mirror}\n  \
         stx-builds show master/centos/latest_build --mirror {mirror}\n  \
         stx-builds verify --mirror {mirror}\n  \
         (cd {channel}/latest_build && sha256sum -c --quiet SHA256SUMS)\n\
         serve it:\n  \
         nginx -p /tmp -e stderr -g 'daemon off; pid /tmp/stx-demo.pid; events {{}} http {{ access_log off; server {{ \
         listen 127.0.0.1:8080; root {mirror}; autoindex on; location /.stx {{ deny all; }} }} }}' -c /dev/null\n",
    );
    Ok(text)
}

fn names(dir: &Utf8Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in dir.read_dir_utf8()? {
        let name = entry?.file_name().to_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
