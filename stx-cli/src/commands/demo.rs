//! `demo`: the sample distribution, built twice: as RPMs, as Debian packages, or both.

use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use stx_builds::Options;
use stx_builds::build::{BuildOrder, Built};
use stx_builds::options::absolute;
use stx_layout::{BuildOutcome, Channel};
use stx_pipeline::Cancel;

use super::build::watched;
use super::{Context, published_as_failed};
use crate::args::{self, Demo, DemoDistro};
use crate::exit::{Exit, Failure};
use crate::output;

/// The configuration of nginx for a mirror, as `docs/serving.md` has it.
const SERVER: &str = include_str!("demo/nginx-server.conf");

pub(crate) async fn run(context: &Context, args: &Demo) -> Result<(), Failure> {
    if !context.global.mirror.is_empty() || args.dir.as_str().contains("://") {
        return Err(
            Failure::usage("`demo` makes its mirror in a new directory, and nowhere else").hint(
                "name the directory, without `--mirror`; `stx-builds copy DIR/mirror s3://BUCKET/PREFIX` copies its builds to a bucket",
            ),
        );
    }
    let dir = absolute(&args.dir)?;
    let sample = absolute(&args.sample)?;
    let recipes = recipes(args.distro, &sample);
    if let Some(recipe) = recipes.iter().find(|recipe| !recipe.is_file()) {
        return Err(Failure::new(Exit::NotFound, format!("{recipe}: not found"))
            .hint("run it in the directory of recipes/sample, or name that with --sample"));
    }
    let (upstream, mirror) = (dir.join("upstream"), dir.join("mirror"));
    let again = upstream.exists();
    if !again
        && dir
            .read_dir_utf8()
            .is_ok_and(|mut entries| entries.next().is_some())
    {
        return Err(
            Failure::usage(format!("{dir} is neither empty nor an earlier demo"))
                .hint("name a new directory"),
        );
    }
    let global = args::Global {
        mirror: vec![mirror.clone()],
        config: None,
        ..context.global.clone()
    };
    let context = Context::new(global, Options::default());
    let missing: Vec<_> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    fs_err::create_dir_all(&dir).map_err(Failure::usage)?;
    for made in missing {
        // Regardless of the umask: web servers read the mirror in it.
        let mode = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(made, mode).map_err(Failure::usage)?;
    }
    if fs_err::metadata(&dir).map_err(Failure::usage)?.mode() & 0o1 == 0 {
        context.say(&format!(
            "note: {dir} is closed to other users; `chmod 0755 {dir}` opens it to a web server of another user"
        ));
    }
    if !again {
        upstream_script(&sample, &["create", upstream.as_str()])?;
    }
    let manifest = upstream.join("manifest").into_string();
    // Phases see only the environment of the recipe, so the set-up's directory of downloads has to be passed on.
    let cache = cache().map(|cache| ("STX_BUILDS_CACHE".to_owned(), cache));
    let set = [("MANIFEST_URL".to_owned(), manifest)];
    let mut orders = Vec::new();
    for recipe in &recipes {
        orders.push(BuildOrder {
            reason: "demo".to_owned(),
            set: set.iter().cloned().chain(cache.clone()).collect(),
            force: true,
            ..BuildOrder::new("master", recipe)?
        });
    }
    let site = &context.site;
    let cancel = Cancel::new();
    let mut channels = Vec::new();
    watched(&context, None, &cancel, async |watch| {
        for order in &orders {
            channels.push(succeeded(site.build(order, watch).await?, &mirror)?);
        }
        context.say("changing one package");
        upstream_script(&sample, &["change", upstream.as_str()])?;
        for order in &orders {
            succeeded(site.build(order, watch).await?, &mirror)?;
        }
        Ok(())
    })
    .await?;
    fs_err::create_dir_all(dir.join("nginx")).map_err(Failure::usage)?;
    fs_err::write(dir.join("nginx.conf"), nginx_conf(&dir)?).map_err(Failure::usage)?;
    output::write(&shown(&dir, &mirror, &channels)?)
}

/// The recipes of a demo, in the order in which they are built.
fn recipes(distro: DemoDistro, sample: &Utf8Path) -> Vec<Utf8PathBuf> {
    let centos = sample.join("recipe.toml");
    let debian = Utf8PathBuf::from(format!("{sample}-debian/recipe.toml"));
    match distro {
        DemoDistro::Centos => vec![centos],
        DemoDistro::Debian => vec![debian],
        DemoDistro::All => vec![centos, debian],
    }
}

/// The directory of downloads that the caller's environment names, as `scripts/setup.sh` reads it.
fn cache() -> Option<String> {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    set("STX_BUILDS_CACHE").or_else(|| Some(format!("{}/stx-builds", set("XDG_CACHE_HOME")?)))
}

/// Runs the script that creates and changes the sample's git repositories; its output is redirected to standard error.
#[expect(
    clippy::disallowed_methods,
    reason = "the script of the sample is not a phase of a build"
)]
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

/// The channel of a successful build.
fn succeeded(built: Built, mirror: &Utf8Path) -> Result<Channel, Failure> {
    match built {
        Built::Published {
            result: BuildOutcome::Success,
            published,
            ..
        } => Ok(published.report.id.channel),
        Built::Published {
            result: BuildOutcome::Fail,
            published,
            reason,
            ..
        } => {
            let id = &published.report.id;
            Err(Failure::new(
                Exit::BuildFailed,
                format!("{id} was {}", published_as_failed(reason.as_deref())),
            )
            .hint(format!("its logs are in {mirror}/{id}/outputs/logs")))
        }
        Built::Unchanged { build, .. } => Err(Failure::new(
            Exit::Bug,
            format!("{build}: a forced build was skipped"),
        )),
    }
}

/// The directories of the created mirror, two levels deep, with commands to explore it.
fn shown(dir: &Utf8Path, mirror: &Utf8Path, channels: &[Channel]) -> Result<String, Failure> {
    let mut text = format!("\nmirror {mirror}\n");
    for channel in channels {
        show_channel(&mut text, mirror, channel).map_err(|error| Failure::new(Exit::Bug, error))?;
    }
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "stx-builds".to_owned());
    let _ = write!(
        text,
        "\nlook further:\n  {program} list --mirror {mirror}\n"
    );
    for channel in channels {
        let _ = write!(
            text,
            "  {program} show {channel}/latest_build --mirror {mirror}\n  \
             (cd {mirror}/{channel}/latest_build && sha256sum -c --quiet SHA256SUMS)\n",
        );
    }
    let _ = write!(
        text,
        "  {program} verify --mirror {mirror}\n\
         serve it on http://127.0.0.1:8080/:\n  \
         nginx -p {dir}/ -e stderr -c nginx.conf\n",
    );
    for channel in channels
        .iter()
        .filter(|channel| channel.distro.as_str() == "debian")
    {
        let _ = write!(
            text,
            "and install from there with apt:\n  \
             deb [trusted=yes] http://127.0.0.1:8080/{channel}/latest_build/outputs/std/packages /\n",
        );
    }
    Ok(text)
}

/// The builds of a channel and their contents.
fn show_channel(text: &mut String, mirror: &Utf8Path, channel: &Channel) -> std::io::Result<()> {
    let dir = mirror.join(channel.to_string());
    let _ = writeln!(text, "\n{channel}");
    for name in names(&dir)? {
        let path = dir.join(&name);
        if let Ok(target) = path.read_link_utf8() {
            let _ = writeln!(text, "  {name} -> {target}");
            continue;
        }
        if !path.is_dir() {
            let _ = writeln!(text, "  {name}");
            continue;
        }
        let _ = writeln!(text, "  {name}/");
        for section in names(&path)? {
            let below = path.join(&section);
            if below.is_dir() {
                let _ = writeln!(text, "    {section}/  {}", names(&below)?.join(" "));
            } else {
                let _ = writeln!(text, "    {section}");
            }
        }
    }
    Ok(())
}

/// An nginx configuration that serves the mirror of a demo on the loopback interface, in the foreground.
fn nginx_conf(dir: &Utf8Path) -> Result<String, Failure> {
    let owner = fs_err::metadata(dir)
        .map_err(|error| Failure::new(Exit::Bug, error))?
        .uid();
    // Workers of root's nginx run as `nobody`, who cannot read below root's home.
    let user = if owner == 0 { "user root;\n" } else { "" };
    let server = SERVER.replace("/srv/mirror", "mirror");
    Ok(format!(
        "{user}daemon off;
pid nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path nginx/body;
    proxy_temp_path nginx/proxy;
    fastcgi_temp_path nginx/fastcgi;
    uwsgi_temp_path nginx/uwsgi;
    scgi_temp_path nginx/scgi;
{server}}}
"
    ))
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
