//! `parse` and `image`: explain a mirror path, a URL or an image name.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, BufRead, BufWriter, Write};
use std::os::unix::ffi::OsStrExt as _;

use serde::Serialize;
use stx_layout::report::{ImageReport, PathReport, Refusal, caret};
use stx_layout::{
    ImageNameRef, MirrorPath, MirrorPathRef, Os, ParseError, Qualifier, Stream, Tag, printable_json,
};

use super::Context;
use crate::args::{Format, ImageName, ImageParse, Parse, Word};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn paths(context: &Context, args: &Parse) -> Result<(), Failure> {
    each(context, &args.paths, |printer, text| {
        if text.contains('%') {
            // A URL has to be decoded.
            return match text.parse::<MirrorPath>() {
                Ok(path) => {
                    let report = PathReport::from(path.borrowed());
                    let report = PathReport {
                        input: text,
                        ..report
                    };
                    printer.report(&report).map(Ok)
                }
                Err(error) => Ok(Err(error)),
            };
        }
        match MirrorPathRef::parse(text) {
            Ok(path) => printer.report(&PathReport::from(path)).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    })
}

pub(crate) fn images(context: &Context, args: &ImageParse) -> Result<(), Failure> {
    each(
        context,
        &args.names,
        |printer, text| match ImageReport::parse(text) {
            Ok(report) => printer.report(&report).map(Ok),
            Err(error) => Ok(Err(error)),
        },
    )
}

/// Builds a name from its parts; the given parts determine its form.
pub(crate) fn image_name(context: &Context, args: &ImageName) -> Result<(), Failure> {
    let component = args
        .component
        .as_ref()
        .map(|component| format!("stx-{component}"));
    let image = args.image.as_ref().or(component.as_ref());
    let image = image.ok_or_else(|| {
        Failure::usage("no image is named").hint("give --component NAME or --image NAME")
    })?;
    let os = |word: &str| {
        Os::ALL
            .into_iter()
            .find(|os| os.as_str() == word)
            .ok_or_else(|| {
                let known: Vec<_> = Os::ALL.iter().map(|os| os.as_str()).collect();
                Failure::usage(format!("{word:?} is not an operating system of an image"))
                    .hint(format!("known are: {}", known.join(", ")))
            })
    };
    let os = args.os.as_deref().map(os).transpose()?;
    let qualifier = match (args.timestamp, args.qualifier) {
        (Some(timestamp), _) => Some(Qualifier::Built {
            timestamp,
            patch: args.patch,
        }),
        (None, Some(Word::Latest)) => Some(Qualifier::Latest),
        (None, Some(Word::Stable)) => Some(Qualifier::Stable),
        (None, None) => None,
    };
    let missing = |what: &str| Failure::usage(format!("a tag of this form needs {what}"));
    let stream = args.stream.map(|stream| match stream {
        crate::args::StreamWord::Stable => Stream::Stable,
        crate::args::StreamWord::Dev => Stream::Dev,
    });
    let prefix = args.prefix.as_str();
    let tag = match (&args.version, &args.openstack_release, stream, os) {
        (Some(version), None, None, os) => Tag::Static {
            prefix,
            version,
            os,
            codename: args.codename.as_deref(),
        },
        (None, Some(openstack_release), None, Some(os)) => Tag::Spec {
            prefix,
            os,
            openstack_release,
            qualifier,
        },
        (None, Some(_), None, None) => return Err(missing("--os")),
        (None, None, Some(stream), Some(os)) => Tag::Stream {
            prefix,
            os,
            codename: args.codename.as_deref(),
            arch: args.arch.as_deref(),
            stream,
            qualifier: qualifier.ok_or_else(|| missing("--qualifier or --timestamp"))?,
        },
        (None, None, Some(stream), None) => Tag::Base {
            prefix,
            codename: args.codename.as_deref(),
            arch: args.arch.as_deref(),
            stream,
            qualifier: qualifier.ok_or_else(|| missing("--qualifier or --timestamp"))?,
        },
        (None, None, None, Some(os)) if qualifier.is_some() => Tag::Builder {
            prefix,
            os,
            codename: args.codename.as_deref(),
            arch: args.arch.as_deref(),
            qualifier: qualifier.ok_or_else(|| missing("--qualifier or --timestamp"))?,
        },
        _ => {
            return Err(missing(
                "exactly one of --version, --openstack-release and --stream",
            ));
        }
    };
    let parts = ImageNameRef {
        registry: args.registry.as_deref(),
        org: &args.org,
        image,
        tag,
    };
    let name = parts.compose().map_err(|error| refused(&error))?;
    let report = ImageReport::parse(name.as_str()).map_err(|error| refused(&error))?;
    output::print(context.format(), &report, || name.to_string())
}

fn refused(error: &ParseError) -> Failure {
    Failure::usage(caret(error))
}

/// Prints the meaning of a text, or the reason for its refusal.
struct Printer<'a> {
    out: BufWriter<io::StdoutLock<'a>>,
    format: Format,
    refused: u64,
}

impl Printer<'_> {
    /// Prints the result for one text; `read` returns its meaning.
    fn text(
        &mut self,
        text: &[u8],
        print: &impl Fn(&mut Self, &str) -> io::Result<Result<(), ParseError>>,
    ) -> io::Result<()> {
        let outcome = match str::from_utf8(text) {
            Ok(text) => print(self, text)?,
            Err(error) => {
                let shown = String::from_utf8_lossy(text);
                Err(ParseError::new(&shown, error.valid_up_to(), "UTF-8"))
            }
        };
        let Err(error) = outcome else { return Ok(()) };
        self.refused += 1;
        match self.format {
            Format::Json => {
                // Only a refused text can contain control characters of terminals.
                let refusal = serde_json::to_string(&Refusal::from(&error))?;
                writeln!(self.out, "{}", printable_json(&refusal))
            }
            Format::Human => {
                // On a terminal, the preceding results must appear before this refusal.
                self.out.flush()?;
                output::note(&caret(&error));
                Ok(())
            }
        }
    }

    fn json<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }

    /// Prints the same object on one line for people, without null values.
    fn report<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        match self.format {
            Format::Json => self.json(value),
            Format::Human => {
                let mut line = String::new();
                if let serde_json::Value::Object(fields) = serde_json::to_value(value)? {
                    for (name, value) in fields {
                        match value {
                            serde_json::Value::Null => {}
                            serde_json::Value::String(text) if name == "input" => {
                                line.insert_str(0, &text);
                            }
                            serde_json::Value::String(text) => drop(write!(line, " {name}={text}")),
                            other => drop(write!(line, " {name}={other}")),
                        }
                    }
                }
                writeln!(self.out, "{line}")
            }
        }
    }
}

/// Reads each text, or each line of standard input for `-`, one at a time.
fn each(
    context: &Context,
    texts: &[OsString],
    print: impl Fn(&mut Printer<'_>, &str) -> io::Result<Result<(), ParseError>>,
) -> Result<(), Failure> {
    let mut printer = Printer {
        out: BufWriter::with_capacity(1 << 16, io::stdout().lock()),
        format: context.format(),
        refused: 0,
    };
    let mut all = || -> io::Result<()> {
        for text in texts {
            if text != OsStr::new("-") {
                printer.text(text.as_bytes(), &print)?;
                continue;
            }
            let mut input = io::stdin().lock();
            let mut line = Vec::new();
            while input.read_until(b'\n', &mut line)? > 0 {
                printer.text(line.strip_suffix(b"\n").unwrap_or(&line), &print)?;
                line.clear();
            }
        }
        printer.out.flush()
    };
    match all() {
        Ok(()) if printer.refused == 0 => Ok(()),
        Ok(()) => Err(Failure::said(Exit::Usage)),
        // A reader that closes the pipe early is not an error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(Exit::Bug, error)),
    }
}
